"""Work on the largest pictures on a CPU, some rows at a time, while they are in the cache.

MegEngine's operators each pass over the whole picture: from a normalisation to its swish they read
or write it eleven times, and four of them take fresh memory. Here NumPy works on the tensors' own,
on all threads, and that is three times. Where memory is not fresh, nothing is gained: threads wait
for Python's lock. On 2 cores (Zen 4), MegEngine's way / this, ms: 128x256x256 22 / 16 to 30,
128x512x512 136 / 70 to 91 (benchmarks/operators.py).
"""

from __future__ import annotations

import math

import megengine.functional as F
import numpy as np
from megengine import Tensor

from .host import on_host, on_threads, writable
from .layers import MAPPED, on_cpu

BLOCK = 1 << 17  # numbers at once, 512 KB of each array: with less, threads wait more
ROW = 1 << 10  # numbers that are added up in float32: short sums lose little


def usable(x: Tensor) -> bool:
    """Tell whether x is such a picture: ``MAPPED`` float32 numbers or more, on a CPU."""
    return bool(x.dtype == np.float32) and on_cpu(x, MAPPED)


def moments(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return means and variances (B, C), float64, of the channels of (B, C, H, W).

    Of every row its mean, and the squares of what lies beside it, so nothing is lost far from zero.
    """
    rows = _rows(on_host(x))
    count, length = rows.shape
    means, squares = np.empty(count, np.float32), np.empty(count, np.float32)
    weights = np.full((length, 1), 1 / length, np.float32)

    def add_up(part: slice) -> None:
        for block in _blocks(part, length):
            row = rows[block][:, None]  # (n, 1, length): products of vectors add up fastest
            mean = np.matmul(row, weights)
            beside = row - mean
            means[block] = mean[:, 0, 0]
            squares[block] = np.matmul(beside, beside.transpose(0, 2, 1))[:, 0, 0]

    on_threads(x.device, count, add_up)
    by_channel = (*x.shape[:2], -1)
    of_rows = means.astype(np.float64).reshape(by_channel)
    mean = of_rows.mean(2)
    within = squares.astype(np.float64).reshape(by_channel).mean(2) / length
    return mean, within + of_rows.var(2)


def swish(x: Tensor, scale: np.ndarray, shift: np.ndarray, spare: bool = False) -> Tensor:
    """Return ``y * sigmoid(y)`` of ``y = scale * x + shift``.

    Args:
        x: (B, C, H, W).
        scale: (B, C).
        shift: (B, C).
        spare: Whether the result may take the memory of x: then nobody may look at x afterwards.
    """
    result = x if spare else F.zeros(x.shape, device=x.device)
    source, target = _rows(on_host(x)), _rows(writable(result))
    count, length = source.shape
    factors, terms = (_by_row(v / 2, count) for v in (scale, shift))

    def work(part: slice) -> None:
        gate = np.empty((BLOCK // length, length), np.float32)
        for block in _blocks(part, length):
            half, t = target[block], gate[: block.stop - block.start]
            np.multiply(source[block], factors[block], out=half)
            half += terms[block]
            np.tanh(half, out=t)  # sigmoid(y) = (1 + tanh(y / 2)) / 2
            t += np.float32(1)
            half *= t

    on_threads(x.device, count, work)
    return result


def add(x: Tensor, channels: np.ndarray, y: Tensor) -> Tensor:
    """Return the sum of x, numbers by channel, and y, in the memory of x.

    Args:
        x: (B, C, H, W): nobody may look at it afterwards.
        channels: (C,).
        y: (B, C, H, W).
    """
    total, other = _rows(writable(x)), _rows(on_host(y))
    count, length = total.shape
    terms = _by_row(np.broadcast_to(channels, x.shape[:2]), count)

    def work(part: slice) -> None:
        for block in _blocks(part, length):
            here = total[block]
            here += terms[block]
            here += other[block]

    on_threads(x.device, count, work)
    return x


def _rows(x: np.ndarray) -> np.ndarray:
    """Cut (B, C, H, W) into rows of one channel each, of ``ROW`` numbers where that divides H*W."""
    return x.reshape(-1, math.gcd(x.shape[2] * x.shape[3], ROW))


def _by_row(values: np.ndarray, rows: int) -> np.ndarray:
    """Repeat numbers (B, C) for every row of a channel: (rows, 1), float32."""
    return np.repeat(values.astype(np.float32), rows // values.size)[:, None]


def _blocks(part: slice, length: int) -> list[slice]:
    """Cut a range of rows into blocks of at most ``BLOCK`` numbers."""
    step = BLOCK // length
    starts = range(part.start, part.stop, step)
    return [slice(start, min(start + step, part.stop)) for start in starts]
