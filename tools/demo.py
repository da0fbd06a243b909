#!/usr/bin/env python3
"""Reconstruct a photograph through a model's codes and show both side by side.

    sh tools/run.sh demo                    an example, with the small model that ships
    sh tools/run.sh demo photo.jpg          your own photograph
    sh tools/run.sh demo photo.jpg --model vqgan_imagenet_f16_16384
    sh tools/run.sh demo photo.jpg --model vqgan_imagenet_f16_16384 --weights last.ckpt

Exit status: 0 done; 1 the photograph or the weights could not be used; 2 wrong arguments;
4 no weights are to be had here (the message says how to get some).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from official.multimodal import taming_transformer as taming  # noqa: E402
from official.multimodal.taming_transformer.image import read_image  # noqa: E402

NO_WEIGHTS = 4
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
HOW_TO = """\
The demo needs the weights of a model, and none come with this checkout (assets/weights is empty).
Ways to get some, {example} as the example:
  a checkpoint that you have  sh tools/run.sh demo PHOTO --model {example} --weights last.ckpt
                              or in Python: {example}(weights="last.ckpt")
                              (.ckpt, .pth, .pkl and .safetensors; PyTorch is not needed)
  the published one           sh tools/run.sh weights fetch {example}
                              then: sh tools/run.sh demo PHOTO --model {example}
  without the Internet        TAMING_MIRROR=FOLDER names a folder that has the published files;
                              `sh tools/run.sh weights path {example}` tells their names"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit status."""
    options = _parser().parse_args(arguments)
    name = options.model or _shipped_model()
    if name is None:
        print(HOW_TO.format(example="vqgan_imagenet_f16_1024"), file=sys.stderr)
        return NO_WEIGHTS
    try:
        photo = options.photo or _example_photo()
        result = _reconstruct(name, photo, options.weights, options.output)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return NO_WEIGHTS
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{photo} and what {name} keeps of it: {result}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sh tools/run.sh demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photo", nargs="?", type=Path, help="a photograph; default: an example")
    parser.add_argument(
        "--model",
        choices=_first_stages(),
        metavar="NAME",
        help="default: the small model that ships; others: " + ", ".join(_first_stages()),
    )
    parser.add_argument("--weights", type=Path, help="a checkpoint of that model")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "outputs" / "demo", help="folder (%(default)s)"
    )
    return parser


def _first_stages() -> list[str]:
    """Return the models of pictures; those of depth and label maps take no photographs."""
    rows = [row for row in taming.list_models() if row.task == "reconstruction"]
    shapes = {row.name: getattr(row.config, "ddconfig", None) for row in rows}
    return [name for name, shape in shapes.items() if shape is None or shape.in_channels == 3]


def _shipped_model() -> str | None:
    shipped = (ROOT / "assets" / "weights" / f"{name}.safetensors" for name in _first_stages())
    return next((path.stem for path in shipped if path.is_file()), None)


def _example_photo() -> Path:
    found = sorted(p for p in (ROOT / "assets").rglob("*") if p.suffix.lower() in PICTURES)
    if not found:
        raise FileNotFoundError("there is no example in assets: name a photograph of your own")
    return found[0]


def _reconstruct(name: str, photo: Path, weights: Path | None, folder: Path) -> Path:
    build = getattr(taming, name)
    model: Any = build(weights=weights) if weights else build(pretrained=True)
    folder.mkdir(parents=True, exist_ok=True)
    reconstruction = taming.Reconstruction(model, size=None)
    after = reconstruction(photo, file_name=folder / f"{photo.stem}_reconstruction.png")
    before = read_image(photo)
    target = folder / f"{photo.stem}_side_by_side.png"
    Image.fromarray(np.concatenate([before, after], axis=1)).save(target)
    return target


if __name__ == "__main__":
    sys.exit(main())
