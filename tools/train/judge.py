"""A small network that names labels, depth and class of a picture: the yardstick of `evaluate.py`.

    python tools/train/judge.py --out runs/judge.ckpt --pack runs/scenes --minutes 8

It is trained on rendered pictures alone and never sees a generated one.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))

from data import load_pack
from scenes import CLASSES, LABELS


def _layer(cin: int, cout: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(cin, cout, 3, stride, 1), nn.BatchNorm2d(cout), nn.ReLU())


class Judge(nn.Module):
    """Pictures (B, 3, H, W) in [-1, 1] to labels, depth and class; H and W multiples of 8."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([_layer(3, 24, 2), _layer(24, 48, 2), _layer(48, 96, 2)])
        self.mid = nn.Sequential(_layer(96, 96), _layer(96, 96))
        self.up = nn.ModuleList([_layer(96 + 48, 48), _layer(48 + 24, 32), _layer(32 + 3, 24)])
        self.maps = nn.Conv2d(24, len(LABELS) + 1, 1)
        self.kind = nn.Linear(96, len(CLASSES))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B, labels, H, W), depth (B, H, W) in [0, 1], class logits (B, classes)."""
        kept, h = [x], x
        for layer in self.down:
            h = layer(h)
            kept.append(h)
        h = self.mid(kept.pop())
        kind = self.kind(h.mean((2, 3)))
        for layer in self.up:
            h = F.interpolate(h, scale_factor=2.0, mode="bilinear", align_corners=False)
            h = layer(torch.cat([h, kept.pop()], 1))
        maps = self.maps(h)
        return maps[:, :-1], maps[:, -1], kind


def pictures(images: np.ndarray) -> Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) in [-1, 1]."""
    x = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
    return x.float().contiguous() / 127.5 - 1.0


def load_judge(path: Path) -> Judge:
    """Read a trained judge."""
    judge = Judge()
    judge.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return judge.eval()


def train(judge: Judge, pack: dict[str, np.ndarray], minutes: float, seed: int) -> None:
    """Train a judge on a pack for some minutes."""
    rng = np.random.default_rng(seed)
    opt = torch.optim.Adam(judge.parameters())
    start, done, step = time.monotonic(), 0.0, 0
    while done < 1.0:
        done = (time.monotonic() - start) / (60.0 * minutes)
        opt.param_groups[0]["lr"] = 2e-3 * max(1.0 - done, 0.02)
        pick = np.sort(rng.choice(len(pack["images"]), 16, replace=False))
        x = pictures(pack["images"][pick])
        x = (x * rng.uniform(0.9, 1.1) + 0.06 * torch.randn_like(x)).clamp(-1.0, 1.0)
        labels, depth, kind = judge(x)
        loss = F.cross_entropy(labels, torch.from_numpy(pack["labels"][pick]).long())
        near = torch.from_numpy(pack["depth"][pick].astype(np.float32) / 255.0)
        loss = loss + 4.0 * (depth - near).abs().mean()
        loss = loss + 0.3 * F.cross_entropy(kind, torch.from_numpy(pack["kinds"][pick]).long())
        opt.zero_grad()
        loss.backward()
        opt.step()
        step += 1
        if step % 50 == 0:
            print(f"step {step}  loss {loss.item():.4f}", flush=True)


def main() -> None:
    """Train and write a judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--pack", type=Path, required=True, help="pack made by data.py")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    judge = Judge()
    train(judge, load_pack(args.pack), args.minutes, args.seed)
    part = args.out.with_suffix(".part")
    torch.save(judge.state_dict(), part)
    os.replace(part, args.out)
    print(args.out)


if __name__ == "__main__":
    main()
