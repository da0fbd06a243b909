"""Read label ids and raw depth from files, Pillow images and arrays; nothing is normalised here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from .image_files import MAX_PIXELS, check_pixels, open_picture
from .paths import PathLike, existing_file, one_line

_LOSSY = ("JPEG", "MPO")
_ONE_CHANNEL = ("1", "L", "P", "I")  # and I;16, I;16B, ...


def load_labels(
    source: PathLike | Image.Image | np.ndarray, *, max_pixels: int = MAX_PIXELS
) -> tuple[np.ndarray, str]:
    """Read a label map as it is stored: ids, never colours.

    Args:
        source: Path (grey or palette picture of 1 to 32 bits, or ``.npy``), Pillow image, or
            integer array (H, W). Of a palette picture the indices are the ids.
        max_pixels: Largest height * width that is read.

    Returns:
        Integer array (H, W), and the name of the source for error messages.

    Raises:
        FileNotFoundError: There is no such file.
        TypeError: ``source`` is of another type, or holds no integers.
        ValueError: A colour picture, a JPEG, another shape, a broken file, too many pixels.
    """
    if isinstance(source, np.ndarray):
        return _check_ids(source, "the label map", max_pixels), "the label map"
    if not isinstance(source, Image.Image) and _is_npy(source):
        array, name = _read_npy(source, max_pixels)
        return _check_ids(array, name, max_pixels), name
    picture, name = open_picture(source, max_pixels=max_pixels)
    if picture.mode not in _ONE_CHANNEL and not picture.mode.startswith("I;16"):
        raise ValueError(
            f"{name} is a picture with colours ({picture.mode}, {picture.width}x{picture.height}), "
            "not a label map; expected one channel whose values are label ids, such as the grey or "
            "palette PNG that a segmentation model writes: pass that, not the photograph"
        )
    if picture.format in _LOSSY:
        raise ValueError(
            f"{name} is a JPEG, whose compression changes label ids; expected a grey or palette "
            "PNG: save the ids as PNG where they are made"
        )
    return _check_ids(np.array(picture), name, max_pixels), name


def _check_ids(array: np.ndarray, name: str, max_pixels: int) -> np.ndarray:
    if array.ndim != 2:
        raise ValueError(
            f"{name} has shape {array.shape}; expected (H, W) with one label id a pixel: an array "
            "with channels is a picture or a one-hot map (take its argmax)"
        )
    if array.dtype.kind not in "bui":
        raise TypeError(
            f"{name} is {array.dtype}; expected whole label ids: convert it by .astype('int32')"
        )
    check_pixels(array.shape[0], array.shape[1], name, max_pixels)
    return array.astype(np.uint8) if array.dtype.kind == "b" else array


def load_depth(
    source: PathLike | Image.Image | np.ndarray, *, max_pixels: int = MAX_PIXELS
) -> tuple[np.ndarray, str]:
    """Read a depth map's own numbers.

    Args:
        source: Path (RGBA picture whose four bytes are a little-endian float32, as D-RIN has
            them; 8-, 16- or 32-bit grey; float TIFF; ``.npy``), Pillow image, or array: (H, W)
            of numbers, or uint8 (H, W, 4) as in RGBA.
        max_pixels: Largest height * width that is read.

    Returns:
        Array (H, W), float32 where float32 was stored and float64 otherwise, and the name of the
        source for error messages.

    Raises:
        FileNotFoundError: There is no such file.
        TypeError: ``source`` is of another type, or holds no real numbers.
        ValueError: A colour picture, another shape, a broken file, too many pixels.
    """
    if isinstance(source, np.ndarray):
        array, name = source, "the depth map"
    elif not isinstance(source, Image.Image) and _is_npy(source):
        array, name = _read_npy(source, max_pixels)
    else:
        array, name = _depth_samples(*open_picture(source, max_pixels=max_pixels))
    if array.ndim == 3 and array.shape[2] == 4 and array.dtype == np.uint8:
        array = _float_bits(array, name)
    if array.ndim != 2:
        raise ValueError(
            f"{name} has shape {array.shape}; expected (H, W), or uint8 (H, W, 4) that holds the "
            "bytes of float32 values"
        )
    if array.dtype.kind not in "uif":
        raise TypeError(f"{name} is {array.dtype}; expected real numbers, such as float32")
    check_pixels(array.shape[0], array.shape[1], name, max_pixels)
    return (array if array.dtype == np.float32 else array.astype(np.float64)), name


def _depth_samples(picture: Image.Image, name: str) -> tuple[np.ndarray, str]:
    if picture.mode not in ("L", "I", "F", "RGBA") and not picture.mode.startswith("I;16"):
        raise ValueError(
            f"{name} is a picture of mode {picture.mode}, not a depth map; expected grey of 8 or "
            "16 bits, a float TIFF, an .npy file, or RGBA with the bytes of float32 values: pass "
            "the depth itself, not its coloured view"
        )
    return np.array(picture), name


def _float_bits(rgba: np.ndarray, name: str) -> np.ndarray:
    # (H, W, 4) uint8 -> (H, W) float32
    if rgba.size and (rgba[:, :, 3] == 255).all():
        raise ValueError(
            f"{name} is an opaque RGBA picture, not a depth map; expected RGBA whose four bytes "
            "are a float32 depth: pass the depth itself, not its coloured view"
        )
    return np.ascontiguousarray(rgba).view("<f4")[:, :, 0].astype(np.float32)


def _is_npy(source: object) -> bool:
    return str(source).lower().endswith(".npy")


def _read_npy(source: PathLike, max_pixels: int) -> tuple[np.ndarray, str]:
    path: Path = existing_file(source, "an .npy array")
    name = repr(str(path))
    try:
        # A map never unpickles, and checks the header's shape against the file's length.
        mapped = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError, TypeError, OverflowError, SyntaxError, EOFError) as error:
        raise ValueError(
            f"{name} is no .npy array that can be read ({one_line(error)}); expected numbers "
            "written by numpy.save: save it again, without object dtype"
        ) from error
    if mapped.ndim >= 2:
        check_pixels(mapped.shape[0], mapped.shape[1], name, max_pixels)
    if mapped.ndim not in (2, 3) or mapped.shape[2:] not in ((), (4,)):
        raise ValueError(f"{name} has shape {mapped.shape}; expected (H, W)")
    return np.array(mapped), name
