"""3x3 convolutions on a CPU with half the products: Winograd's F(4, 3) along the height.

Four rows of the result take six products of rows with kernels one row high, where the plain
convolution takes twelve. Rows are mixed before and after by products with two small matrices, in
NumPy, on the tensors' own memory and on all threads; the convolutions in between are MegEngine's,
in six groups. Along the height alone, errors stay near those of the plain convolution.

Source: Lavin, Gray, Fast Algorithms for Convolutional Neural Networks (2016), with the points 0, 1,
-1, 1/2, -2 and infinity, whose errors are smaller.
"""

from __future__ import annotations

from typing import Callable

import megengine.functional as F
import numpy as np
from megengine import Tensor

from .host import is_gpu, on_threads, writable

Work = Callable[[slice], None]

ROWS, TAPS = 4, 6  # rows of the result made together, and rows of the picture under them
POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)
# From so many channels, and numbers in the picture, on it is faster (benchmarks/convolution.py).
CHANNELS, NUMBERS = 128, 1 << 20
# Numbers that are mixed at once (25 MB), or those of one strip of four rows: more are no faster.
MIXED = 6 << 20


def matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return B^T (6, 6), G (6, 3) and A^T (4, 6) float32, from interpolation at ``POINTS``.

    Four results of three taps g on six numbers d are ``A^T [(G g) * (B^T d)]``.
    """
    finite, taps = np.array(POINTS), TAPS - ROWS + 1
    others = [np.delete(finite, i) for i in range(len(finite))]
    gaps = np.array([np.prod(p - rest) for p, rest in zip(finite, others)])
    a = np.vstack([np.vander(finite, ROWS, increasing=True), np.eye(ROWS)[-1]]).T
    g = np.vstack([np.vander(finite, taps, increasing=True) / gaps[:, None], np.eye(taps)[-1]])
    b = np.vstack([*(np.append(np.poly(rest)[::-1], 0) for rest in others), np.poly(finite)[::-1]])
    return b.astype(np.float32), g.astype(np.float32), a.astype(np.float32)


def fits(x: Tensor, weight: Tensor) -> bool:
    """Tell whether a convolution of x (stride 1, padding 1) is possible and faster here."""
    (batch, channels, h, w), out = x.shape, weight.shape[0]
    large = channels * h * w >= NUMBERS and min(out, channels) >= CHANNELS
    usual = batch == 1 and h % ROWS == 0 and tuple(weight.shape[2:]) == (3, 3)
    return large and usual and x.dtype == np.float32 and not is_gpu(x.device)


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve a picture with 3x3 kernels, stride 1, padding 1.

    Args:
        x: float32 (1, C, H, W) on a CPU, H a multiple of 4. Its memory becomes the result's where
            that has as many channels: nobody may look at x afterwards.
        weight: float32 (out, C, 3, 3).

    Returns:
        float32 (1, out, H, W): what ``conv2d`` gives, up to rounding.
    """
    (_, channels, h, w), out = x.shape, weight.shape[0]
    to_products, to_kernels, to_rows = matrices()
    kernels = weight.transpose(2, 0, 1, 3).reshape(3, -1)
    kernels = F.matmul(Tensor(to_kernels, device=x.device), kernels)
    kernels = kernels.reshape(TAPS, out, channels, 1, 3)
    strips = h // ROWS
    most = max(1, MIXED // (TAPS * max(channels, out) * w))
    step = -(-strips // -(-strips // most))  # even parts: each costs what a whole one does
    mixed = F.zeros((1, TAPS * channels, step, w), device=x.device)
    y = x if out == channels else F.zeros((1, out, h, w), device=x.device)
    picture, rows = writable(x)[0], writable(y).reshape(out, strips, ROWS, w)
    mixed_rows = writable(mixed).reshape(TAPS, channels, step, w)
    above = np.zeros((channels, w), np.float32)  # the row over the strips to come, as it was
    for start in range(0, strips, step):
        stop = min(start + step, strips)
        below = picture[:, ROWS * stop - 1].copy()
        to_mix = mixed_rows[:, :, : stop - start].transpose(1, 2, 0, 3)  # (C, n, 6, W)
        on_threads(x.device, channels, _mixing(to_products, picture, start, above, to_mix))
        products = F.conv2d(mixed, kernels, padding=(0, 1), groups=TAPS)
        found = writable(products).reshape(TAPS, out, step, w)[:, :, : stop - start]
        unmix = _unmixing(to_rows, found.transpose(1, 2, 0, 3), rows[:, start:stop])
        on_threads(x.device, out, unmix)
        above = below
        del products, found, unmix  # before the next take memory
    return y


def _mixing(
    matrix: np.ndarray, x: np.ndarray, start: int, above: np.ndarray, out: np.ndarray
) -> Work:
    """Multiply ``matrix`` (6, 6) by strips of six rows from ``start`` on, into (C, n, 6, W).

    Neighbours share two rows. The row over the first one is ``above`` (C, W), zeros lie below the
    picture x (C, H, W).
    """
    (channels, _, w), count = x.shape, out.shape[1]
    plane, row, number = x.strides
    first = np.concatenate([above[:, None], _rows(x, ROWS * start, TAPS - 1)], axis=1)
    last = _rows(x, ROWS * (start + count - 1) - 1, TAPS)
    inner = np.lib.stride_tricks.as_strided(
        x[:, ROWS * start + ROWS - 1 :],
        (channels, max(0, count - 2), TAPS, w),
        (plane, ROWS * row, row, number),
        writeable=False,
    )

    def mix(c: slice) -> None:
        np.matmul(matrix, first[c], out=out[c, 0])
        if count > 1:
            np.matmul(matrix, inner[c], out=out[c, 1:-1])
            np.matmul(matrix, last[c], out=out[c, -1])

    return mix


def _rows(x: np.ndarray, start: int, count: int) -> np.ndarray:
    """Return so many rows of (C, H, W), zeros below it."""
    found = x[:, max(0, start) : start + count]
    missing = start + count - x.shape[1]
    return np.pad(found, ((0, 0), (0, max(0, missing)), (0, 0)))


def _unmixing(matrix: np.ndarray, found: np.ndarray, out: np.ndarray) -> Work:
    """Multiply ``matrix`` (4, 6) by products (out, n, 6, W), into ``out`` (out, n, 4, W)."""

    def unmix(c: slice) -> None:
        np.matmul(matrix, found[c], out=out[c])

    return unmix
