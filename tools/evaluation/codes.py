"""The codebook: how much of it is used, and what each of its codes looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from megengine import Tensor

from official.multimodal.taming_transformer.image import to_uint8

_AROUND = 3  # a code is decoded amidst its own kind: a square of so many cells
_TOGETHER = 64


@dataclass(frozen=True, eq=False)
class CodeUse:
    """How often each code occurs over a whole set of pictures.

    Attributes:
        counts: int64 (n_embed,).
    """

    counts: np.ndarray

    @property
    def used(self) -> int:
        """Codes that occur at all."""
        return int((self.counts > 0).sum())

    @property
    def usage(self) -> float:
        """Share of the codebook that occurs at all, 0 to 1."""
        return self.used / self.counts.size

    @property
    def perplexity(self) -> float:
        """Exponential of the codes' entropy: 1 where one code does all, n_embed at most."""
        shares = self.counts[self.counts > 0] / self.counts.sum()
        return float(np.exp(-(shares * np.log(shares)).sum()))

    @property
    def bits(self) -> float:
        """Bits of a code, by that entropy."""
        return float(np.log2(self.perplexity))


def decode_codes(model: Any, codes: np.ndarray) -> np.ndarray:
    """Decode single codes, each amidst its own kind.

    Args:
        model: A first-stage model of RGB pictures.
        codes: int (n,).

    Returns:
        RGB uint8 (n, f, f, 3): the middle cell of a square of 3x3 cells of the code.
    """
    f, tiles = model.downsampling, []
    middle = slice((_AROUND // 2) * f, (_AROUND // 2 + 1) * f)
    for start in range(0, len(codes), _TOGETHER):
        part = np.asarray(codes[start : start + _TOGETHER], np.int32)
        square = np.ascontiguousarray(np.tile(part[:, None, None], (1, _AROUND, _AROUND)))
        decoded = model.decode_code(Tensor(square, device=model.device)).numpy()
        decoded = decoded.astype(np.float32, copy=False)
        tiles += [to_uint8(x[None, :, middle, middle]) for x in decoded]
    return np.stack(tiles)


def codebook_picture(model: Any, use: CodeUse, columns: int = 64) -> np.ndarray:
    """Return all codes decoded, the most used first; those that never occur are pale.

    Args:
        model: A first-stage model of RGB pictures.
        use: How often its codes occur.
        columns: Codes in a row.

    Returns:
        RGB uint8 (rows * f, columns * f, 3), white where no code is left.
    """
    order = np.argsort(-use.counts, kind="stable")
    tiles = decode_codes(model, order)
    never = use.counts[order] == 0
    tiles[never] = 255 - (255 - tiles[never]) // 4
    f, columns = model.downsampling, min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * columns, f, f, 3), 255, np.uint8)
    sheet[: len(tiles)] = tiles
    grid = sheet.reshape(rows, columns, f, f, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(grid.reshape(rows * f, columns * f, 3))
