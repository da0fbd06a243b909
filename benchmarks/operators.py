"""Time of what is made from several cheap operators: MegEngine's single operator, and ours.

    python benchmarks/operators.py

The figures beside ``swap`` in columns.py and ``MANY`` in layers.py and those of in_cache.py come
from here.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import sys
import time
from pathlib import Path
from typing import Any, Callable
from unittest import mock

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

HEADS, WIDTH, CALLS, ROUNDS = 16, 64, 8, 9
TOKENS = (16, 64, 136, 400)
NUMBERS = (1 << 13, 1 << 15, 1 << 17, 1 << 20)
PICTURES = ((256, 64), (128, 128), (256, 128), (128, 256), (128, 512))  # channels, side


def seconds(work: Callable[[Any], Any], x: Any, least: int) -> float:
    """Return how long a piece of work takes; from ``least`` numbers on it is ours."""
    import megengine as mge

    from official.multimodal.taming_transformer import columns, in_cache, layers

    with contextlib.ExitStack() as stack:
        for module, name in ((columns, "MANY"), (layers, "MANY"), (in_cache, "MAPPED")):
            stack.enter_context(mock.patch.object(module, name, least))
        mge._full_sync()
        start = time.perf_counter()
        for _ in range(CALLS):
            work(x)
        mge._full_sync()
        return (time.perf_counter() - start) / CALLS


def line(name: str, work: Callable[[Any], Any], shape: tuple[int, ...]) -> str:
    """Time work on a tensor of a shape by turns and return a line of the table."""
    from megengine import Tensor

    x = Tensor(np.random.default_rng(0).standard_normal(shape, np.float32))
    times = [[seconds(work, x, least) for least in (10**9, 1)] for _ in range(ROUNDS)]
    single, ours = np.median(times, axis=0) * 1e3
    return f"| {name} | {single:.2f} | {ours:.2f} |"


def main() -> None:
    """Print one line for each size."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    from megengine import Parameter

    from official.multimodal.taming_transformer.blocks import activate
    from official.multimodal.taming_transformer.columns import swap
    from official.multimodal.taming_transformer.layers import gelu
    from official.multimodal.taming_transformer.norms import GroupNorm
    from official.multimodal.taming_transformer.runtime import tune_cpu

    def copied(x: Any) -> Any:
        return swap(x, 2) + 0  # a transposed tensor is copied when it is used

    tune_cpu()
    print("| operator | MegEngine's, ms | ours, ms |")
    print("| --- | --- | --- |")
    for tokens in TOKENS:
        shape = (1, HEADS, WIDTH, tokens)
        print(line(f"swap, {tokens} tokens", copied, shape), flush=True)
    for numbers in NUMBERS:
        print(line(f"gelu, {numbers} numbers", gelu, (1, numbers)), flush=True)
    for channels, side in PICTURES:
        norm = GroupNorm(channels)
        for parameter in norm.parameters():
            parameter._reset(Parameter(np.ones(channels, np.float32)))
        work = functools.partial(activate, norm, moments=None)
        name = f"normalisation and swish, {channels} x {side} x {side}"
        print(line(name, work, (1, channels, side, side)), flush=True)


if __name__ == "__main__":
    main()
