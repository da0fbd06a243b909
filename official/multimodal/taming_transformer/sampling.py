"""From logits to tokens: pure functions on arrays, no network and no files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import numpy as np

from .noise import gumbel

BLOCK = 16
"""Logits that are looked at together in the search for the k-th largest."""


@dataclass(frozen=True)
class SamplingParams:
    """How a token is drawn: temperature, then top-k (ties kept), then top-p on what is left.

    Attributes:
        temperature: Divides the logits; > 0.
        top_k: Keep the k largest logits; ``None`` keeps all, 1 is greedy.
        top_p: Keep the smallest set of tokens whose probabilities sum to top_p; in (0, 1].

    Raises:
        ValueError: A value is out of range or not finite.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be a finite number > 0, got {self.temperature!r}")
        if self.top_k is not None:
            whole = isinstance(self.top_k, (int, np.integer)) and not isinstance(self.top_k, bool)
            if not whole or self.top_k < 1:
                raise ValueError(f"top_k must be a whole number >= 1, got {self.top_k!r}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p!r}")

    def check_vocabulary(self, size: int) -> None:
        """Refuse a top_k larger than the vocabulary.

        Raises:
            ValueError: It is.
        """
        if self.top_k is not None and self.top_k > size:
            raise ValueError(f"top_k {self.top_k} exceeds the {size} tokens to choose from")


def filter_logits(logits: np.ndarray, params: SamplingParams) -> np.ndarray:
    """Apply temperature, top-k and top-p to the logits of one token.

    Args:
        logits: Finite numbers (V,).
        params: What to apply.

    Returns:
        float64 (V,): scaled logits, -inf where a token is filtered out; at least one remains.

    Raises:
        ValueError: A logit is NaN or infinite (the network's weights are damaged).
    """
    kept, scaled = _filter(logits, params)
    filtered = np.full(logits.shape, -np.inf)
    filtered[kept] = scaled
    return filtered


def _filter(logits: np.ndarray, params: SamplingParams) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens that pass, in order, and their scaled logits in float64."""
    if not np.isfinite(logits).all():
        raise ValueError("the network returned a logit that is not finite: its weights are damaged")
    kept = np.arange(logits.size)
    if params.top_k is not None and params.top_k < logits.size:
        # ties with the k-th stay, as in the original
        kept = np.flatnonzero(logits >= _kth_largest(logits, params.top_k))
    scaled = logits[kept].astype(np.float64) / params.temperature
    if params.top_p < 1:
        inside = np.sort(_nucleus(scaled, params.top_p))
        kept, scaled = kept[inside], scaled[inside]
    return kept, scaled


def _kth_largest(logits: np.ndarray, k: int) -> float:
    blocks = logits[: logits.size // BLOCK * BLOCK].reshape(-1, BLOCK).max(axis=1)
    if k <= blocks.size:  # k blocks reach the bound, so k logits do: a smaller set to search
        logits = logits[logits >= np.partition(blocks, -k)[-k]]
    return float(np.partition(logits, -k)[-k])


def _nucleus(scaled: np.ndarray, top_p: float) -> np.ndarray:
    """Return the indices of the likeliest tokens that reach top_p together, likeliest first."""
    weights = np.exp(scaled - scaled.max())
    # all tokens below this share together cannot be what top_p needs: no use sorting them
    share = 0.5 * (1 - top_p) * weights.sum() / weights.size
    likely = np.flatnonzero(weights >= share)
    order = likely[np.argsort(-scaled[likely], kind="stable")]
    reached = np.cumsum(weights[order]) / weights.sum()
    # a token stays if the tokens before it have not reached top_p yet
    return order[: 1 + int((reached[:-1] < top_p).sum())]


def draw(
    logits: np.ndarray, params: SamplingParams, *, seed: int, samples: Sequence[int], position: int
) -> np.ndarray:
    """Draw the next token of each sample by the Gumbel-max rule in float64.

    The largest sum of filtered logit and Gumbel noise is a draw from the filtered distribution;
    small differences between kernels change it only where two sums all but tie.

    Args:
        logits: (B, V).
        params: Temperature and filters.
        seed: Of the run.
        samples: Number of each row's sample in the run, B of them.
        position: Number of the token in the picture, row by row.

    Returns:
        Tokens int32 (B,).

    Raises:
        ValueError: A logit is not finite.
    """
    tokens = np.empty(len(samples), np.int32)
    for row, sample in enumerate(samples):
        kept, scaled = _filter(logits[row], params)
        if params.top_k != 1:
            scaled = scaled + gumbel(seed, sample, position, logits.shape[1], kept)
        tokens[row] = kept[np.argmax(scaled)]
    return tokens
