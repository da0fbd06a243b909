"""From what a user gives to the tokens that condition a transformer, for every kind of model.

Reading (which checks everything) and encoding (which runs a network) are two steps, so that a
wrong file is refused before any work.

Source: scripts/sample_conditional.py and make_scene_samples.py of CompVis/taming-transformers
@3ba01b2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence, Union

import numpy as np
from megengine import Tensor

from .cond_stage import encode_labels, encode_tokens
from .image_files import EXTENSIONS, MAX_PIXELS, check_pixels
from .layout_format import LayoutFormat
from .maps import (
    colourise_depth,
    colourise_labels,
    coordinates,
    one_hot,
    read_depth,
    read_labels,
    to_batch,
)
from .net2net import Net2NetTransformer
from .options import SamplerOptions
from .vqgan import VQModel
from .window import Condition, Frame, fixed_condition, map_condition

Size = Union[int, Sequence[int]]

MAP_FILES = EXTENSIONS | {".npy"}


@dataclass(frozen=True, eq=False)
class Source:
    """A condition that has been read and checked, and not been encoded.

    Attributes:
        kind: One of ``config.CONDITIONS``.
        values: Label ids int32 (H, W); depth or coordinates float32 (H, W); or int32 tokens
            (1 or B, L): classes, a scene layout, the start token.
        shape: Height and width of the latent.
        view: The map for people to look at, uint8 (f*h, f*w, 3), or ``None``.
    """

    kind: str
    values: np.ndarray
    shape: tuple[int, int]
    view: np.ndarray | None = None


def read_map(model: Net2NetTransformer, c: Any, options: SamplerOptions) -> Source:
    """Read a label map or a depth map.

    Sides that the factor f does not divide are kept for the encoder and floored in the latent, as
    the original's strided convolutions do: 1024x683 pixels give a picture of 1024x672.

    Raises:
        FileNotFoundError: There is no such file.
        TypeError: ``c`` is of another type.
        ValueError: The map is not one of this model, or too small or too large.
    """
    kind = model.condition
    if c is None:
        raise ValueError(f"this model needs a {kind} map: pass its path or array")
    common: dict[str, Any] = {"size": options.image_size, "scale_factor": options.scale_factor}
    if kind == "segmentation":
        shift, channels = model.config.shift_labels, model.cond_stage_model.in_channels
        values = read_labels(c, channels, shift=shift, ignore=options.ignore, **common)
        view = colourise_labels(values)
    else:
        values = read_depth(c, invert=options.invert, **common)
        view = colourise_depth(values)
    h, w = latent_size(values.shape[0], values.shape[1], model.downsampling, "the map")
    factor = model.downsampling
    return Source(kind, values, (h, w), np.ascontiguousarray(view[: h * factor, : w * factor]))


def read_coordinates(model: Net2NetTransformer, size: Any, options: SamplerOptions) -> Source:
    """Take the size of a picture in pixels (its side, or height and width), or a coordinate map.

    Raises:
        TypeError: It is neither.
        ValueError: It is too small or too large, or the map is none.
    """
    factor = model.downsampling
    if isinstance(size, np.ndarray) and size.ndim == 2:
        h, w = latent_size(size.shape[0], size.shape[1], factor, "the coordinate map")
        values = np.ascontiguousarray(size[: h * factor, : w * factor], np.float32)
        if not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(
                f"the coordinates span {values.min()}..{values.max()}; expected 0..1: positions "
                "in raster order divided by the number of pixels"
            )
        return Source("coordinates", values, (h, w))
    sides = [math.floor(side * options.scale_factor) for side in _two_sides(size)]
    h, w = latent_size(sides[0], sides[1], factor, "the picture")
    return Source("coordinates", coordinates(h * factor, w * factor), (h, w))


def read_fixed(
    model: Net2NetTransformer, c: Any, n_samples: int, h: int | None, w: int | None
) -> Source:
    """Take a class, one class a sample, a scene layout's tokens, or nothing (unconditional).

    Args:
        model: What to sample from.
        c: The condition.
        n_samples: Samples that are drawn.
        h: Height of the latent in cells; ``None`` is the model's window.
        w: Width of the latent in cells.

    Raises:
        TypeError: ``c`` is of another type.
        ValueError: An unknown class, tokens of another model, or a size that does not fit.
    """
    shape = _latent_shape(model, h, w)
    if model.condition == "unconditional":
        if c is not None:
            raise ValueError("this model is unconditional: pass nothing as condition")
        return Source("unconditional", np.zeros((1, 1), np.int32), shape)
    if c is None:
        raise ValueError(f"this model needs its condition ({model.condition})")
    if model.condition == "class":
        tokens = encode_labels(np.atleast_1d(np.asarray(c)), model.config.n_classes)
    else:
        vocabulary = model.config.transformer.vocab_size
        tokens = encode_tokens(np.atleast_2d(np.asarray(c)), vocabulary, model.config.cond_length)
    if tokens.shape[0] not in (1, n_samples):
        raise ValueError(
            f"there are {tokens.shape[0]} conditions for {n_samples} samples; expected one, or "
            "one a sample"
        )
    return Source(model.condition, tokens, shape)


def _latent_shape(model: Net2NetTransformer, h: int | None, w: int | None) -> tuple[int, int]:
    window, factor = model.config.window, model.downsampling
    shape = (window if h is None else h, window if w is None else w)
    for name, cells in zip("hw", shape):
        if isinstance(cells, bool) or not isinstance(cells, int) or cells < 1:
            raise ValueError(f"{name} is {cells!r}; expected a whole number of cells >= 1")
    return latent_size(shape[0] * factor, shape[1] * factor, factor, "the picture")


def maps_in(folder: Path) -> list[Path]:
    """Return the maps of a folder in the order of their names; hidden files are passed over.

    Raises:
        ValueError: There are none, or two differ by their extension alone.
    """
    maps = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in MAP_FILES and path.name[0] != "." and path.is_file()
    )
    if not maps or len({path.stem.lower() for path in maps}) < len(maps):
        raise ValueError(
            f"{str(folder)!r} holds {len(maps)} maps; expected at least one, and names that "
            "differ by more than their extension"
        )
    return maps


def _two_sides(size: Any) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, (int, np.integer)) else size
    if not isinstance(sides, (tuple, list)) or len(sides) != 2:
        raise TypeError(
            f"size is {size!r}; expected the side of the picture in pixels, or (height, width)"
        )
    for side in sides:
        if isinstance(side, bool) or not isinstance(side, (int, np.integer)) or side < 1:
            raise ValueError(f"size is {size!r}; expected whole numbers of pixels >= 1")
    return int(sides[0]), int(sides[1])


def latent_size(height: int, width: int, factor: int, name: str) -> tuple[int, int]:
    """Return the cells of a picture of that many pixels.

    Raises:
        ValueError: It has no whole cell, or too many pixels.
    """
    if height < factor or width < factor:
        raise ValueError(
            f"{name} has {width}x{height} pixels; expected at least {factor}x{factor}, one cell "
            "of the latent: enlarge it (scale_factor)"
        )
    check_pixels(height, width, name, MAX_PIXELS)
    return height // factor, width // factor


def encode_source(model: Net2NetTransformer, source: Source) -> np.ndarray:
    """Return the condition's tokens: int32 (1, h, w) of maps, (1 or B, L) of others."""
    if source.kind == "segmentation":
        stage = model.cond_stage_model
        return encode_floored(stage, one_hot(source.values, stage.in_channels))
    if source.kind == "depth":
        return encode_floored(model.cond_stage_model, to_batch(source.values))
    if source.kind == "coordinates":
        return np.asarray(model.encode_to_c(to_batch(source.values))[1].numpy(), np.int32)
    return source.values


def encode_floored(stage: VQModel, x: np.ndarray) -> np.ndarray:
    """Encode a picture or map of any size as the original does: its strided convolutions floor.

    Args:
        stage: VQGAN of f pixels a cell.
        x: float32 (1, C, H, W).

    Returns:
        Indices int32 (1, H // f, W // f).
    """
    picture = Tensor(x.astype(stage.dtype, copy=False), device=stage.device)
    _, indices = stage.quantize(stage.quant_conv(stage.encoder(picture)))
    return np.asarray(indices.numpy(), np.int32)


def window_condition(source: Source, tokens: np.ndarray, side: int, vocabulary: int) -> Condition:
    """Return the condition of every window.

    A scene layout whose picture is larger than one window gets the window's own crop: its last two
    tokens are the corners of the window in the picture.
    """
    h, w = source.shape
    if tokens.ndim == 3:
        return map_condition(tokens)
    if source.kind != "scene_layout" or max(h, w) <= side:
        return fixed_condition(tokens)
    places = LayoutFormat(no_classes=1, no_tokens=vocabulary)

    def crop(frame: Frame) -> np.ndarray:
        box = (frame.left / w, frame.top / h, frame.width / w, frame.height / h)
        corners = np.tile(np.array(places.corners(box), np.int32), (tokens.shape[0], 1))
        return np.concatenate([tokens[:, :-2], corners], axis=1)

    return crop
