"""Latents before the codebook starts: noise in its place, and how many dimensions they fill."""

from __future__ import annotations

import torch
from torch import Tensor


def noisy(z: Tensor, share: float = 0.008) -> Tensor:
    """Stand in for the codebook before it starts: noise of a fixed share of the latents' power.

    Every dimension then has a gradient, so the encoder learns how many of them are worth their
    share. A codebook that starts too early freezes the two or three dimensions that the mean
    colour of a patch needs.
    """
    power = z.var((0, 2, 3)).sum()  # with its gradient: larger latents do not help
    return z + torch.randn_like(z) * (share * power).sqrt()


def dimensions(z: Tensor) -> float:
    """Number of dimensions that latents (B, C, h, w) fill: (sum of variances)^2 / of squares."""
    flat = z.detach().transpose(0, 1).flatten(1)
    spread = torch.linalg.eigvalsh(torch.cov(flat)).clamp(min=0.0)
    return float(spread.sum().square() / spread.square().sum())
