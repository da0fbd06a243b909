"""Maps that condition a model: label ids, depth and coordinates, prepared as the original does.

A label map is an int32 array (H, W), a depth or coordinate map a float32 array (H, W).
:func:`one_hot` and :func:`to_batch` make of them what the condition's network takes.

Source: ``taming/data`` of CompVis/taming-transformers (sflckr, ade20k, coco, imagenet, faceshq).
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from .image_files import MAX_PIXELS, check_pixels
from .labels import colourise_labels, one_hot, read_labels
from .map_files import load_depth
from .map_size import resize_and_crop, scale_map
from .palette import depth_colours, label_colours
from .paths import PathLike

__all__ = [
    "colourise_depth",
    "colourise_labels",
    "coordinates",
    "label_colours",
    "one_hot",
    "read_depth",
    "read_labels",
    "resize_and_crop",
    "scale_map",
    "to_batch",
]


def read_depth(
    source: PathLike | Image.Image | np.ndarray,
    *,
    invert: bool = False,
    size: int | None = None,
    scale_factor: float = 1.0,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Read a depth map and normalise it as the original does.

    The map's smallest value becomes -1 and its largest 1, on the whole map, before any resizing.
    The models were trained on inverse depth as MiDaS gives it: near is large.

    Args:
        source: Path, Pillow image or array: float32 in the bytes of RGBA (as D-RIN has it), 8-,
            16- or 32-bit grey, float TIFF, ``.npy``, or numbers of shape (H, W).
        invert: Turn near and far round, for maps where far is large. (Where depth is metric,
            ``1 / depth`` without ``invert`` is closer to what the models know.)
        size: Resize the shorter side to this and cut out the middle square (256 in the original);
            ``None`` keeps all.
        scale_factor: Resize by this factor, bilinearly.
        max_pixels: Largest height * width that is read or made.

    Returns:
        float32 array (H, W) in [-1, 1].

    Raises:
        FileNotFoundError: There is no such file.
        TypeError: ``source`` is of another type, or holds no real numbers.
        ValueError: A colour picture, NaN or infinite values, a constant or an empty map.
    """
    depth, name = load_depth(source, max_pixels=max_pixels)
    depth = _normalise(depth, name)
    depth = (-depth if invert else depth).astype(np.float32)
    if size is not None:
        depth = resize_and_crop(depth, size, interpolation="linear")
    return scale_map(depth, scale_factor, interpolation="linear", max_pixels=max_pixels)


def _normalise(depth: np.ndarray, name: str) -> np.ndarray:
    bad = ~np.isfinite(depth)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"{name} has {bad.sum()} values that are NaN or infinite, the first at row {row}, "
            f"column {column}; expected numbers everywhere: fill the holes first"
        )
    low, high = depth.min(), depth.max()
    if low == high:
        raise ValueError(f"{name} is {low} everywhere; expected depth that varies")
    with np.errstate(over="ignore"):
        span = high - low
    if not np.isfinite(span):
        raise ValueError(f"{name} runs from {low} to {high}; expected a range that float32 holds")
    return 2.0 * ((depth - low) / max(1e-8, span)) - 1.0


def coordinates(height: int, width: int, *, size: int | None = None) -> np.ndarray:
    """Return where each pixel lies in raster order, as the FacesHQ models take it.

    Args:
        height: Height of the whole picture in pixels.
        width: Width of the whole picture in pixels.
        size: Cut out the middle square of this side, as is done with the picture.

    Returns:
        float32 array (H, W) or (size, size): ``arange(H * W) / (H * W)``, in [0, 1).

    Raises:
        ValueError: A side below 1, too many pixels, or ``size`` larger than the picture.
    """
    check_pixels(height, width, "the coordinate map", MAX_PIXELS)
    raster = (np.arange(height * width) / (height * width)).astype(np.float32)
    raster = raster.reshape(height, width)
    if size is None:
        return raster
    if not 1 <= size <= min(height, width):
        raise ValueError(f"size is {size}; expected 1 to {min(height, width)}")
    top, left = (height - size) // 2, (width - size) // 2
    return np.ascontiguousarray(raster[top : top + size, left : left + size])


def to_batch(array: np.ndarray) -> np.ndarray:
    """Make of a depth or coordinate map (H, W) a contiguous float32 array (1, 1, H, W).

    Raises:
        ValueError: The array has another number of axes.
    """
    if array.ndim != 2:
        raise ValueError(f"the map has shape {array.shape}; expected (H, W)")
    # Filled, not viewed: an engine tensor cannot be made from an array with a stride of 0.
    batch = np.empty((1, 1, *array.shape), np.float32)
    batch[0, 0] = array
    return batch


def colourise_depth(depth: np.ndarray) -> np.ndarray:
    """Colour a depth map for people to look at: far is dark violet, near pale yellow.

    Args:
        depth: Array (H, W) in [-1, 1] (values outside are clipped), near large.

    Returns:
        uint8 array (H, W, 3).

    Raises:
        ValueError: Another shape, or NaN.
    """
    if depth.ndim != 2 or np.isnan(depth).any():
        raise ValueError(f"got a map of shape {depth.shape}; expected (H, W) of numbers, no NaN")
    steps = np.rint((np.clip(depth, -1.0, 1.0) + 1.0) * 127.5).astype(np.uint8)
    return depth_colours()[steps]
