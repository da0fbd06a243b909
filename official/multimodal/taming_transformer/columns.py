"""Tokens side by side: how they lie from layer to layer, and the layers that take them so."""

from __future__ import annotations

from typing import Any

import megengine.functional as F
import megengine.module as M
import numpy as np
from megengine import Tensor

from .layers import MANY, on_cpu
from .parameters import declare

# From this many tokens on (2: all but one), a 1x1 convolution beats MegEngine's `linear`: it runs
# on all threads.
# Measured on 2 cores, 1664 -> 6656, ms at 1, 2, 3, 8 tokens:
# Zen 4: linear 3.1, 5.8, 6.4, 5.2; convolution 9.0, 3.8, 2.8, 2.3.
# Zen 5: linear 1.2, 1.7, 1.9, 6.0; convolution 3.4, 2.1, 2.1, 2.2 (benchmarks/linear.py).
# Zen 3 (1024 -> 4096): linear 1.0, 2.7, 2.8, 3.1; convolution 3.0, 1.2, 1.2, 1.3.
CONV_TOKENS = 2


class Linear(M.Module):
    """``y = W x + b`` of every token; ``weight`` is (out, in).

    Tokens come as ``to_columns`` lays them, and stay so from layer to layer: relaying them at each
    would cost a sixth of a long pass.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__()
        self.weight = declare(out_features, in_features)
        self.bias: Any = declare(out_features) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (1, in, N, 1) to (1, out, N, 1), and one token (1, in) to (1, out)."""
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Map (1, in, N, 1) or (1, in) by weight (out, in) and bias (out,)."""
    if x.ndim == 2:
        return F.linear(x, weight, bias)
    out, width = weight.shape
    shift = None if bias is None else bias.reshape(1, out, 1, 1)
    return F.conv2d(x, weight.reshape(out, width, 1, 1), shift)


def to_columns(x: Tensor) -> Tensor:
    """Lay tokens (B, T, C) as the linear layers take them fastest.

    From CONV_TOKENS on they are the columns (1, C, B*T, 1) of a picture; one alone is (1, C).
    """
    batch, tokens, width = x.shape
    if batch * tokens < CONV_TOKENS:
        return x.reshape(1, width)
    return x.reshape(1, batch * tokens, width, 1).transpose(0, 2, 1, 3)


def from_columns(columns: Tensor, batch: int) -> Tensor:
    """Turn columns (1, C, B*T, 1) or (1, C) back into tokens (B, T, C)."""
    width = columns.shape[1]
    rows = columns if columns.ndim == 2 else columns.transpose(0, 2, 1, 3)
    return rows.reshape(batch, -1, width)


def last_columns(columns: Tensor, batch: int) -> Tensor:
    """Return the last of T tokens of each of B samples, laid as ``to_columns`` does."""
    if columns.ndim == 2:
        return columns
    width = columns.shape[1]
    last = columns.reshape(width, batch, -1)[:, :, -1:]  # (C, B, 1)
    return last.reshape(1, width, batch, 1) if batch >= CONV_TOKENS else last.reshape(1, width)


def swap(x: Tensor, narrow: int) -> Tensor:
    """Exchange the last two axes of (B, heads, M, N); ``narrow`` (2 or 3) is the shorter one.

    As a product with the identity, exact, where there are many numbers on a CPU: MegEngine's copy
    of a transposed tensor takes twice as long. Measured on 2 cores (Zen 3), 16 heads of 64, ms,
    copy / product: 16 tokens 0.16 / 0.34, 136 0.70 / 0.45, 400 1.87 / 0.93
    (benchmarks/operators.py).
    """
    b, heads, m, n = x.shape
    if 1 in (m, n):
        return x.reshape(b, heads, n, m)
    if not on_cpu(x, MANY):
        return x.transpose(0, 1, 3, 2)
    identity = Tensor(np.eye(x.shape[narrow], dtype=x.dtype), device=x.device)
    if narrow == 2:
        return F.matmul(x, identity, transpose_a=True)
    return F.matmul(identity, x, transpose_b=True)
