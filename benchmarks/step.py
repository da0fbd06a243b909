"""Where a single token's time goes: its products with the weights, beside the whole step.

    python benchmarks/step.py

Each step reads all weights once: the GB/s of its products bound it (the table in README.md says
what the PyTorch original takes for the same tokens). Medians, by turns.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# Of each case, the pass in the middle of its run: rows, tokens shared, past, new tokens.
CASES = {"celebahq_b1": (1, 1, 127, 1), "drin_256": (1, 0, 383, 1)}
ROUNDS = 15


def products(gpt: Any) -> Callable[[], float]:
    """Return a function that times one token's products with the weights of all blocks."""
    from official.multimodal.taming_transformer.host import values
    from official.multimodal.taming_transformer.parameters import joined

    width = gpt.config.n_embd
    stream = np.random.default_rng(0)
    x, wide = (stream.standard_normal(n, np.float32) for n in (width, 4 * width))

    def work() -> float:
        start = time.perf_counter()
        for block in gpt.blocks:
            expand, _, contract = block.mlp
            for weight in (joined(block.attn.stacked()[0]), block.attn.proj.weight, expand.weight):
                values(weight) @ x
            values(contract.weight) @ wide
        return time.perf_counter() - start

    return work


def main() -> None:
    """Print one line for each case."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    from benchmarks.ours import Ours

    print("| case | step, ms | its products | share | weights, GB | GB/s |")
    print("| --- | --- | --- | --- | --- | --- |")
    ours = Ours()
    for case, shape in CASES.items():
        ours.build(case)
        ours.prepare(case, list(shape))
        alone = products(ours.model)
        times = [(ours.one_pass(), alone()) for _ in range(ROUNDS)][1:]
        step, part = np.median(times, axis=0)
        c = ours.model.config
        size = 4e-9 * c.n_layer * 12 * c.n_embd**2  # query, key, value, proj and 2 x 4 of the MLP
        cells = f"{step * 1e3:.0f} | {part * 1e3:.0f} | {part / step:.0%} | {size:.2f}"
        print(f"| {case} | {cells} | {size / part:.1f} |", flush=True)


if __name__ == "__main__":
    main()
