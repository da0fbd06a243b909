"""Random numbers that depend on (seed, sample, position) alone.

A counter-based generator (Philox 4x64-10: Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", SC 2011, as NumPy implements it) gives every draw a stream of its own: no batch, order,
shard or resume can move it.
"""

from __future__ import annotations

import numpy as np

LARGEST_SEED = 2**64 - 1
# Stands for an exact 0, which has no logarithm. (np.finfo warns: MegEngine flushes subnormals.)
SMALLEST_UNIFORM = 2.0**-1000


def check_seed(seed: int) -> int:
    """Return the seed if it is a whole number in 0 .. 2**64 - 1.

    Raises:
        ValueError: It is not.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise ValueError(f"seed must be a whole number, got {seed!r}")
    if not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"seed must be in 0..2**64-1, got {seed}")
    return int(seed)


def gumbel(
    seed: int, sample: int, position: int, size: int, keep: np.ndarray | None = None
) -> np.ndarray:
    """Draw standard Gumbel noise, float64 (size,).

    Args:
        seed: Of the run, in 0 .. 2**64 - 1.
        sample: Number of the sample in the run, >= 0.
        position: Number of the token in the picture, row by row, >= 0.
        size: Tokens to choose from.
        keep: Return the noise of these tokens only, in their order; the same numbers.
    """
    stream = np.random.Philox(counter=[0, 0, 0, position], key=[seed, sample])
    uniform = np.random.Generator(stream).random(size)
    if keep is not None:
        uniform = uniform[keep]
    return -np.log(-np.log(np.maximum(uniform, SMALLEST_UNIFORM)))
