"""Every option of ``tools/generate.py``: what a command takes, and what its help says."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Dict, Sequence, Tuple

from official.multimodal.taming_transformer.animation import FORMATS

Option = Tuple[Tuple[str, ...], Dict[str, Any]]


def _option(*flags: str, **about: Any) -> Option:
    return flags, about


def _drawn(*flags: str, **about: Any) -> Option:
    """Return an option that is absent unless given, so that the sampler's own default holds."""
    return flags, {"default": argparse.SUPPRESS, **about}


def _top_k(text: str) -> int | None:
    return None if text == "all" else int(text)


def _short_side(text: str) -> int | str | None:
    return {"whole": None, "model": "model"}[text] if text in ("whole", "model") else int(text)


def _pixels(text: str) -> tuple[int, int]:
    width, height = text.lower().split("x")
    return int(height), int(width)


def _part(text: str) -> tuple[int, int]:
    part, parts = text.split("/")
    return int(part), int(parts)


_top_k.__name__, _short_side.__name__ = "number or `all`", "number, `whole` or `model`"
_pixels.__name__, _part.__name__ = "WIDTHxHEIGHT", "K/N"

COMMON = (
    _option("--weights", type=Path, metavar="FILE", help="a checkpoint of the model (.ckpt .pth "
            ".safetensors .pkl); default: the published weights"),
    _option("--root", "-o", type=Path, default=Path("outputs"), metavar="FOLDER",
            help="where files go; made if need be (default: %(default)s)"),
    _option("--json", action="store_true", help="print one JSON object instead of lines"),
)  # fmt: skip
OVERWRITE = _drawn("--overwrite", action="store_true", help="begin anew where files are already")
SAMPLING = (
    _option("--seed", type=int, help="0 .. 2**64 - 1; the same seed gives the same pictures "
            "(default: a fresh one, which is told)"),
    _drawn("--temperature", type=float, help="> 0; below 1 is safer, above 1 more varied"),
    _drawn("--top-k", type=_top_k, metavar="K", help="choose among the K best tokens at every "
           "step; 1 is greedy, `all` keeps all"),
    _drawn("--top-p", type=float, metavar="P", help="choose among the best tokens whose "
           "probabilities sum to P, in (0, 1]. These three default to what the model's authors "
           "recommend"),
    _option("--name", help="what the files' names begin with (default: the input's)"),
    _option("--progress", action="store_const", const=True, default=None,
            help="draw a bar even where stderr is no terminal"),
    _option("--no-progress", dest="progress", action="store_false", default=None,
            help="draw no bar"),
)  # fmt: skip
SLIDING = (
    _option("--n-samples", type=int, default=1, metavar="N", help="pictures of the same input, "
            "drawn together (default: 1)"),
    _option("--start", type=int, default=0, metavar="K", help="number of the first one: picture K "
            "of a run is made again alone by --start K (default: 0)"),
    _drawn("--update-every", type=int, metavar="N", help="write a preview every N tokens (default: "
           "as often as fits into 10 %% of the time)"),
    _drawn("--animate", action="store_true", help="write the previews as a film: "
           "NAME_sampling.mp4"),
    _drawn("--film", action="append", choices=FORMATS, help="the film's format; may be given "
           "several times"),
    _drawn("--draw-window", action="store_true", help="draw the window and the latest cell into "
           "the film"),
    _drawn("--fps", type=float, help="frames of the film a second (default: 15)"),
    _drawn("--scale-factor", type=float, metavar="X", help="resize the input by this factor "
           "(default: 1)"),
    _drawn("--image-size", type=int, metavar="N", help="resize the input's shorter side to N and "
           "cut out the middle square: 256 is how the models of depth, ADE20K and COCO were "
           "trained (default: the whole input)"),
    _drawn("--kernel-size", "--kernal-size", type=int, metavar="N", help="side of the window in "
           "cells (default: the model's, 16)"),
    _drawn("--cache-memory", type=float, metavar="BYTES", help="memory for windows that come back "
           "(default: 2e9)"),
    OVERWRITE,
)  # fmt: skip
MAP = _drawn("--no-segmentation-save", dest="segmentation_save", action="store_false",
             help="do not write the map in colours")  # fmt: skip
LABELS = _drawn("--ignore", type=int, metavar="LABEL", help="the label that unlabelled pixels "
                "(id 255) get")  # fmt: skip
DEPTH = _drawn("--invert", action="store_true", help="the depth map has far large; the models "
               "know near large, as MiDaS gives it")  # fmt: skip
IMAGE = _option("--image", type=Path, help="the picture that belongs to the map: its "
                "reconstruction is written beside the result")  # fmt: skip
MANY = (
    _option("--num-samples", "-n", type=int, default=1, metavar="N", help="pictures, of each class "
            "where there are classes (default: 1)"),
    _option("--batch-size", "-b", type=int, default=1, metavar="N", help="pictures drawn together; "
            "more is faster and takes more memory (default: 1)"),
    _option("--size", type=_pixels, default=None, metavar="WIDTHxHEIGHT", help="in pixels; "
            "multiples of the model's cell, 8 or 16 (default: what the model was trained on)"),
    _drawn("--update-every", type=int, metavar="N", help="tokens between two updates of the bar"),
    _drawn("--shard", type=_part, metavar="K/N", help="draw part K (from 0) of N, beside other "
           "processes that draw the others"),
    _drawn("--npz", action="store_true", help="pack all pictures for FID tools in the end"),
)  # fmt: skip

# command -> its help, and what it takes beside --model
SETTINGS: dict[str, tuple[str, Sequence[Option]]] = {
    "reconstruct": ("pass pictures through a model's codes and back", (
        _option("inputs", nargs="+", type=Path, metavar="PICTURE", help="file, or a folder"),
        _option("--size", type=_short_side, default="model", metavar="N", help="resize the shorter "
                "side to N and cut out the middle square; `whole` keeps all (default: the size "
                "that the model was trained on)"),
        _option("--overwrite", action="store_true", help="replace files that are there"),
        *COMMON)),
    "segmentation": ("draw pictures of a map of labels", (
        _option("input", type=Path, metavar="MAP", help="grey or palette PNG (or .npy) of label "
                "ids, or a folder of them"),
        IMAGE, *COMMON, *SAMPLING, *SLIDING, MAP, LABELS)),
    "depth": ("draw pictures of a depth map", (
        _option("input", type=Path, metavar="MAP", help="16-bit or float PNG, TIFF or .npy, or a "
                "folder of them"),
        IMAGE, *COMMON, *SAMPLING, *SLIDING, MAP, DEPTH)),
    "coordinates": ("draw pictures by positions alone (faces of any size)", (
        _option("input", type=_pixels, metavar="WIDTHxHEIGHT", help="in pixels, such as 320x256"),
        *COMMON, *SAMPLING, *SLIDING)),
    "class": ("draw pictures of classes, many at once", (
        _option("labels", nargs="*", metavar="CLASS", help="numbers (or names); none means all"),
        _drawn("--class-names", type=Path, default=None, metavar="FILE", help="text file with "
               "the name of every class, one a line"),
        *COMMON, *SAMPLING, *MANY)),
    "unconditional": ("draw pictures without an input, many at once", (*COMMON, *SAMPLING, *MANY)),
    "complete": ("draw a part of a picture anew", (
        _option("input", type=Path, metavar="PICTURE", help="what to complete"),
        _option("--mask", type=Path, help="picture of the same size, white (or transparent) where "
                "to draw (default: the lower half)"),
        _option("--map", type=Path, help="label or depth map of the picture, for such models"),
        _option("--label", type=int, metavar="CLASS", help="class, for class-conditional models"),
        _option("--blend", action="store_true", help="put the picture's own pixels back wherever "
                "nothing was drawn"),
        *COMMON, *SAMPLING, *SLIDING, MAP, LABELS, DEPTH)),
}  # fmt: skip


def add_command(
    commands: Any, name: str, models: Sequence[str], default: str
) -> argparse.ArgumentParser:
    """Add a command with all its options.

    Args:
        commands: What ``add_subparsers`` gave.
        name: Of the command.
        models: Models that it can use.
        default: The one that it uses if none is named.
    """
    text, settings = SETTINGS[name]
    added: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}."
    )
    added.set_defaults(image=None, labels=[], class_names=None)
    added.add_argument(
        "--model",
        choices=models,
        default=default,
        metavar="NAME",
        help=f"one of: {', '.join(models)} (default: %(default)s)",
    )
    for flags, about in settings:
        added.add_argument(*flags, **about)
    return added
