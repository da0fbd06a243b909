"""Which part of a run stands for all of it: consecutive tokens, or few of the passes made for maps.

Our sampler is run dry, with a transformer that computes nothing, to see every pass that it would
make. Passes of one kind differ in one length, and their cost is taken as linear between the
lengths that are timed.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from typing import Mapping, NamedTuple

import numpy as np

from benchmarks.cases import Case
from benchmarks.pair import VERY_LONG


class Knots(NamedTuple):
    """How much is timed.

    For maps: how many lengths of our passes, by their kind (``representatives``). For other runs:
    how many ``parts``, and consecutive ``tokens`` of each, of which ours and the original do fewer
    where they take ``part_seconds``.

    ``long`` is from how many seconds on the first call of a turn counts (a first call of 2 to 10
    seconds takes 5 to 15 % longer than the next).
    """

    fresh: int = 4
    one: int = 4
    several: int = 3
    parts: int = 4
    tokens: int = 8
    part_seconds: tuple[float, float] = (math.inf, math.inf)
    long: float = VERY_LONG


USUAL, QUICK = Knots(), Knots(3, 3, 1, part_seconds=(3.0, 3.0), long=2.0)
FEW_PASSES = 8  # ours of fewer lengths are all timed before the original's windows and after them
HEAVY = 0.2  # from this share of a map's products on, one pass is timed three times, not once
TURN = 256  # tokens of a whole run after which the other side takes its turn


class Part(NamedTuple):
    """Consecutive tokens of a run: number of the first, how many, how many they stand for."""

    start: int
    timed: int
    cells: int


class Pass(NamedTuple):
    """One pass: rows, tokens shared by all rows before it, tokens of each row, new tokens."""

    batch: int
    shared: int
    past: int
    new: int


class _DryCache:
    def __init__(self, config: object) -> None:
        self._token = 2 * config.n_layer * config.n_embd * 4  # type: ignore[attr-defined]
        self.shared = self.length = self.batch = 0

    @property
    def nbytes(self) -> int:
        return self._token * (self.shared + self.batch * (self.length - self.shared))

    def freeze(self) -> None:
        self.shared = self.length

    def pack(self) -> None:
        """Take no time: it comes once a window and is not a pass."""


class _DryGPT:
    """Stands for the transformer in a dry run and counts the passes."""

    def __init__(self, config: object) -> None:
        self.config = config
        self.passes: Counter[Pass] = Counter()

    def new_cache(self) -> _DryCache:
        return _DryCache(self.config)

    def next_logits(self, tokens: np.ndarray, cache: _DryCache) -> np.ndarray:
        batch, new = tokens.shape
        self.passes[Pass(batch, cache.shared, cache.length - cache.shared, new)] += 1
        cache.length += new
        cache.batch = batch
        return np.zeros((1, 1), np.float32)


def our_passes(case: Case, limit: int | None = None) -> Mapping[Pass, int]:
    """Return every pass of our sampler, or of its first ``limit`` cells, and how often it comes."""
    from official.multimodal.taming_transformer.config import GPTConfig
    from official.multimodal.taming_transformer.window import (
        Frame,
        WindowLogits,
        fixed_condition,
        frame_at,
    )

    def crop(frame: Frame) -> np.ndarray:
        return np.zeros((1, frame.height * frame.width), int)

    gpt = _DryGPT(GPTConfig(**case.gpt))
    condition = crop if case.cond > 1 else fixed_condition(np.zeros((1, 1), int))
    logits = WindowLogits(gpt, condition, case.batch, case.cache_memory)  # type: ignore[arg-type]
    indices = np.zeros((case.batch, *case.shape), int)
    for i, j in itertools.islice(np.ndindex(case.shape), limit):
        frame = frame_at(i, j, case.shape, 16, 8)
        cells = (i - frame.top) * frame.width + j - frame.left
        below = i + 1 < case.shape[0] and frame_at(i + 1, j, case.shape, 16, 8) == frame
        logits(frame, indices, cells, below)
    return gpt.passes


def knots(counts: Mapping[int, float], count: int) -> list[int]:
    """Return at most ``count`` of the lengths that occur, with the first and the last.

    They are evenly spread, but the one that comes most often is there in place of its neighbour:
    no error of interpolation weighs as much as its own. One alone is the mean length.
    """
    ordered = sorted(counts)
    if count == 1:
        mean = sum(k * n for k, n in counts.items()) / sum(counts.values())
        return [min(ordered, key=lambda k: abs(k - mean))]
    even = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round()
    places = np.unique(even).astype(int)
    most = max(range(len(ordered)), key=lambda place: counts[ordered[place]])
    inner = places[1:-1]
    if inner.size and 0 < most < len(ordered) - 1:
        inner[np.abs(inner - most).argmin()] = most
    return [ordered[place] for place in places]


def parts(cells: int, count: int, timed: int) -> list[Part]:
    """Return the middles of ``count`` equal parts of a run, at most ``timed`` tokens of each."""
    edges = [cells * k // count for k in range(count + 1)]
    found = []
    for start, end in zip(edges, edges[1:]):
        tokens = min(timed, end - start)
        found.append(Part((start + end - tokens) // 2, tokens, end - start))
    return found


def turns(cells: int) -> list[int]:
    """Return the sizes of the turns of a whole run: at most ``TURN``, as equal as can be."""
    return [part.cells for part in parts(cells, -(-cells // TURN), TURN)]


def spread(counts: Mapping[int, float], at: list[int]) -> dict[int, float]:
    """Share out counts at many lengths among a few, as linear interpolation does."""
    if len(at) == 1:
        return {at[0]: sum(counts.values())}
    shares: dict[int, float] = defaultdict(float)
    for length, count in counts.items():
        right = int(np.searchsorted(at, length))
        if at[right] == length:
            shares[length] += count
            continue
        left, right = at[right - 1], at[right]
        part = (length - left) / (right - left)
        shares[left] += count * (1 - part)
        shares[right] += count * part
    return dict(shares)


def representatives(passes: Mapping[Pass, int], count: Knots = USUAL) -> dict[Pass, float]:
    """Return few passes with weights whose weighted sum of times is that of all.

    Those over several tokens begin with the longest: the others find its memory warm.
    """
    by_new: dict[tuple[int, int, int], dict[int, float]] = defaultdict(dict)
    fresh: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
    for p, often in passes.items():
        if p.past == 0 and p.new > 1:
            fresh[p.batch, p.shared][p.new] = often
        else:
            by_new[p.batch, p.shared, p.new][p.past] = often
    chosen: dict[Pass, float] = {}
    for (batch, shared), counts in fresh.items():
        shares = spread(counts, knots(counts, count.fresh))
        for new, weight in sorted(shares.items(), reverse=True):
            chosen[Pass(batch, shared, 0, new)] = weight
    for (batch, shared, new), counts in by_new.items():
        at = knots(counts, count.one if new == 1 else count.several)
        for past, weight in spread(counts, at).items():
            chosen[Pass(batch, shared, past, new)] = weight
    return chosen


def halves(weights: Mapping[Pass, float]) -> tuple[list[Pass], list[Pass]]:
    """Return which passes are timed before the original's windows, and which after them.

    Few are all timed twice, before and after. Of many, the one or two that make up most of a run
    would bring their own scatter into it: they come three times.
    """
    every = list(weights)
    if len(every) < FEW_PASSES:
        return every, every
    products = {p: weight * p.batch * p.new for p, weight in weights.items()}
    heavy = [p for p in every if products[p] >= HEAVY * sum(products.values())]
    half = len(every) // 2
    return every[:half] + heavy, every[half:] + heavy
