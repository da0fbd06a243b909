"""Time of attention's products, as matrices and as a grouped convolution: which is faster where.

    python benchmarks/products.py

One query's or several queries' products with keys and with values, for rows of a batch with 16
heads of 64, of many layers one after the other, so that none is in the cache when its turn comes.
Microseconds, medians of rounds by turns; ``gpt.GROUPS`` and ``gpt.QUERIES`` follow from them.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Sequence
from unittest import mock

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

HEADS, WIDTH, ROUNDS = 16, 64, 9
# (rows, queries of each, keys)
CASES = ((1, 1, 256), (1, 64, 256), (1, 128, 256), (1, 256, 256), (4, 1, 128), (8, 1, 16),
         (8, 1, 128), (25, 1, 16), (25, 1, 128))  # fmt: skip


def seconds(a: Any, others: Sequence[Any], least: int) -> float:
    """Return how long a product takes; ``least`` matrices or rows make it a convolution."""
    from official.multimodal.taming_transformer import gpt

    with mock.patch.multiple(gpt, GROUPS=least, QUERIES=least):
        start = time.perf_counter()
        for b in others:
            y = gpt.product(a, b)
        y.numpy()
        return (time.perf_counter() - start) / len(others)


def main() -> None:
    """Print one line for each case."""
    from megengine import Tensor

    from official.multimodal.taming_transformer.runtime import tune_cpu

    tune_cpu()
    stream = np.random.default_rng(0)

    def drawn(*shape: int) -> Any:
        return Tensor(stream.standard_normal(shape, np.float32))

    print("| rows | queries | keys | q k: matmul | convolution | w v: matmul | convolution |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for rows, queries, keys in CASES:
        cells = [str(rows), str(queries), str(keys)]
        layers = max(8, min(60, (200 << 20) // (4 * rows * HEADS * WIDTH * keys)))
        for inner, outer in ((WIDTH, keys), (keys, WIDTH)):
            a = drawn(rows, HEADS, queries, inner)
            others = [drawn(rows, HEADS, inner, outer) for _ in range(layers)]
            times = [[seconds(a, others, n) for n in (10**9, 1)] for _ in range(ROUNDS)]
            cells += [f"{us * 1e6:.0f}" for us in np.median(times, axis=0)]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
