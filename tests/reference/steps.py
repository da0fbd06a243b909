"""Print tokens that the benchmark's loop of the original's steps draws, and those of its own loop.

Runs in the reference environment; tests/test_benchmarks.py compares the two.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks.cases import CASES  # noqa: E402
from benchmarks.original import Original  # noqa: E402

LENGTH = 40
SHAPE = {"vocab_size": 50, "block_size": LENGTH, "n_layer": 2, "n_head": 2, "n_embd": 16}


def layers_passed() -> list[list[int]]:
    """Return how often each layer of three is passed while settling, and in a window after it."""
    shape = {**SHAPE, "vocab_size": 1024, "block_size": 512, "n_layer": 3}
    CASES["map"] = replace(CASES["sflckr_64x42"], gpt=shape, top_k=30)
    side = Original()
    side.build("map")
    side.prepare("map")
    passed: list[int] = []
    for layer, block in enumerate(side.model.blocks):
        block.register_forward_hook(lambda *_, layer=layer: passed.append(layer))
    found = []
    for work in side.settle, lambda: side.advance(1):
        passed.clear()
        work()
        found.append([passed.count(layer) for layer in range(3)])
    return found


def main() -> None:
    """Draw with both from the same seed."""
    from taming.modules.transformer.mingpt import sample_with_past  # behind the stand-ins

    CASES["tiny"] = replace(CASES["celebahq_b1"], gpt=SHAPE, batch=2, top_k=30)
    side = Original()
    side.build("tiny")
    start = torch.zeros((2, 1), dtype=torch.long)
    torch.manual_seed(0)
    theirs = sample_with_past(start, side.model, LENGTH, top_k=30, top_p=1.0)
    torch.manual_seed(0)
    side.prepare("tiny")
    rows = []
    for _ in range(LENGTH):
        side.advance(1)
        rows.append(side._tokens[:, 0].tolist())
    ours = [list(row) for row in zip(*rows)]
    side.prepare("tiny", 0)
    side.prepare("tiny", 5)
    side.advance(2)
    shapes = [list(token.shape) for token in side._past]
    drawn = {"benchmark": ours, "sample_with_past": theirs.tolist()}
    facts = {"shapes after a made-up past": shapes, "layers passed": layers_passed()}
    print(json.dumps({**drawn, **facts}))


if __name__ == "__main__":
    main()
