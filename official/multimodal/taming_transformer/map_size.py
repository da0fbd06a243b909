"""Resize maps, and pictures together with their maps, as the original's data sets do."""

from __future__ import annotations

import math

import cv2
import numpy as np

from .image_files import MAX_PIXELS, check_pixels

_FILTERS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}


def resize_and_crop(array: np.ndarray, size: int, *, interpolation: str) -> np.ndarray:
    """Resize so that the shorter side becomes ``size`` and cut out the middle square.

    A picture that belongs to a map takes the same cut by this same function, with ``"cubic"``
    beside label maps and ``"linear"`` beside depth maps.

    Args:
        array: Label map (H, W) of integers, depth map (H, W) of float32, or picture (H, W, 3) of
            uint8.
        size: Side of the square in pixels; smaller maps are enlarged.
        interpolation: ``"nearest"`` (any dtype), ``"linear"`` or ``"cubic"`` (float32 and uint8).

    Returns:
        Contiguous array (size, size[, 3]) of the same dtype.

    Raises:
        ValueError: ``size`` is below 1, the result too large, or another interpolation.

    Source: albumentations' ``SmallestMaxSize`` and ``CenterCrop``: the longer side is rounded half
    to even, an odd remainder is halved downwards, and nothing is antialiased.
    """
    if size < 1:
        raise ValueError(f"size is {size}; expected a positive number of pixels")
    height, width = array.shape[:2]
    scale = size / min(height, width)
    height, width = round(height * scale), round(width * scale)
    check_pixels(height, width, f"the map resized to {size}", MAX_PIXELS)
    array = _resize(array, height, width, interpolation)
    top, left = (array.shape[0] - size) // 2, (array.shape[1] - size) // 2
    return np.ascontiguousarray(array[top : top + size, left : left + size])


def scale_map(
    array: np.ndarray, scale_factor: float, *, interpolation: str, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Resize a map by a factor; its sides become ``floor(side * scale_factor)``.

    Args:
        array: As for :func:`resize_and_crop`.
        scale_factor: Positive number.
        interpolation: As for :func:`resize_and_crop`.
        max_pixels: Largest height * width that is made.

    Returns:
        Array of the same dtype; ``array`` itself where nothing changes.

    Raises:
        ValueError: The factor is no positive number, or the result empty or too large.
    """
    if not (math.isfinite(scale_factor) and scale_factor > 0):
        raise ValueError(f"scale_factor is {scale_factor}; expected a positive number")
    height, width = (math.floor(side * scale_factor) for side in array.shape[:2])
    check_pixels(height, width, f"the map scaled by {scale_factor}", max_pixels)
    return _resize(array, height, width, interpolation)


def _resize(array: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    if interpolation not in ("nearest", *_FILTERS):
        raise ValueError(f"interpolation is {interpolation!r}; expected nearest, linear or cubic")
    if array.shape[:2] == (height, width):
        return array
    if interpolation == "nearest":
        rows = np.arange(height) * array.shape[0] // height
        columns = np.arange(width) * array.shape[1] // width
        return array[rows[:, None], columns]
    return cv2.resize(array, (width, height), interpolation=_FILTERS[interpolation])
