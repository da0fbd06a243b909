#!/usr/bin/env python3
"""Make the pictures that the READMEs show, in assets/pictures: the strip and the demo's sheet.

python tools/pictures.py
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Sequence

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from PIL import Image  # noqa: E402

from official.multimodal.taming_transformer import tune_cpu  # noqa: E402
from tools.demonstration.page import contact_sheet  # noqa: E402
from tools.demonstration.steps import STEPS  # noqa: E402

EXAMPLES = ROOT / "assets" / "examples"
WIDTH, GAP, TILE = 1240, 8, 128


def strip(root: Path) -> Image.Image:
    """Lay the demo's pictures out in two rows, RGB, 1240 pixels wide.

    Args:
        root: Folder that the demo's steps have written into.
    """
    above = [_open(root / name) for name in ("panorama_segmentation.png", "panorama.png")]
    classes = _open(root / "classes.png")
    below = [classes.crop((TILE * k, 0, TILE * (k + 1), TILE)) for k in range(6)]
    below += [_open(root / name) for name in ("depth_depth.png", "depth_000.png")]
    below.append(_open(root / "completed_000.png"))
    rows = [_row(pictures) for pictures in (above, below)]
    page = Image.new("RGB", (WIDTH, sum(row.height for row in rows) + GAP), "white")
    page.paste(rows[0], (0, 0))
    page.paste(rows[1], (0, rows[0].height + GAP))
    return page


def _open(path: Path) -> Image.Image:
    with Image.open(path) as file:
        return file.convert("RGB")


def _row(pictures: Sequence[Image.Image]) -> Image.Image:
    """Scale pictures of one shape to stand beside each other over the whole width."""
    n = len(pictures)
    edges = [round((WIDTH + GAP) * k / n) for k in range(n + 1)]
    height = round((edges[1] - GAP) * pictures[0].height / pictures[0].width)
    row = Image.new("RGB", (WIDTH, height), "white")
    for picture, left, right in zip(pictures, edges, edges[1:]):
        size = (right - left - GAP, height)
        row.paste(picture.resize(size, Image.Resampling.LANCZOS), (left, 0))
    return row


def main() -> None:
    """Run the demo's steps and write the pictures."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    tune_cpu()
    target = ROOT / "assets" / "pictures"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        done = [(step, step.run(root, EXAMPLES / step.example), 0.0) for step in STEPS]
        pages = {"strip.png": strip(root), "demo.png": contact_sheet(done)}
    for name, picture in pages.items():
        picture.save(target / f".{name}", format="PNG", optimize=True)
        os.replace(target / f".{name}", target / name)
        print(target / name)


if __name__ == "__main__":
    main()
