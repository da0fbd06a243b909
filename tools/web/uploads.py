"""What the browser sends: bytes and arrays, never paths. Sizes are checked before pixels exist."""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import dataclass
from typing import Any, Mapping

import numpy as np
from PIL import Image

from official.multimodal.taming_transformer.image import read_image, resize_short_side
from official.multimodal.taming_transformer.image_files import READABLE
from official.multimodal.taming_transformer.maps import read_depth, read_labels, scale_map

PREFIX = "data:image/png;base64,"


@dataclass(frozen=True)
class Limits:
    """What is taken from a visitor.

    Attributes:
        file_bytes: Of an uploaded file.
        pixels: Of an uploaded picture.
        area: Pixels of a picture that is worked on.
    """

    file_bytes: int = 8 * 2**20
    pixels: int = 24_000_000
    area: int = 512 * 512

    @property
    def body_bytes(self) -> int:
        """Of a whole request: the file as base64, a picture of the largest area, and the rest."""
        return self.file_bytes * 4 // 3 + self.area * 8 + 2**20


def data_url(picture: np.ndarray) -> str:
    """Return a picture, uint8 (H, W, 3) or uint16 (H, W), as PNG in a data URL."""
    return PREFIX + base64.b64encode(png_bytes(picture)).decode("ascii")


def png_bytes(picture: np.ndarray, info: Any = None) -> bytes:
    """Return a picture as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def field_of(value: Any, name: str) -> Any:
    """Return a field of what the board sent, ``None`` where there is none."""
    return value.get(name) if isinstance(value, Mapping) else None


def bytes_of(text: Any, most: int, what: str) -> bytes:
    """Return the bytes of base64 text, plain or in a data URL.

    Raises:
        ValueError: It is none, or stands for more than ``most`` bytes.
    """
    if not isinstance(text, str) or not text:
        raise ValueError(f"there is no {what} yet: upload one, or take the example")
    body = text.partition(",")[2] if text.startswith("data:") else text
    if len(body) > 4 * (most // 3 + 1):
        raise ValueError(f"the {what} is too large; expected at most {most / 2**20:.0f} MB")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"the {what} did not arrive whole: upload it again") from None


def opened(data: bytes, limits: Limits) -> Image.Image:
    """Open a picture's bytes, whose pixels are not decoded yet.

    Raises:
        ValueError: They are no picture, or there would be too many pixels.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=READABLE)
    except Image.DecompressionBombError:
        raise ValueError(_too_many("far more", limits)) from None
    except Exception:  # Pillow's decoders raise many kinds, all for the same reason
        raise ValueError(
            f"the file is no picture that can be read; expected one of {', '.join(READABLE)}"
        ) from None
    if image.width * image.height > limits.pixels:
        raise ValueError(_too_many(f"{image.width}x{image.height}", limits))
    vars(image)["filename"] = "the file"  # what messages call it
    return image


def _too_many(found: str, limits: Limits) -> str:
    return (
        f"the picture is too large: {found} pixels; expected at most "
        f"{limits.pixels / 1e6:g} million: make it smaller"
    )


def uploaded_photo(data: bytes, limits: Limits, *, side: int, factor: int) -> np.ndarray:
    """Return a photograph fit for work: uint8 (H, W, 3) with ``side`` as its shorter side.

    Longer than 2:1 is cut to that around the middle; both sides are multiples of ``factor``.
    """
    picture = resize_short_side(_not_too_long(read_image(opened(data, limits))), side)
    return _cut(picture, factor)


def uploaded_labels(
    data: bytes, limits: Limits, n_labels: int, *, side: int, factor: int, shift: bool
) -> np.ndarray:
    """Return a label map with ``side`` as its shorter side: uint8 (H, W), cut as a photograph."""
    labels = _not_too_long(read_labels(opened(data, limits), n_labels, shift=shift))
    return rescaled(labels.astype(np.uint8), side, factor)


def rescaled(labels: np.ndarray, side: int, factor: int) -> np.ndarray:
    """Return a label map with ``side`` as its shorter side and whole cells: uint8 (H, W)."""
    return _cut(_scaled(labels, side, "nearest"), factor)


def uploaded_depth(
    data: bytes, limits: Limits, *, side: int, factor: int, invert: bool
) -> np.ndarray:
    """Return a depth map with ``side`` as its shorter side: uint16 (H, W), near is large."""
    depth = _not_too_long(read_depth(opened(data, limits), invert=invert))
    depth = _cut(_scaled(depth, side, "linear"), factor)
    return np.rint((depth + 1) * 32767.5).clip(0, 65535).astype(np.uint16)


def sent_picture(value: Any, limits: Limits) -> np.ndarray:
    """Return the photograph that the board sends with a run, uint8 (H, W, 3)."""
    return np.asarray(read_image(_sent(value, "picture", "photograph", limits)))


def sent_depth(value: Any, limits: Limits) -> np.ndarray:
    """Return the depth that the board sends with a run, float32 (H, W)."""
    return np.asarray(_sent(value, "source", "depth map", limits)).astype(np.float32)


def _sent(value: Any, name: str, what: str, limits: Limits) -> Image.Image:
    image = opened(bytes_of(field_of(value, name), limits.area * 8, what), limits)
    _check_area(image.height, image.width, limits)
    return image


def sent_cells(value: Any, limits: Limits, n_labels: int) -> np.ndarray:
    """Return the labels (or the mask) that the board sends, uint8 (H, W).

    Raises:
        ValueError: Sizes and bytes do not agree, or a label is out of range.
    """
    width, height = field_of(value, "width"), field_of(value, "height")
    if type(width) is not int or type(height) is not int or min(width, height) < 1:
        raise ValueError("there is no map yet: upload one, or take the example")
    _check_area(height, width, limits)
    data = bytes_of(field_of(value, "cells"), width * height, "map")
    if len(data) != width * height:
        raise ValueError(f"the map has {len(data)} cells; expected {width}x{height}")
    cells = np.frombuffer(data, np.uint8).reshape(height, width)
    if cells.max() >= n_labels:
        raise ValueError(
            f"the map has the label {cells.max()}; expected 0..{n_labels - 1}: it was painted for "
            "another model, choose Example or upload one"
        )
    return cells


def _check_area(height: int, width: int, limits: Limits) -> None:
    if height * width > limits.area:
        side = int(limits.area**0.5)
        raise ValueError(
            f"{width}x{height} pixels are more than this page works on; expected at most "
            f"{side}x{side}"
        )


def _not_too_long(array: np.ndarray) -> np.ndarray:
    """Cut the longer side to twice the shorter one, around the middle."""
    most = 2 * min(array.shape[:2])
    height, width = (min(n, most) for n in array.shape[:2])
    top, left = (array.shape[0] - height) // 2, (array.shape[1] - width) // 2
    return array[top : top + height, left : left + width]


def _scaled(array: np.ndarray, side: int, interpolation: str) -> np.ndarray:
    scale = side / min(array.shape)
    return scale_map(array, scale * (1 + 1e-9), interpolation=interpolation)


def _cut(array: np.ndarray, factor: int) -> np.ndarray:
    """Cut both sides to multiples of ``factor`` from the middle."""
    height, width = (n // factor * factor for n in array.shape[:2])
    top, left = (array.shape[0] - height) // 2, (array.shape[1] - width) // 2
    return np.ascontiguousarray(array[top : top + height, left : left + width])


def packed(cells: np.ndarray) -> str:
    """Return labels or a mask, uint8 (H, W), as base64: what ``sent_cells`` reads."""
    return base64.b64encode(np.ascontiguousarray(cells, np.uint8).tobytes()).decode("ascii")
