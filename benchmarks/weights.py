"""Weights for timing: the same on all sides by their names, and drawn in seconds."""

from __future__ import annotations

import numpy as np

from tests.reference.draw import Shape, draw_tensor

BLOCK = 1 << 20
"""Numbers of a tensor that are drawn; the rest repeats them."""


def drawn(name: str, shape: Shape) -> np.ndarray:
    """Draw a tensor by its name alone, float32.

    Its first rows are those of ``draw_tensor``; the others repeat them, each repetition moved on by
    one along the second axis, for drawing billions of numbers takes longer than timing a pass.
    """
    rows = max(1, BLOCK // int(np.prod(shape[1:], dtype=np.int64)))
    if rows >= shape[0]:
        return draw_tensor(name, shape, 0)
    block = draw_tensor(name, (rows, *shape[1:]), 0)
    whole = np.empty(shape, np.float32)
    for number, start in enumerate(range(0, shape[0], rows)):
        part = whole[start : start + rows]
        part[...] = np.roll(block, number, axis=1)[: len(part)] if number else block
    return whole
