"""Time to exchange the axes of heads: MegEngine's copy, and the product with the identity.

    python benchmarks/swap.py

The figures beside ``swap`` in columns.py come from here.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

HEADS, WIDTH, CALLS, ROUNDS = 16, 64, 8, 9
TOKENS = (16, 64, 136, 400)


def seconds(x: Any, least: int) -> float:
    """Return how long a swap takes; from ``least`` numbers on it is a product."""
    import megengine as mge

    from official.multimodal.taming_transformer import columns

    with mock.patch.object(columns, "MANY", least):
        mge._full_sync()
        start = time.perf_counter()
        for _ in range(CALLS):
            columns.swap(x, 2) + 0  # a transposed tensor is copied when it is used
        mge._full_sync()
        return (time.perf_counter() - start) / CALLS


def main() -> None:
    """Print one line for each number of tokens."""
    from megengine import Tensor

    from official.multimodal.taming_transformer.runtime import tune_cpu

    tune_cpu()
    print("| tokens | copy, ms | product, ms |")
    print("| --- | --- | --- |")
    for tokens in TOKENS:
        shape = (1, HEADS, WIDTH, tokens)
        x = Tensor(np.random.default_rng(0).standard_normal(shape, np.float32))
        times = [[seconds(x, least) for least in (10**9, 1)] for _ in range(ROUNDS)]
        copy, product = np.median(times, axis=0) * 1e3
        print(f"| {tokens} | {copy:.2f} | {product:.2f} |", flush=True)


if __name__ == "__main__":
    main()
