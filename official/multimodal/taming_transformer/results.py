"""What a sampler returns, and how pictures show themselves in a notebook."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping

import numpy as np
from PIL import Image

MOST_SHOWN = 64
"""Pictures that a notebook shows of a result."""

_GAP = 2  # pixels between two pictures
_WIDEST = 2048  # a sheet is scaled down to so many pixels


@dataclass(frozen=True, eq=False)
class SamplingResult:
    """Pictures with all that is needed to make them again.

    Shows itself as a picture in a notebook.

    Attributes:
        pictures: RGB uint8 (n, H, W, 3), one a sample.
        indices: Their tokens, int32 (n, h, w).
        seed: Seed of the run; a fresh one was chosen where none was given.
        parameters: Every setting of the run, as in the JSON file beside the picture.
        files: Files written, in the order of their making; empty without ``root``.
    """

    pictures: np.ndarray = field(repr=False)
    indices: np.ndarray = field(repr=False)
    seed: int
    parameters: Mapping[str, Any] = field(repr=False)
    files: tuple[Path, ...] = ()

    @property
    def picture(self) -> np.ndarray:
        """The first picture, uint8 (H, W, 3)."""
        return np.asarray(self.pictures[0])

    def _repr_png_(self) -> bytes:
        """Return the pictures as one PNG."""
        return png_bytes(sheet(self.pictures))


def sheet(pictures: np.ndarray, most: int = MOST_SHOWN) -> np.ndarray:
    """Lay pictures out in rows, about twice as wide as high, at most 2048 pixels wide.

    Args:
        pictures: RGB uint8 (n, H, W, 3), n >= 1.
        most: Only the first so many are laid out.

    Returns:
        RGB uint8 (H', W', 3); a single picture stays as it is unless it is wider.

    Raises:
        ValueError: The array has another shape or type.
    """
    if pictures.ndim != 4 or pictures.shape[3] != 3 or not pictures.size:
        raise ValueError(f"got an array of shape {pictures.shape}; expected pictures (n, H, W, 3)")
    if pictures.dtype != np.uint8:
        raise ValueError(f"the pictures are {pictures.dtype}; expected uint8")
    shown = pictures[:most]
    n, height, width = shown.shape[:3]
    best = math.sqrt(n * width / (2 * height))
    near = {max(1, math.floor(best)), math.ceil(best)}
    rows = min(n, min(near, key=lambda k: (n % k > 0, abs(k - best))))  # full rows if it can be
    columns = math.ceil(n / rows)
    laid = np.full((rows, height + _GAP, columns, width + _GAP, 3), 255, np.uint8)
    for number, picture in enumerate(shown):
        laid[number // columns, :height, number % columns, :width] = picture
    whole = laid.reshape(rows * (height + _GAP), columns * (width + _GAP), 3)[:-_GAP, :-_GAP]
    if whole.shape[1] <= _WIDEST:
        return np.ascontiguousarray(whole)
    scaled = (_WIDEST, max(1, round(whole.shape[0] * _WIDEST / whole.shape[1])))
    return np.asarray(Image.fromarray(whole).resize(scaled, Image.Resampling.LANCZOS))


def png_bytes(picture: np.ndarray) -> bytes:
    """Return a picture, uint8 (H, W, 3), as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()
