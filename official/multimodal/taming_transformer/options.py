"""Settings of the samplers that write files: checked when they are given, before any work."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .animation import FASTEST_GIF
from .config import Net2NetConfig
from .net2net import Net2NetTransformer
from .noise import check_seed
from .parameters import declared_parameters, is_filled
from .sampling import SamplingParams

MAP_CONDITIONS = ("segmentation", "depth", "coordinates")


@dataclass(frozen=True)
class SamplerOptions:
    """Settings of a sampler; ``ConditionalSampler`` explains each.

    Raises:
        TypeError: ``root`` is no path.
        ValueError: A value is out of range, or a film has no folder to be written to.
    """

    params: SamplingParams
    side: int
    update_every: int | None
    scale_factor: float
    image_size: int | None
    invert: bool
    ignore: int | None
    films: tuple[str, ...]
    draw_window: bool
    root: Path | None
    seed: int | None
    fps: float
    segmentation_save: bool
    cache_memory: float
    progress: bool | None
    overwrite: bool

    def __post_init__(self) -> None:
        """Check ranges."""
        _check_whole("kernel_size", self.side)
        for name in ("update_every", "image_size"):
            if getattr(self, name) is not None:
                _check_whole(name, getattr(self, name))
        _check_number("scale_factor", self.scale_factor, "a number > 0")
        _check_number("fps", self.fps, "a number > 0, at most 1000", most=1000)
        if not self.cache_memory >= 0:
            raise ValueError(f"cache_memory is {self.cache_memory!r}; expected bytes, 0 or more")
        if self.seed is not None:
            check_seed(self.seed)
        self._check_films()

    def _check_films(self) -> None:
        if self.films and self.root is None:
            raise ValueError("animate writes a film: give root=, the folder for it")
        if self.draw_window and not self.films:
            raise ValueError("draw_window draws into the film: ask for one by animate=")
        if "gif" in self.films and self.fps > FASTEST_GIF:
            raise ValueError(f"fps is {self.fps}; a GIF plays at most {FASTEST_GIF:.0f}: use mp4")

    def record(self) -> dict[str, Any]:
        """Return the settings as plain values for a JSON file."""
        return {
            "temperature": float(self.params.temperature),
            "top_k": None if self.params.top_k is None else int(self.params.top_k),
            "top_p": float(self.params.top_p),
            "kernel_size": int(self.side),
            "scale_factor": float(self.scale_factor),
            "image_size": self.image_size,
            "invert": bool(self.invert),
            "ignore": self.ignore,
            "update_every": self.update_every,
            "animate": list(self.films),
            "draw_window": bool(self.draw_window),
            "fps": float(self.fps),
            "segmentation_save": bool(self.segmentation_save),
            "cache_memory": float(self.cache_memory),
        }


def _check_whole(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a whole number >= 1")


def _check_number(name: str, value: Any, expected: str, most: float = math.inf) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} is {value!r}; expected {expected}")
    if not (0 < value <= most and math.isfinite(value)):
        raise ValueError(f"{name} is {value!r}; expected {expected}")


def checked_root(root: Any) -> Path | None:
    """Return the folder for files as a path."""
    if root is None:
        return None
    if not isinstance(root, (str, os.PathLike)):
        raise TypeError(f"root is {type(root).__name__}; expected the path of a folder or None")
    return Path(root)


def one_kernel_size(kernel_size: int | None, alias: int | None, window: int) -> int:
    """Return the window's side out of its two spellings; the model's own where neither is given.

    Raises:
        ValueError: Both are given and differ.
    """
    if kernel_size is not None and alias is not None and kernel_size != alias:
        raise ValueError(
            f"kernel_size is {kernel_size} and kernal_size {alias}: give one of them, they are "
            "two spellings of the same setting"
        )
    given = alias if kernel_size is None else kernel_size
    return window if given is None else given


def check_model(model: Any) -> Net2NetTransformer:
    """Return the model if it is a transformer with its first stage.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(model, Net2NetTransformer):
        raise TypeError(
            f"got {type(model).__name__}; expected a transformer such as s_flckr_transformer(): a "
            "first stage alone draws nothing, pass it to Reconstruction"
        )
    return model


def check_filled(model: Net2NetTransformer) -> None:
    """Refuse a model that has no weights.

    Raises:
        RuntimeError: A parameter has no values yet.
    """
    for name, parameter in declared_parameters(model):
        if not is_filled(parameter):
            raise RuntimeError(f"the model has no weights yet ({name} is empty): load them first")


def condition_length(config: Net2NetConfig, side: int) -> int:
    """Return the tokens of the condition in a window of ``side`` x ``side`` cells."""
    return side * side if config.condition in MAP_CONDITIONS else config.cond_length


def check_window(config: Net2NetConfig, side: int) -> None:
    """Refuse a window that the transformer cannot see at once.

    Raises:
        ValueError: Condition and picture of the window are longer than its ``block_size``.
    """
    block = config.transformer.block_size

    def longest(side: int) -> int:
        return condition_length(config, side) + side * side - 1

    if longest(side) > block:
        fits = max((k for k in range(1, side) if longest(k) <= block), default=0)
        raise ValueError(
            f"kernel_size {side} needs {condition_length(config, side)} tokens of the condition "
            f"and {side}x{side} - 1 of the picture, together {longest(side)}; the transformer "
            f"sees at most {block}: expected kernel_size <= {fits}"
        )
