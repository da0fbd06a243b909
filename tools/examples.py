#!/usr/bin/env python3
"""Make the example inputs in assets/examples: a picture, a label map, a depth map.

    python tools/examples.py

They are scenes of tools/train/scenes.py, of a collection that no network was trained on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools" / "train")]

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402
from scenes import LABELS, nearness, render  # noqa: E402

from official.multimodal.taming_transformer.palette import label_colours  # noqa: E402

SEED = 2  # the collection; networks learn from 0 and are measured on 1
PANORAMA, PICTURE, DEPTH = 3, 29, 16


def main() -> None:
    """Write the files."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    folder = ROOT / "assets" / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(render(SEED, PICTURE, 256, 256).image).save(folder / "scene_photo.png")
    labels = Image.fromarray(render(SEED, PANORAMA, 128, 512).labels, "P")
    labels.putpalette(label_colours(len(LABELS)).tobytes())  # the numbers are the labels
    labels.save(folder / "scene_map.png", optimize=True)
    near = nearness(render(SEED, DEPTH, 128, 128).depth)
    Image.fromarray(np.round(near * 65535.0).astype(np.uint16)).save(folder / "scene_depth.png")
    print("\n".join(str(path) for path in sorted(folder.iterdir())))


if __name__ == "__main__":
    main()
