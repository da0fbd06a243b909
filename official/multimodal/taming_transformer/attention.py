"""Attention over a cache: products of many small matrices, and the softmax between them."""

from __future__ import annotations

import math
from functools import reduce
from operator import add
from typing import Iterable

import megengine.functional as F
import numpy as np
from megengine import Tensor

from .host import is_gpu
from .kv_cache import Segment
from .layers import settle, softmax

# From so many matrices, or so many rows in all of them, on, `product` is faster as a convolution.
# Measured on 2 cores, microseconds of matmul / convolution (benchmarks/products.py), q k:
# Zen 5, 16 matrices: 128 rows each 337 / 351, 256 rows 726 / 513; 64 matrices of 1 row: 160 / 253;
# 128: 214 / 114 (16 keys), 290 / 222 (128 keys); 400: 508 / 298, 845 / 573.
# Zen 4, 64 matrices: 8 rows each 592 / 417, 32 rows 888 / 693, 124 rows 1688 / 875.
GROUPS, ROWS = 128, 2048


def product(a: Tensor, b: Tensor) -> Tensor:
    """Multiply matrices (B, n_head, M, K) by (B or 1, n_head, K, N): (B, n_head, M, N).

    As a convolution of one group for each matrix where that is faster: MegEngine runs it on all
    threads, its batched product on one.
    """
    (rows, heads, m, k), (shared, _, _, n) = a.shape, b.shape
    if shared != rows:  # one past for all rows: the batch becomes queries
        joint = a.transpose(1, 0, 2, 3).reshape(1, heads, rows * m, k)
        return product(joint, b).reshape(heads, rows, m, -1).transpose(1, 0, 2, 3)
    groups = rows * heads
    if (groups < GROUPS and groups * m < ROWS) or is_gpu(a.device):
        return F.matmul(a, b)
    filters = a.reshape(groups, m, k, 1, 1)
    return F.conv2d(b.reshape(1, groups * k, n, 1), filters, groups=groups).reshape(
        rows, heads, m, n
    )


def attend(
    q: Tensor, segments: tuple[Segment, ...], mask: Tensor | None, least: float = math.inf
) -> Tensor:
    """Attend over segments without joining them.

    Args:
        q: Scaled queries (B, n_head, T, head_dim) of the newest T tokens.
        segments: Oldest first; with a mask, the last is the T tokens and nothing else.
        mask: Added to the scores of the newest T tokens (T, T), or ``None`` where every query
            sees every key.
        least: From so many numbers on, scores and weights are waited for, so that few are held.

    Returns:
        (B, n_head, T, head_dim).
    """
    scores = [settle(product(q, s.k), least) for s in segments]
    if q.shape[2] == 1:
        return _attend_one(scores, segments)
    if mask is not None:
        scores[-1] = settle(scores[-1] + mask, least)
    largest = reduce(F.maximum, (part.max(axis=-1, keepdims=True) for part in scores))
    # scores are large: each is free again as soon as its weights are there
    weights = [settle(F.exp(scores.pop(0) - largest), least) for _ in segments]
    total = _added(part.sum(axis=-1, keepdims=True) for part in weights)
    return _added(product(w, s.v) for w, s in zip(weights, segments)) / total


def _attend_one(scores: list[Tensor], segments: tuple[Segment, ...]) -> Tensor:
    """Attend with one query: few numbers, so that fewer operators are faster than fewer copies."""
    if len(scores) == 1:
        return product(softmax(scores[0]), segments[0].v)
    weights = softmax(F.concat(scores, axis=-1))
    ends = np.cumsum([segment.length for segment in segments])
    starts = ends - [segment.length for segment in segments]
    return _added(
        product(weights[..., int(start) : int(end)], segment.v)
        for start, end, segment in zip(starts, ends, segments)
    )


def _added(parts: Iterable[Tensor]) -> Tensor:
    return reduce(add, parts)  # `sum` would add the first to a zero
