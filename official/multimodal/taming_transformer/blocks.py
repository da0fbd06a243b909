"""What a VQGAN's encoder and decoder are built of, with the original's module names.

Source: taming/modules/diffusionmodules/model.py of CompVis/taming-transformers @3ba01b2. Each block
has ``reach``: how far beyond its edge it looks, for pictures that are computed in tiles.
"""

from __future__ import annotations

from typing import Callable, Optional, Tuple, Union

import megengine.functional as F
import megengine.module as M
import numpy as np
from megengine import Tensor

from . import in_cache
from .layers import BIG, Conv2d, settle, softmax, swish
from .norms import GroupNorm

Moments = Callable[[GroupNorm, Tensor, Optional[Tensor]], Tuple[np.ndarray, np.ndarray]]
"""Gives what to normalise by, as ``GroupNorm.moments`` does for a tensor of its own."""

# Attention scores held at once: (rows, H*W) float32, 64 MB.
ATTENTION_CHUNK = 1 << 24


def activate(norm: GroupNorm, x: Tensor, moments: Moments | None = None) -> Tensor:
    """Normalise (B, C, H, W), then swish."""
    if in_cache.usable(x):
        return _activate_large(norm, x, moments)
    return swish(normalised(norm, x, moments))


def normalised(norm: GroupNorm, x: Tensor, moments: Moments | None) -> Tensor:
    """Normalise (B, C, H, W) by its own means and variances or by others."""
    return norm(x) if moments is None else norm.normalise(x, *moments(norm, x, None))


def _activate_large(
    norm: GroupNorm,
    x: Tensor,
    moments: Moments | None,
    shift: Tensor | None = None,
    spare: bool = False,
) -> Tensor:
    """Normalise (B, C, H, W) plus ``shift`` (C,), then swish, in the memory of x if it is spare."""
    found = norm.moments(x, shift) if moments is None else moments(norm, x, shift)
    return in_cache.swish(x, *norm.affine(*found, shift), spare)


class ResnetBlock(M.Module):
    """Two normalised 3x3 convolutions beside a shortcut."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.norm1 = GroupNorm(in_channels)
        self.conv1 = Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = GroupNorm(out_channels)
        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1)
        if in_channels != out_channels:
            self.nin_shortcut = Conv2d(in_channels, out_channels, 1)
        self.has_shortcut = in_channels != out_channels

    def forward(self, x: Tensor, moments: Moments | None = None) -> Tensor:
        """Map (B, in, H, W) to (B, out, H, W)."""
        if in_cache.usable(x):
            return self._large(x, moments)
        conv1, conv2, norm1, norm2 = self.conv1, self.conv2, self.norm1, self.norm2
        # nested, so that neither a name nor a call holds a tensor that has been used
        h = conv2.products(
            swish(
                normalised(
                    norm2,
                    conv1.shift(conv1.products(swish(normalised(norm1, x, moments)))),
                    moments,
                )
            )
        )
        h = conv2.shift(h)
        return settle(h, BIG) + self._skip(x)

    def _large(self, x: Tensor, moments: Moments | None) -> Tensor:
        """Do the same with half the buffers; biases are added in passes that are made anyway."""
        h = self.conv1.products(_activate_large(self.norm1, x, moments))
        h = _activate_large(self.norm2, h, moments, self.conv1.bias, spare=True)
        return in_cache.add(self.conv2.products(h), self.conv2.bias.numpy(), self._skip(x))

    def _skip(self, x: Tensor) -> Tensor:
        return self.nin_shortcut(x) if self.has_shortcut else x

    @staticmethod
    def reach(cells: int) -> int:
        """Return how many cells beyond its input's part decide ``cells`` beyond the output's."""
        return cells + 2


class AttnBlock(M.Module):
    """Single-head attention over all cells, residual; queries in chunks that bound the memory."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = GroupNorm(channels)
        self.q = Conv2d(channels, channels, 1)
        self.k = Conv2d(channels, channels, 1)
        self.v = Conv2d(channels, channels, 1)
        self.proj_out = Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to itself plus what its cells gather from each other."""
        b, c, height, width = x.shape
        n = height * width
        h = self.norm(x)
        q = self.q(h).reshape(b, c, n).transpose(0, 2, 1) * c**-0.5  # (B, N, C)
        k = self.k(h).reshape(b, c, n)
        v = self.v(h).reshape(b, c, n)
        rows = max(1, ATTENTION_CHUNK // (b * n))
        gathered = []
        for start in range(0, n, rows):
            weights = softmax(F.matmul(q[:, start : start + rows], k))  # (B, rows, N)
            gathered.append(settle(F.matmul(v, weights, transpose_b=True)))  # (B, C, rows)
        h = gathered[0] if len(gathered) == 1 else F.concat(gathered, axis=2)
        return settle(x + self.proj_out(h.reshape(b, c, height, width)))


class Downsample(M.Module):
    """Halve the picture: zeros at the right and the bottom, then a 3x3 convolution of stride 2."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H/2, W/2)."""
        b, c, h, w = x.shape
        x = F.concat([x, F.zeros((b, c, 1, w), dtype=x.dtype, device=x.device)], axis=2)
        x = F.concat([x, F.zeros((b, c, h + 1, 1), dtype=x.dtype, device=x.device)], axis=3)
        return settle(self.conv(x))

    @staticmethod
    def reach(cells: int) -> int:
        """Return how many cells beyond its input's part decide ``cells`` beyond the output's."""
        return 2 * cells + 2


class Upsample(M.Module):
    """Double the picture by nearest neighbour, then a 3x3 convolution.

    Seen from one of the four pixels that a cell becomes, the 3x3 kernel falls on 2x2 cells: one
    convolution with four 2x2 kernels on the small picture gives the same with 4/9 of the products.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, 2H, 2W)."""
        b, c, h, w = x.shape
        kernels = pixel_kernels(self.conv.weight)
        rows = [self._row(x, i, kernels[2 * c * i : 2 * c * (i + 1)]) for i in (0, 1)]
        return settle(F.stack(rows, axis=3).reshape(b, c, 2 * h, 2 * w))

    def _row(self, x: Tensor, i: int, kernels: Tensor) -> Tensor:
        """Return the upper (i = 0) or lower pixels of all cells, (B, C, H, W, 2)."""
        b, c, h, w = x.shape
        bias = F.concat([self.conv.bias] * 2).reshape(1, 2 * c, 1, 1)
        y = settle(F.conv2d(x, kernels, bias, padding=1), BIG).reshape(b, 2, c, h + 1, w + 1)
        y = y[:, :, :, i : i + h]
        return settle(F.stack([y[:, 0, :, :, :w], y[:, 1, :, :, 1:]], axis=-1), BIG)

    @staticmethod
    def reach(cells: int) -> int:
        """Return how many cells beyond its input's part decide ``cells`` beyond the output's."""
        return (cells + 2) // 2


class Head:
    """The end of both networks: normalisation, swish and a 3x3 convolution.

    No module: its layers keep the names that they have in the state dict.
    """

    def __init__(self, norm: GroupNorm, conv: Conv2d):
        self.norm, self.conv = norm, conv

    def __call__(self, x: Tensor, moments: Moments | None = None) -> Tensor:
        """Map (B, in, H, W) to (B, out, H, W)."""
        return self.conv.shift(self.conv.products(activate(self.norm, x, moments)))

    @staticmethod
    def reach(cells: int) -> int:
        """Return how many cells beyond its input's part decide ``cells`` beyond the output's."""
        return cells + 1


Layer = Union[Conv2d, ResnetBlock, AttnBlock, Downsample, Upsample, Head]


def pixel_kernels(weight: Tensor) -> Tensor:
    """Return the kernels (4 out, in, 2, 2) of a doubled cell's four pixels.

    Args:
        weight: 3x3 kernels (out, in, 3, 3) meant for the doubled picture.
    """
    out, in_ch = weight.shape[:2]
    to_pixels = Tensor(_PIXEL_TAPS, dtype=weight.dtype, device=weight.device)
    kernels = F.matmul(weight.reshape(out * in_ch, 9), to_pixels)
    kernels = kernels.reshape(out, in_ch, 2, 2, 2, 2).transpose(2, 3, 0, 1, 4, 5)
    return kernels.reshape(4 * out, in_ch, 2, 2)


# Taps of a 3-wide kernel that fall on each of the two cells under it: left pixel, right pixel.
_TAPS = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], np.float32)
# (3 * 3 taps, 2 * 2 pixels * 2 * 2 cells)
_PIXEL_TAPS = np.ascontiguousarray(np.einsum("aum,bvn->mnabuv", _TAPS, _TAPS).reshape(9, 16))
