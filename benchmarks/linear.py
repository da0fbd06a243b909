"""Time of the forms that a linear layer can take, by the number of tokens: which is fastest where.

    python benchmarks/linear.py [--width 1024] [--json FILE]
    python benchmarks/linear.py --tokens 508 512 544    where a column's rows fall on one another
                                                        in the cache

Weights are those of many layers, one after the other, so that none is in the cache when its turn
comes: as in a transformer. Forms: MegEngine's ``linear``, NumPy's product on the same memory, and a
1x1 convolution over tokens side by side, all for width -> 4 width; then query, key and value
(width -> width) as three products or as one, as in gpt.py, in the form that columns.py takes.
Milliseconds a layer, medians, by turns.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

TOKENS = (1, 2, 3, 4, 8, 16, 25, 64, 256)
LAYERS = 24
ROUNDS = 15
Form = Callable[[Any, Any], Any]


def forms() -> dict[str, tuple[str, Form]]:
    """Return, by name, the kind of weights that a form takes and the form itself."""
    import megengine.functional as F

    from official.multimodal.taming_transformer.columns import CONV_TOKENS
    from official.multimodal.taming_transformer.host import values

    def linear(x: Any, weight: Any) -> Any:
        return F.linear(x, weight)

    def numpy(x: Any, weight: Any) -> Any:
        rows = x.numpy()[0]
        return values(weight) @ (rows[0] if len(rows) == 1 else rows.T)

    def convolution(x: Any, weight: Any) -> Any:
        columns = x.reshape(1, -1, x.shape[1], 1)  # as tokens lie in the network
        return F.conv2d(columns, weight.reshape(*weight.shape, 1, 1))

    def products(x: Any, weights: Sequence[Any]) -> list[Any]:
        if x.shape[1] < CONV_TOKENS:
            return [linear(x, weight) for weight in weights]
        return [convolution(x, weight) for weight in weights]

    def three(x: Any, weights: Any) -> Any:
        return products(x, weights)[-1]

    def fused(x: Any, weight: Any) -> Any:
        (y,) = products(x, [weight])
        return y.reshape(3, x.shape[2], -1)[2]

    return {
        "linear": ("wide", linear),
        "numpy": ("wide", numpy),
        "convolution": ("wide", convolution),
        "q, k, v": ("three", three),
        "fused qkv": ("fused", fused),
    }


def seconds(form: Form, x: Any, weights: Sequence[Any]) -> float:
    """Return how long a form takes over all weights."""
    start = time.perf_counter()
    for weight in weights:
        y = form(x, weight)
    if not isinstance(y, np.ndarray):
        y.numpy()
    return time.perf_counter() - start


def measure(width: int, counts: Sequence[int] = TOKENS) -> list[dict[str, Any]]:
    """Return milliseconds a layer of every form, for every number of tokens."""
    from megengine import Tensor

    from official.multimodal.taming_transformer.runtime import tune_cpu

    tune_cpu()
    stream = np.random.default_rng(0)

    def drawn(rows: int) -> Any:
        return Tensor(stream.standard_normal((rows * width, width), np.float32))

    weights = {
        "wide": [drawn(4) for _ in range(LAYERS)],
        "three": [[drawn(1) for _ in range(3)] for _ in range(LAYERS)],
        "fused": [drawn(3) for _ in range(LAYERS)],
    }
    known = forms()
    lines = []
    for tokens in counts:
        x = Tensor(stream.standard_normal((1, tokens, width), np.float32))
        times: dict[str, list[float]] = {name: [] for name in known}
        for _ in range(ROUNDS):
            for name, (kind, form) in known.items():
                times[name].append(seconds(form, x, weights[kind]) / LAYERS * 1e3)
        medians = {name: float(np.median(ms)) for name, ms in times.items()}
        lines.append({"tokens": tokens, **medians})
    return lines


def main() -> None:
    """Run the benchmark as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    lines = measure(options.width, options.tokens)
    print("| " + " | ".join(lines[0]) + " |")
    print("| " + " | ".join(["---"] * len(lines[0])) + " |")
    for line in lines:
        cells = [str(line["tokens"])] + [f"{line[name]:.2f}" for name in list(line)[1:]]
        print("| " + " | ".join(cells) + " |")
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
