"""Write a full-size checkpoint of the original and what it computes, for a live comparison.

Run in the reference environment:

    .venv-ref/bin/python -m tests.reference.record_live NAME FOLDER

``FOLDER`` gets a checkpoint in the form that the original's authors published theirs in, and
``expected.npz`` with every stage.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning.callbacks.model_checkpoint import ModelCheckpoint

from . import networks, stages
from .cases import FULL


def lightning(model: torch.nn.Module) -> dict[str, Any]:
    """Return what Lightning 1.0.8 saved: the weights between much that is none."""
    state = dict(model.state_dict())
    state["loss.discriminator.main.0.weight"] = torch.ones(4, 3, 4, 4)
    moments = {"step": 7, "exp_avg": torch.ones(3), "exp_avg_sq": torch.ones(3)}
    return {
        "epoch": 3,
        "global_step": 40,
        "pytorch-lightning_version": "1.0.8",
        "callbacks": {ModelCheckpoint: {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [{"state": {0: moments}, "param_groups": [{"lr": 1e-4}]}],
        "lr_schedulers": [],
        "state_dict": state,
    }


def save(kind: str, model: torch.nn.Module, folder: Path) -> None:
    """Write the checkpoint: OpenAI published whole modules, CompVis Lightning's files."""
    if kind == "dvae":
        torch.save(model.encoder, folder / "encoder.pkl")
        torch.save(model.decoder, folder / "decoder.pkl")
    else:
        torch.save(lightning(model), folder / "last.ckpt")


def main(name: str, folder: Path) -> None:
    case = FULL[name]
    model = networks.skeleton(case)
    networks.fill(model, case.seed)
    save(case.kind, model, folder)
    np.savez(folder / "expected.npz", **stages.run(case, model))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
