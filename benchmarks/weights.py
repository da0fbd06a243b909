"""Weights for timing: the same on all sides by their names, and drawn in seconds."""

from __future__ import annotations

import numpy as np

from tests.reference.draw import Shape, draw_tensor

BLOCK = 1 << 18
"""Numbers of a tensor that are drawn; the rest repeats them."""


def draw_into(name: str, values: np.ndarray) -> None:
    """Draw a tensor by its name and shape alone, float32, in place.

    Its first rows are those of ``draw_tensor``; the others repeat them, each repetition moved on by
    one along the second axis, for drawing billions of numbers takes longer than timing a pass. No
    memory is taken beside that of a block: memory that is new to a process costs more than drawing.
    """
    rows = max(1, BLOCK // int(np.prod(values.shape[1:], dtype=np.int64)))
    block = draw_tensor(name, (min(rows, len(values)), *values.shape[1:]), 0)
    for number, start in enumerate(range(0, len(values), rows)):
        part = values[start : start + rows]
        part[...] = np.roll(block, number, axis=1)[: len(part)] if number else block


def drawn(name: str, shape: Shape) -> np.ndarray:
    """Return a tensor drawn by ``draw_into``."""
    values = np.empty(shape, np.float32)
    draw_into(name, values)
    return values
