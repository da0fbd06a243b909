"""Whether two sides do the same work: what goes in on both, and how far apart comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.cases import Case

LENGTH = 64


def picture(case: Case) -> np.ndarray:
    """Return a picture (1, 3, side, side), float32 in [-1, 1)."""
    side = case.side
    return np.random.default_rng(0).uniform(-1, 1, (1, 3, side, side)).astype(np.float32)


def codes(height: int, width: int) -> np.ndarray:
    """Return codes int32 (1, height, width) that every codebook has."""
    return np.random.default_rng(1).integers(0, 1024, (1, height, width)).astype(np.int32)


def tokens() -> np.ndarray:
    """Return tokens int32 (1, LENGTH) that every vocabulary has."""
    return np.random.default_rng(2).integers(0, 1024, (1, LENGTH)).astype(np.int32)


def difference(one: Path, other: Path) -> dict[str, float]:
    """Compare two .npz files: largest difference over largest magnitude, for each array.

    Raises:
        ValueError: Names or shapes differ.
    """
    with np.load(one) as ours, np.load(other) as theirs:
        if set(ours) != set(theirs):
            raise ValueError(f"arrays {sorted(ours)} on one side, {sorted(theirs)} on the other")
        found = {}
        for name in ours:
            a, b = ours[name].astype(np.float64), theirs[name].astype(np.float64)
            if a.shape != b.shape:
                raise ValueError(f"{name} is {a.shape} on one side, {b.shape} on the other")
            found[name] = float(np.abs(a - b).max() / np.abs(b).max())
    return found
