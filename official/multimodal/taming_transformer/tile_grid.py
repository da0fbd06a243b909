"""Cut a picture into tiles that overlap, and put together what a network makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Sequence, Tuple

import numpy as np
from megengine import Tensor


@dataclass(frozen=True)
class Span:
    """Cells start .. stop of one axis that a tile gives, and outer ones that it needs for them."""

    start: int
    stop: int
    outer_start: int
    outer_stop: int

    def inside(self, length: int) -> slice:
        """Return where the given cells lie in an array of the tile's ``length`` cells."""
        scale = length // (self.outer_stop - self.outer_start)
        start = (self.start - self.outer_start) * scale
        return slice(start, start + (self.stop - self.start) * scale)


Tile = Tuple[Span, Span]
"""Rows and columns, in cells of the coarser of a network's two ends."""


def cover(size: tuple[int, int], side: int, reach: int) -> list[Tile]:
    """Cover a picture with tiles of about equal size.

    Args:
        size: Cells of the picture's two axes.
        side: Most cells along a side of what a tile gives.
        reach: Cells beyond it that decide what it gives.
    """
    axes = []
    for cells in size:
        count = -(-cells // side)
        edges = [cells * i // count for i in range(count + 1)]
        axes.append(
            [Span(a, b, max(0, a - reach), min(cells, b + reach)) for a, b in zip(edges, edges[1:])]
        )
    return [(rows, columns) for rows in axes[0] for columns in axes[1]]


def inside(tile: Tile, shape: Sequence[int]) -> tuple[slice, slice]:
    """Return where the cells that a tile gives lie in an array (..., H, W) of it."""
    return tile[0].inside(shape[-2]), tile[1].inside(shape[-1])


def read(
    x: np.ndarray, tile: Tile, scale: int, device: str, dtype: np.dtype | None = None
) -> Tensor:
    """Return what a tile needs of x (1, C, H, W), which has scale x scale numbers a cell."""
    rows, columns = (slice(s.outer_start * scale, s.outer_stop * scale) for s in tile)
    return Tensor(np.ascontiguousarray(x[:, :, rows, columns], dtype), device=device)


def assemble(
    network: Callable[[Tensor], Tensor],
    part: Callable[[Tile], Tensor],
    tiles: Sequence[Tile],
    scale: int,
    exact: float = np.inf,
) -> np.ndarray:
    """Pass tile after tile through a network and put the results together.

    Args:
        network: Maps a tile's numbers to (..., H, W).
        part: Gives a tile's numbers.
        tiles: They cover the picture (``cover``).
        scale: Numbers that the network gives along a side of a cell.
        exact: Results of more numbers than this are kept in float16.

    Returns:
        The whole, in the dtype that the network gives, or float16.
    """
    result = np.empty(0)
    for tile in tiles:
        y = network(part(tile)).numpy()
        if result.size == 0:
            height, width = (max(t[axis].stop for t in tiles) * scale for axis in (0, 1))
            shape = (*y.shape[:-2], height, width)
            result = np.empty(shape, y.dtype if np.prod(shape) <= exact else np.float16)
        rows, columns = (slice(s.start * scale, s.stop * scale) for s in tile)
        inner_rows, inner_columns = inside(tile, y.shape)
        result[..., rows, columns] = y[..., inner_rows, inner_columns]
    return result
