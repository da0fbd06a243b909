"""A run of the sliding window with everything that its tokens depend on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any, Iterator

import numpy as np

from .gpt import GPT
from .sampling import SamplingParams
from .window import Condition, Frame, Step, frame_at, sample_window


@dataclass(frozen=True, eq=False)
class Drawing:
    """Pictures to be drawn together.

    Attributes:
        gpt: The transformer.
        condition: Tokens of a window's condition.
        fill: Tokens int32 (B, h, w) to begin with: what is given where ``mask`` is false.
        mask: Cells to draw, bool (h, w).
        params: How to draw.
        seed: Of the run.
        samples: Number of each of the B samples in the run.
        n_embed: Codes of the picture.
        side: Cells along one side of the window.
        centre: Cells kept before the cell where there is room.
        cache_memory: Bytes for windows that come back and the one in use.
    """

    gpt: GPT
    condition: Condition
    fill: np.ndarray
    mask: np.ndarray
    params: SamplingParams
    seed: int
    samples: tuple[int, ...]
    n_embed: int
    side: int
    centre: int
    cache_memory: float

    @property
    def total(self) -> int:
        """Cells to draw."""
        return int(self.mask.sum())

    def partly(self, indices: np.ndarray, done: int) -> np.ndarray:
        """Return tokens (B, h, w) as they stood when ``done`` cells had been drawn."""
        drawn = self.mask.reshape(-1) & (np.cumsum(self.mask.reshape(-1)) <= done)
        return np.where(drawn.reshape(self.mask.shape), indices, self.fill).astype(np.int32)

    def cell(self, number: int) -> tuple[int, int]:
        """Return row and column of the cell drawn as the ``number``-th, from 1."""
        row, column = np.argwhere(self.mask)[number - 1].tolist()
        return row, column

    def frame(self, number: int) -> Frame:
        """Return the window from which the ``number``-th cell is predicted."""
        h, w = self.mask.shape
        return frame_at(*self.cell(number), (h, w), self.side, self.centre)

    def steps(self, indices: np.ndarray | None = None, done: int = 0) -> Iterator[Step]:
        """Draw what is left, cell by cell.

        Args:
            indices: Tokens (B, h, w), right in the first ``done`` cells; ``None`` at the start.
            done: Cells drawn before.

        Yields:
            A ``Step`` after every cell; numbers count the cells drawn before. Closing the
            generator cancels the run.
        """
        fill = self.fill if indices is None else self.partly(indices, done)
        left = self.mask & (np.cumsum(self.mask).reshape(self.mask.shape) > done)
        for step in sample_window(
            self.gpt,
            self.condition,
            fill,
            params=self.params,
            seed=self.seed,
            samples=self.samples,
            n_embed=self.n_embed,
            side=self.side,
            centre=self.centre,
            mask=left,
            cache_memory=self.cache_memory,
        ):
            yield replace(step, number=step.number + done, total=self.total)


def digest(*values: Any) -> str:
    """Return the SHA-256 of arrays and plain values, with their shapes and types."""
    total = hashlib.sha256()
    for value in values:
        if isinstance(value, np.ndarray):
            total.update(f"{value.dtype}{value.shape}".encode())
            total.update(np.ascontiguousarray(value).tobytes())
        else:
            total.update(json.dumps(value, sort_keys=True).encode())
    return total.hexdigest()
