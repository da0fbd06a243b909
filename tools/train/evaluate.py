"""Print the figures of trained networks on scenes and photographs that were held out.

python tools/train/evaluate.py vqgan --model runs/image/model.ckpt --pack runs/held_out \
        --photos runs/photos/held_out
python tools/train/evaluate.py segmentation --model runs/seg/model.ckpt --pack runs/held_out \
        --judge runs/judge.ckpt --sheet seg.png
python tools/train/evaluate.py class --model runs/class/model.ckpt --pack runs/held_out \
        --judge runs/judge.ckpt --train-pack runs/scenes --sheet class.png
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))

from common import save_sheet, to_pictures
from data import list_pictures, load_pack
from feed import stretch
from gpt import GPT, GPTConfig, generate
from judge import Judge, load_judge, pictures
from nets import VQGANConfig, VQModel
from scenes import CLASSES, LABEL_COLOURS


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture of (B, C, H, W) in [-1, 1], in dB."""
    return 10.0 * torch.log10(4.0 / (x - y).square().mean((1, 2, 3)).clamp(min=1e-10))


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity of each picture of (B, C, H, W) in [-1, 1].

    Source: Wang et al. 2004: Gaussian window of 11 pixels, sigma 1.5, K1 0.01, K2 0.03.
    """
    axis = torch.arange(-5.0, 6.0)
    line = torch.exp(-(axis**2) / 4.5)
    line = line / line.sum()
    window = (line[:, None] * line[None, :]).expand(x.shape[1], 1, 11, 11).contiguous()

    def mean(a: Tensor) -> Tensor:
        return F.conv2d(a, window, groups=x.shape[1])

    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = (0.01 * 2.0) ** 2, (0.03 * 2.0) ** 2
    top = (2.0 * mx * my + c1) * (2.0 * vxy + c2)
    return (top / ((mx * mx + my * my + c1) * (vx + vy + c2))).mean((1, 2, 3))


def intersection_over_union(found: np.ndarray, asked: np.ndarray) -> float:
    """Mean over the labels that occur of intersection over union, over all pictures together."""
    pairs = [(found == label, asked == label) for label in np.unique(asked)]
    return float(np.mean([(a & b).sum() / (a | b).sum() for a, b in pairs]))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation of two arrays, equal values sharing their mean rank."""

    def ranks(x: np.ndarray) -> np.ndarray:
        _, place, count = np.unique(x.ravel(), return_inverse=True, return_counts=True)
        return (np.cumsum(count) - (count - 1) / 2.0)[place.ravel()]

    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def load_photos(folder: Path, size: int) -> Tensor:
    """Centred squares of a folder's photographs, (N, 3, size, size) in [-1, 1]."""
    from PIL import Image, ImageOps

    files = [Image.open(path).convert("RGB") for path in list_pictures(folder)]
    files = [ImageOps.fit(f, (size, size), Image.Resampling.LANCZOS) for f in files]
    return pictures(np.stack([np.asarray(f) for f in files]))


class Models:
    """The networks of a finished transformer's or VQGAN's model.ckpt."""

    def __init__(self, path: Path) -> None:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        self.configs, self.state = saved["configs"], saved["state_dict"]

    def vqgan(self, prefix: str, name: str) -> VQModel:
        """Rebuild one VQGAN."""
        model = VQModel(VQGANConfig.of(self.configs[name]))
        model.load_state_dict(self._under(prefix))
        return model.eval().requires_grad_(False)

    def gpt(self) -> GPT:
        """Rebuild the transformer."""
        model = GPT(GPTConfig(**self.configs["transformer"]))
        model.load_state_dict(self._under("transformer."))
        return model.eval().requires_grad_(False)

    def _under(self, prefix: str) -> dict[str, Tensor]:
        return {k[len(prefix) :]: v for k, v in self.state.items() if k.startswith(prefix)}


@torch.no_grad()
def evaluate_vqgan(args: argparse.Namespace) -> dict[str, Any]:
    """Figures of an image VQGAN."""
    model = Models(args.model).vqgan("", "model")
    scenes = pictures(load_pack(args.pack)["images"][: args.count])
    used, restored = [], []
    for x in scenes.split(8):
        codes = model.codes(x)
        used.append(codes.flatten())
        restored.append(model.decode_codes(codes).clamp(-1.0, 1.0))
    y = torch.cat(restored)
    figures = {"scenes_psnr": psnr(scenes, y).mean(), "scenes_ssim": ssim(scenes, y).mean()}
    rows = [to_pictures(scenes[:10]), to_pictures(y[:10])]
    if args.photos is not None:
        photos = load_photos(args.photos, 256)
        codes = [model.codes(x) for x in photos.split(1)]
        used += [c.flatten() for c in codes]
        y = torch.cat([model.decode_codes(c).clamp(-1.0, 1.0) for c in codes])
        figures["photos_psnr"] = psnr(photos, y).mean()
        figures["photos_ssim"] = ssim(photos, y).mean()
        rows += [to_pictures(photos), to_pictures(y)]
    seen = torch.bincount(torch.cat(used), minlength=model.config.n_embed)
    figures["codebook_usage"] = (seen > 0).float().mean()
    save_sheet(args.sheet, rows)
    return {k: round(float(v), 4) for k, v in figures.items()}


def draw(args: argparse.Namespace, models: Models, cond: Tensor) -> Tensor:
    """Draw a picture for each row of condition tokens, (N, 3, H, W)."""
    gpt, first = models.gpt(), models.vqgan("first_stage_model.", "first_stage")
    generator = torch.Generator().manual_seed(args.seed)
    side = first.config.resolution >> (len(first.config.ch_mult) - 1)
    parts = []
    for c in cond.split(16):
        how = {"top_k": args.top_k, "top_p": args.top_p, "generator": generator}
        codes = generate(gpt, c, side * side, **how)
        parts.append(first.decode_codes(codes.view(-1, side, side)).clamp(-1.0, 1.0))
    return torch.cat(parts)


@torch.no_grad()
def evaluate_maps(args: argparse.Namespace) -> dict[str, Any]:
    """Figures of a segmentation or depth transformer: does the judge find what was asked for."""
    models, judge = Models(args.model), load_judge(args.judge)
    stage = models.vqgan("cond_stage_model.", "cond_stage")
    pack = load_pack(args.pack)
    real = pictures(pack["images"][: args.count])
    labels = torch.from_numpy(pack["labels"][: args.count].astype(np.int64))
    depth = torch.from_numpy(pack["depth"][: args.count].astype(np.float32))
    if args.what == "segmentation":
        x = F.one_hot(labels, stage.config.in_channels).permute(0, 3, 1, 2).float()
        shown = LABEL_COLOURS[labels.numpy()]
    else:
        x = stretch(depth)[:, None]
        shown = to_pictures(x)
    cond = torch.cat([stage.codes(part).flatten(1) for part in x.split(16)])
    drawn = draw(args, models, cond)
    save_sheet(args.sheet, _rows(shown, to_pictures(drawn), to_pictures(real)))
    figures: dict[str, float] = {}
    for name, batch in (("drawn", drawn), ("real", real)):
        found, near = _judged(judge, batch)
        if args.what == "segmentation":
            figures[name] = intersection_over_union(found, labels.numpy())
        else:
            pairs = zip(near, depth.numpy())
            figures[name] = float(np.mean([rank_correlation(a, b) for a, b in pairs]))
    figures["ratio"] = figures["drawn"] / figures["real"]
    return {k: round(v, 4) for k, v in figures.items()}


def _judged(judge: Judge, batch: Tensor) -> tuple[np.ndarray, np.ndarray]:
    found = [judge(x) for x in batch.split(16)]
    labels = torch.cat([f[0].argmax(1) for f in found]).numpy()
    return labels, torch.cat([f[1] for f in found]).numpy()


def _rows(*columns: np.ndarray, across: int = 8) -> list[np.ndarray]:
    rows = []
    for i in range(0, min(len(columns[0]), 4 * across), across):
        rows += [c[i : i + across] for c in columns]
    return rows


@torch.no_grad()
def evaluate_class(args: argparse.Namespace) -> dict[str, Any]:
    """Figures of a class transformer, and its samples' nearest training pictures."""
    models, judge = Models(args.model), load_judge(args.judge)
    asked = torch.arange(args.count) % len(CLASSES)
    free = torch.zeros(16, dtype=torch.long)
    drawn = draw(args, models, torch.cat([asked + 1, free])[:, None])
    named = torch.cat([judge(x)[2].argmax(1) for x in drawn[: args.count].split(16)])
    real = load_pack(args.pack)
    truth = torch.from_numpy(real["kinds"][:200].astype(np.int64))
    found = torch.cat([judge(x)[2].argmax(1) for x in pictures(real["images"][:200]).split(16)])
    shown = to_pictures(drawn)
    rows = [shown[i : i + len(CLASSES)] for i in range(0, min(args.count, 24), len(CLASSES))]
    if args.train_pack is not None:
        free_ones = shown[args.count :]
        near = nearest(free_ones, load_pack(args.train_pack)["images"])
        rows += _rows(free_ones, near)
    save_sheet(args.sheet, rows)
    return {
        "class_accuracy": round(float((named == asked).float().mean()), 4),
        "class_accuracy_of_real": round(float((found == truth).float().mean()), 4),
    }


def nearest(some: np.ndarray, many: np.ndarray) -> np.ndarray:
    """The picture of `many` nearest to each of `some`, compared at an eighth of the size."""

    def small(x: np.ndarray) -> np.ndarray:
        n, h, w, _ = x.shape
        return x.reshape(n, h // 8, 8, w // 8, 8, 3).mean((2, 4)).reshape(n, -1)

    table = np.concatenate([small(many[i : i + 500]) for i in range(0, len(many), 500)])
    return np.stack([many[np.abs(table - one).mean(1).argmin()] for one in small(some)])


def main() -> None:
    """Print figures as JSON."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("what", choices=("vqgan", "segmentation", "depth", "class"))
    p.add_argument("--model", type=Path, required=True, help="model.ckpt of a run")
    p.add_argument("--pack", type=Path, required=True, help="pack of held-out scenes")
    p.add_argument("--photos", type=Path, help="folder of held-out photographs")
    p.add_argument("--judge", type=Path, help="file written by judge.py")
    p.add_argument("--train-pack", type=Path, help="pack to search for the nearest pictures")
    p.add_argument("--sheet", type=Path, default=Path("evaluation.png"), help="PNG to write")
    p.add_argument("--count", type=int, default=96, help="pictures")
    p.add_argument("--top-k", type=int, default=100)
    p.add_argument("--top-p", type=float, default=0.95)
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()
    if args.what != "vqgan" and args.judge is None:
        p.error(f"{args.what} needs --judge, a file written by tools/train/judge.py")
    run = {"vqgan": evaluate_vqgan, "class": evaluate_class}.get(args.what, evaluate_maps)
    print(json.dumps(run(args)))


if __name__ == "__main__":
    main()
