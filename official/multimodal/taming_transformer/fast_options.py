"""Settings of the fast sampler: checked when they are given, before any work."""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from typing import Any

from .image_files import MAX_PIXELS
from .net2net import Net2NetTransformer
from .noise import check_seed
from .parameters import declared_parameters, is_filled
from .sampling import SamplingParams

MEMORY_LIMIT = 4 * 2**30
"""Bytes of pictures that are returned rather than written."""

LARGEST_COUNT = 2**31
"""Pictures of one class: well below the numbers that the next class has."""


@dataclass(frozen=True)
class FastOptions:
    """Settings of a run; ``FastSampler`` explains each.

    Raises:
        TypeError: ``root`` is no path.
        ValueError: A value is out of range.
    """

    params: SamplingParams
    batch_size: int
    num_samples: int
    steps: int | None
    update_every: int
    root: str | os.PathLike[str] | None
    seed: int | None
    npz: bool
    progress: bool | None

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("batch_size", "num_samples", "update_every"):
            check_whole(name, getattr(self, name))
        if self.steps is not None:
            check_whole("steps", self.steps)
        if self.root is not None and not isinstance(self.root, (str, os.PathLike)):
            raise TypeError(f"root is {type(self.root).__name__}; expected a folder's path or None")
        if self.npz and self.root is None:
            raise ValueError("npz=True writes a file: give root=, the folder for it")
        if self.seed is not None:
            check_seed(self.seed)

    def settled_seed(self) -> int:
        """Return the seed, or a fresh one where none was given."""
        return secrets.randbits(32) if self.seed is None else int(self.seed)


def check_whole(name: str, value: Any) -> int:
    """Return a whole number from 1 to ``LARGEST_COUNT``; ``ValueError`` for anything else."""
    if type(value) is not int or not 1 <= value <= LARGEST_COUNT:
        raise ValueError(f"{name} is {value!r}; expected a whole number >= 1")
    return value


def check_model(model: Any) -> Net2NetTransformer:
    """Return the model if the fast sampler can draw from it.

    Raises:
        TypeError: It is no transformer.
        ValueError: It takes a map or a layout.
    """
    if not isinstance(model, Net2NetTransformer):
        raise TypeError(
            f"got {type(model).__name__}; expected an unconditional or class-conditional "
            "transformer such as celebahq_transformer()"
        )
    if model.condition not in ("unconditional", "class"):
        raise ValueError(
            f"the model is conditioned on {model.condition}; expected an unconditional or "
            "class-conditional one: ConditionalSampler draws from the others"
        )
    return model


def check_filled(model: Net2NetTransformer) -> None:
    """Refuse a model without weights.

    Raises:
        RuntimeError: A parameter has no values.
    """
    for name, parameter in declared_parameters(model):
        if not is_filled(parameter):
            raise RuntimeError(f"the model has no weights yet ({name} is empty): load them first")


def check_latent(
    model: Net2NetTransformer, steps: int | None, dim_z: int | None, h: int, w: int
) -> tuple[int, int]:
    """Return (h, w) if latent and steps fit the model and each other.

    Raises:
        ValueError: They do not.
    """
    check_whole("h", h)
    check_whole("w", w)
    width = model.config.first_stage.embed_dim
    if dim_z is not None and dim_z != width:
        raise ValueError(f"dim_z is {dim_z!r}, but the model's codes have {width} numbers")
    if steps is not None and steps != h * w:
        raise ValueError(
            f"steps is {steps}, but a latent of h={h} x w={w} has {h * w} tokens: make the sampler "
            f"with steps={h * w}, or steps=None for any size"
        )
    if h * w * model.downsampling**2 > MAX_PIXELS:
        raise ValueError(f"pictures of {h}x{w} cells would have more than {MAX_PIXELS} pixels")
    return h, w


def check_memory(size: tuple[int, int], pictures: int) -> None:
    """Refuse to collect more pictures of (height, width) pixels than fit into memory.

    Raises:
        ValueError: They take more than ``MEMORY_LIMIT``.
    """
    needed = 3 * size[0] * size[1] * pictures
    if needed > MEMORY_LIMIT:
        raise ValueError(
            f"{pictures} pictures take {needed / 1e9:.1f} GB of memory: give root=, a folder to "
            "write them to, or a smaller num_samples, or take them one by one from batches()"
        )


def check_prefix(name: Any) -> str:
    """Return what files' names begin with: ``{name}_``, or nothing for ``None``.

    Raises:
        ValueError: The name cannot be part of a file's name.
    """
    if name is None:
        return ""
    if not isinstance(name, str) or not re.fullmatch(
        r'[^./\\:*?"<>|\0-\37][^/\\:*?"<>|\0-\37]*', name
    ):
        raise ValueError(
            f"name is {name!r}; expected the beginning of a file's name, without / or :"
        )
    return f"{name}_"
