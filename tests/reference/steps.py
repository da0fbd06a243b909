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
    print(json.dumps({**drawn, "shapes after a made-up past": shapes}))


if __name__ == "__main__":
    main()
