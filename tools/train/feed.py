"""Batches for a VQGAN, as tensors of the range and layout that it takes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))

from data import Photos, load_pack


class Feed:
    """Batches of one kind of data."""

    def __init__(self, args: argparse.Namespace, rng: np.random.Generator) -> None:
        self.args, self.rng = args, rng
        self.array = load_pack(args.pack)[args.kind]
        use_photos = args.photos is not None and args.kind == "images"
        self.photos = Photos.open(args.photos) if use_photos else None

    def batch(self, n: int) -> Tensor:
        """(n, channels, size, size): pictures and depth in [-1, 1], labels one-hot.

        The size is drawn by lot from `--crop`, and n falls as the pixels of a picture rise.
        """
        sizes = self.args.crop or [self.args.size]
        size = int(self.rng.choice(sizes))
        n = max(1, n * sizes[0] ** 2 // size**2)
        return to_input(np.stack([self._one(size) for _ in range(n)]), self.args)

    def _one(self, size: int) -> np.ndarray:
        large = size > min(self.array.shape[1:3])
        if self.photos is not None and (large or self.rng.random() < self.args.photo_share):
            cut = self.photos.crop(self.rng, size).astype(np.float32) / 255.0
            gain = self.rng.uniform(0.85, 1.15, 3).astype(np.float32)
            cut = np.clip(cut ** self.rng.uniform(0.75, 1.3) * gain, 0.0, 1.0)
            return np.round(cut * 255.0).astype(np.uint8)
        one = self.array[self.rng.integers(len(self.array))]
        top, left = (self.rng.integers(side - size + 1) for side in one.shape[:2])
        cut = one[top : top + size, left : left + size]
        return cut[:, ::-1] if self.rng.random() < 0.5 else cut


def to_input(batch: np.ndarray, args: argparse.Namespace) -> Tensor:
    """Turn uint8 arrays into what a VQGAN of that kind takes."""
    x = torch.from_numpy(np.array(batch))
    if args.kind == "labels":
        return F.one_hot(x.long(), args.n_labels).permute(0, 3, 1, 2).float().contiguous()
    x = x.float() / 127.5 - 1.0
    return (x.permute(0, 3, 1, 2) if args.kind == "images" else stretch(x)[:, None]).contiguous()


def stretch(depth: Tensor) -> Tensor:
    """Spread each depth map (B, H, W) over the whole of [-1, 1]."""
    low, high = depth.amin((1, 2), True), depth.amax((1, 2), True)
    return (depth - low) / (high - low).clamp(min=1e-6) * 2.0 - 1.0
