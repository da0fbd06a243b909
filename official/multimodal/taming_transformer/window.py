"""The sliding window: pictures of any size from a transformer that sees a square of cells.

Every token is predicted from the condition of its window and the tokens of the window that come
before it, row by row, exactly as the original does (scripts/sample_conditional.py of
CompVis/taming-transformers @3ba01b2); what the original computes and never uses is left out, and
keys and values are kept as long as they are valid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterator, Sequence

import numpy as np

from .gpt import GPT
from .kv_cache import KVCache
from .sampling import SamplingParams, draw

DEFAULT_CACHE_MEMORY = 2 * 10**9
"""Bytes that keys and values may take: of windows which come back, and of the one in use."""


@dataclass(frozen=True)
class Frame:
    """A window on the latent: first row and column, height and width, in cells."""

    top: int
    left: int
    height: int
    width: int


Condition = Callable[[Frame], np.ndarray]
"""Tokens of a window's condition: int (1, L), the same for every sample, or (B, L)."""


@dataclass(frozen=True)
class Step:
    """One drawn cell.

    Attributes:
        number: Cells drawn so far, this one included.
        total: Cells to draw in all.
        row: Row of the cell.
        column: Column of the cell.
        frame: Window it was predicted from.
        indices: Tokens of every sample, int32 (B, h, w); cells not drawn yet hold their fill.
            The array lives on and changes: copy what you keep.
    """

    number: int
    total: int
    row: int
    column: int
    frame: Frame
    indices: np.ndarray


def frame_at(row: int, column: int, shape: tuple[int, int], side: int, centre: int) -> Frame:
    """Return the window that predicts a cell.

    Args:
        row: Of the cell.
        column: Of the cell.
        shape: (h, w) of the latent.
        side: Cells along one side of the window; a smaller latent is its own window.
        centre: Cells kept before the cell where there is room: 8 in the original's scripts, 7 in
            its script for scene layouts.
    """
    h, w = shape
    top = min(max(row - centre, 0), max(h - side, 0))
    left = min(max(column - centre, 0), max(w - side, 0))
    return Frame(top, left, min(side, h), min(side, w))


def map_condition(tokens: np.ndarray) -> Condition:
    """Return the condition of a model that sees a map: the window's cells of (1 or B, h, w)."""

    def crop(frame: Frame) -> np.ndarray:
        rows = slice(frame.top, frame.top + frame.height)
        columns = slice(frame.left, frame.left + frame.width)
        return tokens[:, rows, columns].reshape(tokens.shape[0], -1)

    return crop


def fixed_condition(tokens: np.ndarray) -> Condition:
    """Return the condition of a model whose tokens (1 or B, L) are the same in every window."""
    return lambda frame: tokens


class WindowLogits:
    """Logits of the next cell, with keys and values reused wherever they stay valid.

    They do while the window stands still, and where it comes back to the same place one row later
    (the first and the last rows): then only the tokens in between are computed.

    Args:
        gpt: The transformer.
        condition: Tokens of a window's condition.
        batch: Samples drawn together.
        cache_memory: Bytes for windows that come back and the one in use; 0 keeps only that.
    """

    def __init__(self, gpt: GPT, condition: Condition, batch: int, cache_memory: float):
        self._gpt, self._condition = gpt, condition
        self._batch, self._budget = batch, cache_memory
        self._current: tuple[Frame, KVCache, int, bool] | None = None
        self._kept: dict[Frame, tuple[KVCache, int, int]] = {}  # with its bytes

    def __call__(
        self, frame: Frame, indices: np.ndarray, cells: int, returns: bool = False
    ) -> np.ndarray:
        """Return logits float32 (B, V) of the cell after the window's first ``cells``.

        Args:
            frame: The window.
            indices: Tokens (B, h, w), right in the window's first ``cells``.
            cells: Cells of the window, row by row, that come before the one to predict.
            returns: The window will be back one row later.
        """
        cache, done = self._look_up(frame)
        rows = slice(frame.top, frame.top + frame.height)
        columns = slice(frame.left, frame.left + frame.width)
        tokens = indices[:, rows, columns].reshape(self._batch, -1)[:, max(done, 0) : cells]
        if done < 0:
            condition = self._condition(frame)
            if condition.shape[0] == self._batch:  # one pass is faster than two
                tokens = np.concatenate([condition, tokens], axis=1)
            else:  # the same for all samples
                logits = self._gpt.next_logits(condition, cache)
                cache.freeze()
        if tokens.shape[1]:
            logits = self._gpt.next_logits(tokens, cache)
        self._current = (frame, cache, cells, returns)
        return np.broadcast_to(logits, (self._batch, logits.shape[-1]))

    def _look_up(self, frame: Frame) -> tuple[KVCache, int]:
        """Return the cache of a window and the cells that it holds, -1 for a new one."""
        if self._current is not None:
            if self._current[0] == frame:
                return self._current[1:3]
            self._keep(*self._current)
            self._current = None  # unless it is kept, its memory serves the next one
            self._kept = {f: kept for f, kept in self._kept.items() if f.top == frame.top}
        found = self._kept.pop(frame, None)
        return (self._gpt.new_cache(), -1) if found is None else found[:2]

    def _keep(self, frame: Frame, cache: KVCache, cells: int, returns: bool) -> None:
        """Keep a window that comes back, if there is room for it and for the next one's like.

        Those that are there stay: evicting the oldest would throw each out just before its turn.
        """
        size = cache.nbytes
        held = sum(kept[2] for kept in self._kept.values())
        if returns and held + 2 * size <= self._budget:
            cache.pack()
            self._kept[frame] = (cache, cells, size)


def sample_window(
    gpt: GPT,
    condition: Condition,
    fill: np.ndarray,
    *,
    params: SamplingParams,
    seed: int,
    samples: Sequence[int],
    n_embed: int,
    side: int = 16,
    centre: int | None = None,
    mask: np.ndarray | None = None,
    cache_memory: float = DEFAULT_CACHE_MEMORY,
) -> Iterator[Step]:
    """Draw the cells of B pictures, row by row, and yield after each.

    Args:
        gpt: The transformer.
        condition: Tokens of a window's condition (``map_condition``, ``fixed_condition``, ...).
        fill: Tokens int (B, h, w) to begin with. They show in previews and, where ``mask`` is
            false, are the picture; a cell that is still to be drawn is never looked at.
        params: How to draw.
        seed: Of the run, in 0 .. 2**64 - 1.
        samples: Number in the run of each of the B samples: what its random numbers hang on.
        n_embed: Only the first tokens of the vocabulary are codes of the picture.
        side: Cells along one side of the window.
        centre: As for ``frame_at``; ``None`` is ``side // 2``.
        mask: Cells to draw, bool (h, w); ``None`` draws all.
        cache_memory: Bytes for keys and values of windows that come back and the one in use, which
            is there whatever it takes.

    Yields:
        A ``Step`` after every cell. Closing the generator cancels the run.
    """
    indices = np.array(fill, np.int32)
    batch, h, w = indices.shape
    wanted = np.ones((h, w), bool) if mask is None else mask
    logits = WindowLogits(gpt, condition, batch, cache_memory)
    total = int(wanted.sum())
    before = side // 2 if centre is None else centre
    for number, (i, j) in enumerate(np.argwhere(wanted).tolist(), start=1):
        frame = frame_at(i, j, (h, w), side, before)
        cells = (i - frame.top) * frame.width + j - frame.left
        returns = i + 1 < h and frame_at(i + 1, j, (h, w), side, before) == frame
        row = logits(frame, indices, cells, returns)[:, :n_embed]
        indices[:, i, j] = draw(row, params, seed=seed, samples=samples, position=i * w + j)
        yield Step(number, total, i, j, frame, indices)
