#!/usr/bin/env python3
"""Show two pictures of one size, before and after, with a line to drag between them.

    sh tools/run.sh slider before.png after.png --output slider.html
    sh tools/run.sh slider photo.jpg --model scenes_vqgan --output slider.html
    sh tools/run.sh slider before.png after.png --output slider.png --position 0.4

The ending of --output tells what is written: .html is one file that loads nothing from elsewhere,
with a line for mouse, finger and arrow keys; .png is a still with the line at --position; .gif,
.webp and .mp4 let the line wander from side to side. With --model, the picture after is what that
model's codes keep of the picture before.

Exit status: 0 done; 1 a file or a setting cannot be used (the message says why); 2 wrong call;
4 no weights are to be had.
"""

from __future__ import annotations

import argparse
import sys
from html import escape
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from official.multimodal.taming_transformer import zoo
from official.multimodal.taming_transformer.animation import FORMATS, open_film
from official.multimodal.taming_transformer.errors import WeightsUnavailableError
from official.multimodal.taming_transformer.image import read_image, write_png
from official.multimodal.taming_transformer.paths import check_target, replacing
from official.multimodal.taming_transformer.reconstruction import Reconstruction
from official.multimodal.taming_transformer.results import png_bytes
from official.multimodal.taming_transformer.runtime import tune_cpu
from tools.evaluation.document import data_uri

FAILED, NO_WEIGHTS = 1, 4
FPS, SECONDS = 20, 3
ENDINGS = (".html", ".png", *(f".{one}" for one in FORMATS))
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 1rem; font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; }}
figure {{ margin: auto; max-width: {shown}px; }}
.pictures {{ position: relative; --at: 50%; line-height: 0; }}
img {{ width: 100%; height: auto; }}
.before {{ position: absolute; inset: 0; clip-path: inset(0 calc(100% - var(--at)) 0 0); }}
.line {{ position: absolute; top: 0; bottom: 0; left: var(--at); width: 3px; margin-left: -1.5px;
  background: #fff; box-shadow: 0 0 3px #000; pointer-events: none; }}
.line::after {{ content: "\\2194"; position: absolute; top: 50%; left: 50%; width: 2rem;
  margin: -1rem; font: 1.2rem/2rem sans-serif; text-align: center; color: #222;
  background: #fff; border-radius: 50%; box-shadow: 0 0 4px #000; }}
input {{ position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
  cursor: ew-resize; touch-action: pan-y; }}
input:focus-visible ~ .line::after {{ outline: 3px solid #06c; }}
figcaption {{ display: flex; justify-content: space-between; gap: 1rem; line-height: 2;
  overflow-wrap: anywhere; }}
</style>
</head>
<body>
<figure>
<div class="pictures">
<img src="{after}" width="{width}" height="{height}" alt="{after_name}">
<img class="before" src="{before}" width="{width}" height="{height}" alt="{before_name}">
<input type="range" min="0" max="100" step="0.1" value="50"
  aria-label="share of the picture before, from the left, in percent"
  oninput="this.parentNode.style.setProperty('--at', this.value + '%')">
<div class="line"></div>
</div>
<figcaption><span>{before_name}</span><span>{after_name}</span></figcaption>
</figure>
</body>
</html>
"""
LEAST_SHOWN = 512
"""Small pictures are shown so many pixels wide."""


def page(before: np.ndarray, after: np.ndarray, names: Sequence[str]) -> str:
    """Return the page of two pictures, RGB uint8 (H, W, 3), under their names."""
    height, width = before.shape[:2]
    before_name, after_name = (escape(name) for name in names)
    return PAGE.format(
        title=f"{before_name} and {after_name}",
        shown=max(width, LEAST_SHOWN),
        width=width,
        height=height,
        before=data_uri(png_bytes(before)),
        after=data_uri(png_bytes(after)),
        before_name=before_name,
        after_name=after_name,
    )


def still(before: np.ndarray, after: np.ndarray, position: float) -> np.ndarray:
    """Return the picture before on the left of a line, and that after on its right.

    Args:
        before: RGB uint8 (H, W, 3).
        after: The same.
        position: Of the line, 0 (all after) to 1 (all before); there is no line at either end.

    Returns:
        RGB uint8 (H, W, 3).
    """
    width = before.shape[1]
    at, thick = round(position * width), max(1, width // 256)
    joined = np.concatenate([before[:, :at], after[:, at:]], axis=1)
    if 0 < at < width:
        joined[:, max(0, at - 2 * thick) : at + 2 * thick] = 0
        joined[:, max(0, at - thick) : at + thick] = 255
    return joined


def sweep(before: np.ndarray, after: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the frames of a line that wanders to the right side and back."""
    count = FPS * SECONDS
    for number in range(count):
        yield still(before, after, 0.5 - 0.5 * float(np.cos(2 * np.pi * number / count)))


def write(path: Path, before: np.ndarray, after: np.ndarray, names: Sequence[str],
          position: float) -> None:  # fmt: skip
    """Write what the ending of ``path`` asks for, whole or not at all."""
    if path.suffix == ".html":
        with replacing(path) as temporary:
            temporary.write_text(page(before, after, names), encoding="utf-8")
    elif path.suffix == ".png":
        write_png(path, still(before, after, position))
    else:
        with open_film(path, FPS) as film:
            for frame in sweep(before, after):
                film.write(frame)


def main(arguments: Sequence[str] | None = None, build: Callable[..., Any] | None = None) -> int:
    """Run the tool and return the exit status; ``build(name, weights)`` gives a model."""
    options = _parser().parse_args(arguments)
    try:
        before, after, names = _pictures(options, build or _from_zoo)
        write(options.output, before, after, options.names or names, options.position)
    except WeightsUnavailableError as error:
        print(f"error: {error}", file=sys.stderr)
        return NO_WEIGHTS
    except (ValueError, TypeError, RuntimeError, OSError, MemoryError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    print(options.output)
    return 0


def _pictures(
    options: argparse.Namespace, build: Callable[..., Any]
) -> tuple[np.ndarray, np.ndarray, tuple[str, str]]:
    if options.output.suffix not in ENDINGS:
        raise ValueError(f"{str(options.output)!r}: expected one of {', '.join(ENDINGS)}")
    check_target(options.output)
    if not 0 <= options.position <= 1:
        raise ValueError(f"--position is {options.position}; expected 0 to 1")
    if (options.after is None) == (options.model is None):
        raise ValueError("give either the picture after, or --model, which makes it")
    before = read_image(options.before)
    if options.model is not None:
        model = build(options.model, options.weights)
        reconstruct = Reconstruction(getattr(model, "first_stage_model", model), size=None)
        return before, np.asarray(reconstruct(before)), (options.before.name, options.model)
    after = read_image(options.after)
    if before.shape != after.shape:
        raise ValueError(
            f"the picture before has {before.shape[1]}x{before.shape[0]} pixels and the one after "
            f"{after.shape[1]}x{after.shape[0]}; expected the same size"
        )
    return before, after, (options.before.name, options.after.name)


def _from_zoo(name: str, weights: Path | None) -> Any:
    builder = getattr(zoo, name)
    return builder(pretrained=True) if weights is None else builder(weights=weights)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="slider", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path, help="a picture")
    parser.add_argument("after", type=Path, nargs="?", help="a picture of the same size")
    parser.add_argument("--model", choices=[row.name for row in zoo.list_models()], metavar="NAME",
                        help="reconstruct the picture by this model")  # fmt: skip
    parser.add_argument("--weights", type=Path, metavar="FILE", help="a checkpoint of the model")
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="FILE",
                        help=f"one of {', '.join(ENDINGS)}")  # fmt: skip
    parser.add_argument("--position", type=float, default=0.5, help="of the line in a .png, from "
                        "the left, 0 to 1 (default: %(default)s)")  # fmt: skip
    parser.add_argument("--names", nargs=2, metavar=("BEFORE", "AFTER"),
                        help="words under the pictures of a page")  # fmt: skip
    return parser


if __name__ == "__main__":
    tune_cpu()
    sys.exit(main())
