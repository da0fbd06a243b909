#!/usr/bin/env python3
"""Show what the models do, with pictures, in about a minute and without a network.

    sh tools/run.sh demo                    everything, with the small models that ship
    sh tools/run.sh demo photo.jpg          your own photograph, reconstructed and completed
    sh tools/run.sh demo --map labels.png   your own label map (12 labels, see the message)
    sh tools/run.sh demo photo.jpg --model vqgan_imagenet_f16_16384
    sh tools/run.sh demo photo.jpg --model vqgan_imagenet_f16_16384 --weights last.ckpt

With --model, the photograph goes through that model alone. Exit status: 0 done; 1 an input or the
weights could not be used; 2 wrong arguments; 4 no weights are to be had here (the message says how
to get some).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from official.multimodal import taming_transformer as taming  # noqa: E402
from official.multimodal.taming_transformer.image import read_image  # noqa: E402
from tools.demonstration.page import Done, contact_sheet, page  # noqa: E402
from tools.demonstration.steps import STEPS  # noqa: E402

NO_WEIGHTS = 4
EXAMPLES = ROOT / "assets" / "examples"
HOW_TO = """\
To get weights of {name}:
  a checkpoint that you have  sh tools/run.sh demo PHOTO --model {name} --weights last.ckpt
                              or in Python: {name}(weights="last.ckpt")
                              (.ckpt, .pth, .pkl and .safetensors; PyTorch is not needed)
  the published one           sh tools/run.sh weights fetch {name}
  without the Internet        TAMING_MIRROR=FOLDER names a folder that has the published files;
                              `sh tools/run.sh weights path {name}` tells their names"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit status."""
    options = _parser().parse_args(arguments)
    taming.tune_cpu()
    try:
        files = _reconstruct(options) if options.model else _everything(options)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        print(HOW_TO.format(name=options.model or "scenes_vqgan"), file=sys.stderr)
        return NO_WEIGHTS
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(str(path) for path in files))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sh tools/run.sh demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photo", nargs="?", type=Path, help="a photograph; default: an example")
    parser.add_argument("--map", type=Path, help="a label map; default: an example")
    parser.add_argument("--depth", type=Path, help="a depth map; default: an example")
    parser.add_argument(
        "--model", choices=_first_stages(), metavar="NAME", help=", ".join(_first_stages())
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


def _everything(options: argparse.Namespace) -> list[Path]:
    """Run every step; return the sheet and the page."""
    own = {"scene_photo.png": options.photo, "scene_map.png": options.map}
    own["scene_depth.png"] = options.depth
    for given in (options.photo, options.map, options.depth):
        if given is not None and not given.is_file():
            raise FileNotFoundError(f"there is no file {given}")
    root = options.output
    root.mkdir(parents=True, exist_ok=True)
    done: list[Done] = []
    for number, step in enumerate(STEPS, 1):
        print(f"{number}/{len(STEPS)} {step.title}", file=sys.stderr, flush=True)
        began = time.monotonic()
        shown = step.run(root, own.get(step.example) or EXAMPLES / step.example)
        done.append((step, shown, time.monotonic() - began))
    contact_sheet(done).save(root / "contact_sheet.png")
    (root / "index.html").write_text(page(done), encoding="utf-8")
    return [root / "contact_sheet.png", root / "index.html"]


def _reconstruct(options: argparse.Namespace) -> list[Path]:
    photo, folder = options.photo or EXAMPLES / "scene_photo.png", options.output
    build = getattr(taming, options.model)
    weights = options.weights
    model: Any = build(weights=weights) if weights else build(pretrained=True)
    folder.mkdir(parents=True, exist_ok=True)
    reconstruction = taming.Reconstruction(model, size=None)
    after = reconstruction(photo, file_name=folder / f"{photo.stem}_reconstruction.png")
    target = folder / f"{photo.stem}_side_by_side.png"
    Image.fromarray(np.concatenate([read_image(photo), after], axis=1)).save(target)
    return [target]


if __name__ == "__main__":
    sys.exit(main())
