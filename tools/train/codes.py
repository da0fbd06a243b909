"""Codes of whole packs, computed once by trained VQGANs: what a transformer learns from."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent))

from common import Devices
from data import load_pack
from feed import to_input
from nets import VQGANConfig, VQModel

MAPS = {"segmentation": "labels", "depth": "depth"}


def load_vqgan(path: Path, device: torch.device) -> VQModel:
    """Rebuild a finished VQGAN from its model.ckpt."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    model = VQModel(VQGANConfig.of(saved["configs"]["model"]))
    model.load_state_dict(saved["state_dict"])
    return model.to(device).eval().requires_grad_(False)


@torch.no_grad()
def encode_pack(
    vqgan: VQModel, array: np.ndarray, kind: str, devices: Devices, *, flip: bool
) -> np.ndarray:
    """Codes of a pack's pictures or maps, (N, tokens) uint16; with `flip` (2 N, tokens).

    The mirrored ones come after all the others.
    """
    args = argparse.Namespace(kind=kind, n_labels=vqgan.config.in_channels)
    parts = []
    for mirror in (False, True) if flip else (False,):
        for i in range(0, len(array), 32):
            x = to_input(array[i : i + 32], args).to(devices.device)
            with devices.autocast():
                codes = vqgan.codes(x.flip(3) if mirror else x)
            parts.append(codes.flatten(1).cpu().numpy().astype(np.uint16))
    return np.concatenate(parts)


class Sequences:
    """Condition tokens and image tokens of a pack, encoded once into the run's folder."""

    def __init__(self, args: argparse.Namespace, devices: Devices, pack: Path, name: str) -> None:
        self.args, self.devices = args, devices
        flip = name == "train"
        arrays = {k: v[: args.limit] for k, v in load_pack(pack).items()}
        self.z = self._codes(args.first_stage, arrays["images"], "images", name, flip)
        if args.task in MAPS:
            kind = MAPS[args.task]
            self.c = self._codes(args.cond_stage, arrays[kind], kind, name, flip)
        elif args.task == "class":
            kinds = arrays["kinds"].astype(np.uint16)[:, None] + 1
            self.c = np.concatenate([kinds, kinds]) if flip else kinds
        else:
            self.c = np.zeros((len(self.z), 1), np.uint16)

    def _codes(
        self, model: Path, array: np.ndarray, kind: str, name: str, flip: bool
    ) -> np.ndarray:
        stamp = f"{model.stat().st_mtime_ns}-{len(array)}"
        path = model.parent / f"codes-{name}-{kind}-{stamp}.npy"
        if not path.is_file():
            vqgan = load_vqgan(model, self.devices.device)
            np.save(path, encode_pack(vqgan, array, kind, self.devices, flip=flip))
        return np.load(path)

    def batch(self, rng: np.random.Generator, n: int) -> tuple[Tensor, Tensor]:
        """Draw n pairs (B, cond tokens), (B, image tokens)."""
        pick = rng.integers(len(self.z), size=n)
        c = self.c[pick].astype(np.int64)
        if self.args.task == "class":
            c[rng.random(n) < self.args.free_share] = 0
        return self.tensor(c), self.tensor(self.z[pick])

    def tensor(self, codes: np.ndarray) -> Tensor:
        """Codes as a tensor on the device."""
        return torch.from_numpy(codes.astype(np.int64)).to(self.devices.device)
