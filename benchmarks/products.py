"""Time of attention's products, as matrices and as a grouped convolution: which is faster where.

    python benchmarks/products.py

One query's or several queries' products with keys and with values, for rows of a batch with 16
heads of 64, of many layers one after the other, so that none is in the cache when its turn comes.
Microseconds, medians of rounds by turns; ``attention.GROUPS`` and ``ROWS`` follow from them.
"""

from __future__ import annotations

import argparse
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
         (8, 1, 128), (25, 1, 16), (25, 1, 128), (4, 8, 256), (4, 32, 256),
         (4, 124, 256))  # fmt: skip


def seconds(a: Any, others: Sequence[Any], least: int) -> float:
    """Return how long a product takes; ``least`` matrices or rows make it a convolution."""
    from official.multimodal.taming_transformer import attention

    with mock.patch.multiple(attention, GROUPS=least, ROWS=least):
        start = time.perf_counter()
        for b in others:
            y = attention.product(a, b)
        y.numpy()
        return (time.perf_counter() - start) / len(others)


def one_query(keys: int) -> dict[str, float]:
    """Return the microseconds of one query's products in NumPy: by its BLAS, by its own loops."""
    stream = np.random.default_rng(0)
    layers = 24
    k, v = (stream.standard_normal((layers, HEADS, *s), np.float32)
            for s in ((WIDTH, keys), (keys, WIDTH)))  # fmt: skip
    q, w = (stream.standard_normal((HEADS, n), np.float32) for n in (WIDTH, keys))
    forms = {
        "q k: matmul": lambda i: q[:, None] @ k[i],
        "einsum": lambda i: np.einsum("hd,hdt->ht", q, k[i]),
        "w v: matmul": lambda i: w[:, None] @ v[i],
        "einsum ": lambda i: np.einsum("ht,htd->hd", w, v[i]),
    }
    times: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(ROUNDS):
        for name, form in forms.items():
            start = time.perf_counter()
            for layer in range(layers):
                form(layer)
            times[name].append((time.perf_counter() - start) / layers * 1e6)
    return {name: float(np.median(us)) for name, us in times.items()}


def main() -> None:
    """Print one line for each case, then one for each number of keys that NumPy's products take."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
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
    print("\nOne query in NumPy, as in one_token.py:\n")
    for keys in (16, 128, 384, 511):
        cells = [f"{name} {us:.0f}" for name, us in one_query(keys).items()]
        print(f"{keys} keys: " + ", ".join(cells), flush=True)


if __name__ == "__main__":
    main()
