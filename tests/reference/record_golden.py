"""Record the golden files of the PyTorch original under tests/golden.

Run in the reference environment (Python 3.11 with torch and the original):

    .venv-ref/bin/python -m tests.reference.record_golden [NAME ...]

A file holds what the original computed, a fingerprint of the weights that it had, and nothing
else: weights and inputs are drawn again by ``draw.py`` wherever they are needed.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from . import greedy, networks, stages
from .cases import GREEDY, SMALL, Case

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
SEPARATE = 1e-4  # margin under which two implementations may choose differently


def save(name: str, arrays: dict[str, np.ndarray], facts: dict[str, object]) -> Path:
    """Write one golden file, whole or not at all."""
    packages = ("torch", "taming-transformers-rom1504", "DALL-E")
    facts = {**facts, "made_with": {package: version(package) for package in packages}}
    path, part = GOLDEN / f"{name}.npz", GOLDEN / f"{name}.part"
    with part.open("wb") as file:
        np.savez_compressed(file, facts=np.array(json.dumps(facts, sort_keys=True)), **arrays)
    os.replace(part, path)
    return path


def check_codes(case: Case, arrays: dict[str, np.ndarray]) -> str:
    """Insist that codes vary and that none is a near tie; return a line that says how much."""
    said = []
    for part in ("", "z_", "c_"):
        gaps = arrays.get(f"{part}margins")
        if gaps is None:
            continue
        stage = {"z_": "first_stage", "c_": "cond_stage"}.get(part)
        config = case.config[stage] if stage else case.config
        total = config.get("n_embed") or config["vocab_size"]
        used = len(np.unique(arrays[f"{part}indices"]))
        assert 2 * used > total, f"{case.name}: only {used} of {total} codes occur"
        assert gaps.min() > SEPARATE, f"{case.name}: codes within {gaps.min()} of each other"
        said.append(f"{part}codes {used}/{total}, margin {gaps.min():.1e}")
    return "; ".join(said)


def check_scale(case: Case, arrays: dict[str, np.ndarray]) -> None:
    """Insist that no stage dies out or explodes."""
    for name, array in arrays.items():
        if array.dtype == np.float32 and "margins" not in name:
            assert 0.05 < array.std() < 30, f"{case.name}: {name} has deviation {array.std()}"


def record(case: Case) -> str:
    model = networks.skeleton(case)
    weights = networks.fill(model, case.seed)
    arrays = stages.run(case, model)
    report = check_codes(case, arrays)
    check_scale(case, arrays)
    path = save(case.name, arrays, {"weights": weights, "seed": case.seed})
    return f"{path.name} {path.stat().st_size / 1024:.0f} KiB {report}"


def record_greedy(case: Case) -> str:
    model = networks.skeleton(case)
    weights = networks.fill(model, case.seed)
    arrays = greedy.run(case, model)
    least = float(arrays["margins"].min())
    if "16x16" in case.name:
        assert least > SEPARATE, f"{case.name}: logits within {least} of each other"
    kinds = len(np.unique(arrays["tokens"]))
    assert kinds > 8, f"{case.name}: only {kinds} kinds of token"
    path = save(case.name, arrays, {"weights": weights, "seed": case.seed})
    return f"{path.name} {path.stat().st_size / 1024:.0f} KiB {kinds} tokens, margin {least:.1e}"


def main(names: list[str]) -> None:
    torch.set_num_threads(1)  # sums in one order
    GOLDEN.mkdir(exist_ok=True)
    for case in SMALL.values():
        if not names or case.name in names:
            print(record(case), flush=True)
    for case in GREEDY:
        if not names or case.name in names:
            print(record_greedy(case), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
