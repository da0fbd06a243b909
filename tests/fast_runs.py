"""A small sampler, in this process or (to be killed) in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from official.multimodal.taming_transformer.config import GPTConfig, Net2NetConfig
from official.multimodal.taming_transformer.fast import FastSampler
from official.multimodal.taming_transformer.net2net import Net2NetTransformer
from tests.tiny import VQ, filled

CLASSES = 5
SETTINGS = {
    "batch_size": 2,
    "temperature": 2.0,
    "top_k": 30,
    "top_p": 0.95,
    "num_samples": 13,
    "steps": 9,
    "seed": 2022,
}


def tiny_transformer(condition: str = "unconditional") -> Net2NetTransformer:
    """Return a transformer of 3x3 windows over the tiny VQGAN: pictures of 6x6 pixels."""
    classes = CLASSES if condition == "class" else 0
    config = Net2NetConfig(condition, VQ, GPTConfig(50, 16, 1, 4, 32), n_classes=classes, window=3)
    return filled(Net2NetTransformer(config), gain=1.5)


def tiny_sampler(model: Net2NetTransformer, **changes) -> FastSampler:
    return FastSampler(model, **{**SETTINGS, **changes})


def start(**changes) -> subprocess.Popen:
    """Start a run of the tiny sampler in a process of its own."""
    root = Path(__file__).resolve().parent.parent
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fast_runs", json.dumps(changes)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stderr=subprocess.PIPE,
        text=True,
    )


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    model = tiny_transformer(given.pop("condition", "unconditional"))
    name = given.pop("name", None)
    tiny_sampler(model, **given)(h=3, w=3, name=name)
