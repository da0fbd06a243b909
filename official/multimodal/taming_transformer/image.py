"""Pictures as arrays: read, resize, crop, pad, and convert to and from the networks' range.

NumPy and Pillow alone; a picture is a uint8 array (H, W, 3), RGB, unless said otherwise.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from .image_files import MAX_PIXELS, check_pixels, open_picture, write_image, write_png
from .paths import PathLike

__all__ = [
    "MAX_PIXELS",
    "center_crop",
    "read_image",
    "reflect_pad_to_multiple",
    "resize_short_side",
    "to_uint8",
    "to_unit_range",
    "write_image",
    "write_png",
]

# The original divides in float64 and rounds once to float32; so does this table.
_UNIT_RANGE = (np.arange(256) / 127.5 - 1.0).astype(np.float32)


def read_image(
    source: PathLike | Image.Image | np.ndarray, *, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Read any picture as RGB.

    EXIF orientation is applied; grey is repeated; alpha (and a palette's or PNG's transparent
    colour) is composited on white; 16-bit values are scaled to 8 bits by rounding; CMYK is
    converted by Pillow, without colour profiles; of an animation the first frame is taken.

    Args:
        source: Path, Pillow image, or array: uint8, uint16 or bool of shape (H, W), (H, W, 1)
            grey, (H, W, 2) grey and alpha, (H, W, 3) RGB or (H, W, 4) RGBA.
        max_pixels: Largest height * width that is decoded; checked from the header.

    Returns:
        uint8 array (H, W, 3), contiguous, its own memory.

    Raises:
        FileNotFoundError: There is no such file.
        TypeError: ``source`` is of another type, or an array of another dtype.
        ValueError: The file is no picture, is broken or too large; the array has another shape.
    """
    if isinstance(source, np.ndarray):
        _check_array(source, max_pixels)
        return _array_to_rgb(source)
    picture, name = open_picture(source, max_pixels=max_pixels)
    return _array_to_rgb(_samples(picture, name))


def _check_array(array: np.ndarray, max_pixels: int) -> None:
    if array.dtype not in (np.uint8, np.uint16, np.bool_):
        raise TypeError(
            f"the array is {array.dtype}; expected uint8 values 0..255 (uint16 and bool are taken "
            "too): from values in 0..1 make (x * 255).round().astype('uint8')"
        )
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (2,), (3,), (4,)):
        raise ValueError(
            f"the array has shape {array.shape}; expected (H, W, 3) or (H, W), (H, W, 1..4): "
            "channels go last, and one picture at a time"
        )
    check_pixels(array.shape[0], array.shape[1], "the array", max_pixels)


def _samples(picture: Image.Image, name: str) -> np.ndarray:
    # -> uint8 or uint16 (H, W), or uint8 (H, W, 3 | 4)
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        values = np.asarray(picture)
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 65535:
            raise ValueError(
                f"{name} has integer values {low}..{high}; expected 0..65535: save it as an "
                "8- or 16-bit picture"
            )
        return values.astype(np.uint16)
    if picture.mode == "F":
        raise ValueError(
            f"{name} holds floating-point values; expected 8- or 16-bit ones: save it as such "
            "(depth maps are read by read_depth)"
        )
    transparent = picture.mode in ("RGBA", "LA", "PA", "RGBa", "La")
    mode = "RGBA" if transparent or "transparency" in picture.info else "RGB"
    try:
        return np.asarray(picture.convert(mode))
    except ValueError as error:
        raise ValueError(
            f"{name} has the colour mode {picture.mode}; expected grey, RGB, palette or CMYK: "
            "convert it to RGB"
        ) from error


def _array_to_rgb(array: np.ndarray) -> np.ndarray:
    array = _to_8_bits(array)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.shape[2] in (2, 4):
        array = _on_white(array[:, :, :-1], array[:, :, -1:])
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    return np.array(array, order="C")


def _to_8_bits(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 = 255 * 257
    return array


def _on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    weight = alpha.astype(np.uint16)
    total = colour * weight + 255 * (255 - weight)  # at most 255 * 255, so uint16 holds it
    return ((total + 127) // 255).astype(np.uint8)


def resize_short_side(image: np.ndarray, size: int) -> np.ndarray:
    """Resize so that the shorter side becomes ``size``, by an antialiased Lanczos filter.

    Args:
        image: uint8 array (H, W, 3) or (H, W).
        size: The new shorter side in pixels; the longer one is rounded (half to even).

    Returns:
        uint8 array; ``image`` itself where the size is right already.

    Source: ``preprocess`` of CompVis' reconstruction_usage notebook.
    """
    if size < 1:
        raise ValueError(f"size is {size}; expected a positive number of pixels")
    height, width = image.shape[:2]
    ratio = size / min(height, width)
    if ratio == 1:
        return image
    target = (max(1, round(ratio * width)), max(1, round(ratio * height)))
    return np.asarray(Image.fromarray(image).resize(target, Image.Resampling.LANCZOS))


def center_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Cut the middle ``size`` x ``size`` out of an array (H, W) or (H, W, C).

    An odd remainder is halved to the nearest even offset, as torchvision does in the original.

    Raises:
        ValueError: The array is smaller than that.
    """
    height, width = image.shape[:2]
    if size < 1 or min(height, width) < size:
        raise ValueError(f"cannot cut {size}x{size} out of {width}x{height}; resize it first")
    top, left = round((height - size) / 2), round((width - size) / 2)
    return image[top : top + size, left : left + size]


def reflect_pad_to_multiple(image: np.ndarray, multiple: int) -> np.ndarray:
    """Pad at the bottom and the right by reflection until ``multiple`` divides both sides.

    The border itself is not repeated (``dcb|abcd|cba``), and the reflection goes on to and fro
    where the array is smaller than the padding; a single row or column is repeated.
    ``padded[:H, :W]`` is the array again.

    Args:
        image: Array (H, W) or (H, W, C) of any dtype.
        multiple: Usually the model's downsampling factor.

    Returns:
        Array whose first two sides are the next multiples; ``image`` itself if they are already.
    """
    if multiple < 1 or 0 in image.shape[:2]:
        raise ValueError(f"cannot pad an array of shape {image.shape} to multiples of {multiple}")
    height, width = image.shape[:2]
    if height % multiple == 0 and width % multiple == 0:
        return image
    rows, columns = _reflected(height, multiple), _reflected(width, multiple)
    return image[rows[:, None], columns]


def _reflected(length: int, multiple: int) -> np.ndarray:
    # 0 1 2 3 2 1 0 1 ... : a triangle wave of period 2 * (length - 1)
    index = np.arange(-(-length // multiple) * multiple)
    if length == 1:
        return np.zeros_like(index)
    period = 2 * (length - 1)
    index %= period
    return np.minimum(index, period - index)


def to_unit_range(image: np.ndarray) -> np.ndarray:
    """Convert a picture to what the networks take.

    Args:
        image: uint8 array (H, W, C) or (H, W).

    Returns:
        float32 array (1, C, H, W), contiguous: ``image / 127.5 - 1``, in [-1, 1].

    Raises:
        TypeError: The array is not uint8.
        ValueError: It has another number of axes.
    """
    if image.dtype != np.uint8:
        raise TypeError(f"the array is {image.dtype}; expected uint8 values 0..255")
    if image.ndim not in (2, 3):
        raise ValueError(f"the array has shape {image.shape}; expected (H, W, C) or (H, W)")
    channels_last = image if image.ndim == 3 else image[:, :, None]
    height, width, channels = channels_last.shape
    # Filled, not viewed: an engine tensor cannot be made from an array with a stride of 0.
    x = np.empty((1, channels, height, width), np.float32)
    x[0] = _UNIT_RANGE[channels_last].transpose(2, 0, 1)
    return x


def to_uint8(x: np.ndarray) -> np.ndarray:
    """Convert a network's output to a picture.

    Values are clipped to [-1, 1] and rounded to the nearest of 0..255 (half to even), so
    ``to_uint8(to_unit_range(image))`` is ``image``. The original truncates instead, which makes
    its pictures darker by half a step on average.

    Args:
        x: Floating-point array (C, H, W) or (1, C, H, W) in [-1, 1].

    Returns:
        uint8 array (H, W, C), contiguous.

    Raises:
        ValueError: Another shape, or NaN.
    """
    if x.ndim == 4 and x.shape[0] == 1:
        x = x[0]
    if x.ndim != 3:
        raise ValueError(f"the array has shape {x.shape}; expected (C, H, W) or (1, C, H, W)")
    if np.isnan(x).any():
        raise ValueError("the array holds NaN; expected numbers in [-1, 1]: check the weights")
    scaled = np.rint((np.clip(x, -1.0, 1.0).astype(np.float32) + np.float32(1)) * np.float32(127.5))
    return np.ascontiguousarray(scaled.astype(np.uint8).transpose(1, 2, 0))
