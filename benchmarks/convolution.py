"""Time of a 3x3 convolution, plain and by Winograd's F(4, 3): which is faster where.

    python benchmarks/convolution.py

Milliseconds, medians of rounds by turns; ``winograd.CHANNELS`` and ``winograd.NUMBERS`` follow from
them. The error is the largest difference over the largest number.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# (channels, channels of the result, side)
CASES = ((64, 64, 64), (128, 128, 64), (128, 128, 128), (128, 128, 256), (128, 128, 512),
         (256, 256, 32), (256, 256, 64), (256, 256, 128), (256, 128, 128), (512, 512, 32),
         (512, 512, 64))  # fmt: skip
ROUNDS = 9


def main() -> None:
    """Print one line for each case."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    import megengine as mge
    import megengine.functional as F

    from official.multimodal.taming_transformer.runtime import tune_cpu
    from official.multimodal.taming_transformer.winograd import convolve

    tune_cpu()
    stream = np.random.default_rng(0)
    forms = (lambda x, weight: F.conv2d(x, weight, padding=1), convolve)
    print("| channels | side | plain, ms | F(4, 3), ms | error |")
    print("| --- | --- | --- | --- | --- |")
    for channels, out, side in CASES:
        x = mge.Tensor(stream.standard_normal((1, channels, side, side), np.float32))
        weight = mge.Tensor(stream.standard_normal((out, channels, 3, 3), np.float32))
        times: list[list[float]] = [[], []]
        for _ in range(ROUNDS):
            found = []
            for form, seconds in zip(forms, times):
                own = x + 0  # its memory may be used up
                mge._full_sync()
                start = time.perf_counter()
                y = form(own, weight)
                mge._full_sync()
                seconds.append(time.perf_counter() - start)
                found.append(y.numpy())
        error = np.abs(found[0] - found[1]).max() / np.abs(found[0]).max()
        ms = " | ".join(f"{np.median(seconds) * 1e3:.1f}" for seconds in times)
        print(f"| {channels} -> {out} | {side} | {ms} | {error:.1e} |", flush=True)


if __name__ == "__main__":
    main()
