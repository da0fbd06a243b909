"""Write small checkpoints with PyTorch itself, of every kind that it can write.

Run in the reference environment (Python 3.11 with torch):

    .venv-ref/bin/python -m tests.reference.record_checkpoints FOLDER [--small]

With ``--small`` only those are written that tests/data/checkpoints keeps.

For every NAME.pt there is a NAME.npz with what ``torch.load`` reads back, and ``summary.json``
says which names ``torch.serialization`` deems unsafe in it. Live tests write all of them anew.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
from pathlib import Path
from typing import Any, Mapping

import numpy as np
import torch


def tensors() -> dict[str, torch.Tensor]:
    """Return one tensor of every kind that state dicts hold."""
    draw = torch.Generator().manual_seed(1)
    base = torch.randn(6, 8, generator=draw)
    shared = torch.arange(24, dtype=torch.float32)
    return {
        "plain": base,
        "transposed": base.t(),
        "every_second": base[:, ::2],
        "inner": torch.randn(5, 6, 7, generator=draw)[1:4, 2:5, 3:],
        "permuted": torch.randn(2, 3, 4, 5, generator=draw).permute(3, 1, 0, 2),
        "channels_last": torch.randn(2, 3, 4, 5, generator=draw).to(
            memory_format=torch.channels_last
        ),
        "expanded": torch.tensor([1.5, -2.5]).reshape(2, 1).expand(2, 3),
        "shared_head": shared[:10],
        "shared_tail": shared[10:].reshape(2, 7),
        "half": torch.randn(7, generator=draw).half(),
        "bfloat16": torch.randn(3, 5, generator=draw).bfloat16(),
        "bfloat16_transposed": torch.randn(3, 5, generator=draw).bfloat16().t(),
        "double": torch.randn(4, generator=draw, dtype=torch.float64),
        "int64": torch.tensor([-(2**62), 0, 2**62]),
        "int32": torch.tensor([[1, -2]], dtype=torch.int32),
        "int16": torch.tensor([-3, 4], dtype=torch.int16),
        "int8": torch.tensor([-5, 6], dtype=torch.int8),
        "uint8": torch.tensor([255, 0], dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(3.25),
        "empty": torch.zeros(0, 3),
        "special": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]),
        "parameter": torch.nn.Parameter(torch.randn(2, 2, generator=draw)),
        "one": torch.randn(1, 1, generator=draw),
    }


def lightning(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a training checkpoint as Lightning writes it."""
    from pytorch_lightning.callbacks import ModelCheckpoint

    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return {
        "epoch": 3,
        "global_step": 77,
        "pytorch-lightning_version": "1.0.8",
        "state_dict": state,
        "callbacks": {ModelCheckpoint: {"best_model_score": torch.tensor(0.5), "monitor": "loss"}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "hyper_parameters": argparse.Namespace(lr=1e-3, nested={"score": np.float64(2.5)}),
    }


def omegaconf(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint with an OmegaConf object in it."""
    from omegaconf import OmegaConf

    return {"state_dict": state, "config": OmegaConf.create({"model": {"rate": 0.1, "name": "x"}})}


def module() -> torch.nn.Module:
    """Return a network that is saved whole, classes and all."""
    torch.manual_seed(2)
    return torch.nn.Sequential(
        collections.OrderedDict(
            conv=torch.nn.Conv2d(2, 3, 3), norm=torch.nn.BatchNorm2d(3), act=torch.nn.ReLU()
        )
    )


KEPT = ("flat", "legacy", "lightning", "omegaconf", "module")


def record(folder: Path, small: bool) -> None:
    """Write the checkpoints, what they must read as, and the summary."""
    state = collections.OrderedDict(tensors())
    few = collections.OrderedDict(a=torch.arange(6.0).reshape(2, 3), b=torch.tensor([7, 8]))
    net = module()
    cases: dict[str, tuple[Any, Mapping[str, torch.Tensor], bool]] = {
        "flat": (state, state, True),
        "legacy": (state, state, False),
        "lightning": (lightning(few), few, True),
        "lightning_legacy": (lightning(few), few, False),
        "omegaconf": (omegaconf(few), few, True),
        "nested_model": ({"model": few, "step": 9}, few, True),
        "module": (net, net.state_dict(), True),
        "module_legacy": (net, net.state_dict(), False),
        "module_state": (net.state_dict(), net.state_dict(), True),
    }
    summary = {}
    for name, (value, expected, new) in cases.items():
        if small and name not in KEPT:
            continue
        path = folder / f"{name}.pt"
        torch.save(value, path, _use_new_zipfile_serialization=new)
        arrays = {
            key: (t.detach().float() if t.dtype == torch.bfloat16 else t.detach()).numpy()
            for key, t in expected.items()
        }
        np.savez_compressed(folder / f"{name}.npz", **arrays)
        summary[name] = (
            sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path)) if new else []
        )
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    record(Path(sys.argv[1]), "--small" in sys.argv[2:])
