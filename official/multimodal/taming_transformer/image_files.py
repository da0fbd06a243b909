"""Open pictures safely and write them whole: the only place where image files are touched.

Nothing in a file is ever executed (formats that run an interpreter, such as EPS, are not read),
and a picture's size is taken from its header and checked before its pixels are decoded.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any, Mapping

import numpy as np
from PIL import Image, PngImagePlugin

from .paths import PathLike, check_target, existing_file, one_line, replacing

# Pillow's own line between a large picture and a bomb: 268 MB as RGB.
MAX_PIXELS = 89_478_485

READABLE = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000")
WRITABLE = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}

# Extensions by which a folder's pictures are told from its other files.
EXTENSIONS = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2")
)

# What Pillow's decoders raise on broken bytes.
_BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError),
    *(struct.error, zlib.error, NotImplementedError),
)

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_picture(
    source: PathLike | Image.Image, *, max_pixels: int = MAX_PIXELS
) -> tuple[Image.Image, str]:
    """Decode a picture in its own mode, turned upright as its EXIF orientation says.

    Args:
        source: Path of a picture file, or a Pillow image (left as it is).
        max_pixels: Largest height * width that is decoded. Pillow itself warns above 89,478,485
            and refuses above twice that, whatever is asked for here.

    Returns:
        The decoded image (palette ids, 16-bit values and alpha untouched) and its name for
        error messages. Of an animation, the first frame. An EXIF block that cannot be read
        counts as none.

    Raises:
        FileNotFoundError: There is no such file.
        TypeError: ``source`` is neither a path nor a Pillow image.
        ValueError: The file is a folder, no picture, truncated or broken, or has too many pixels.
    """
    if not isinstance(max_pixels, int) or max_pixels < 1:
        raise ValueError(f"max_pixels is {max_pixels!r}; expected a positive whole number")
    if isinstance(source, Image.Image):
        name = repr(getattr(source, "filename", "") or "the Pillow image")
        return _decode(source, name, max_pixels), name
    path = existing_file(source, "a picture")
    name = repr(str(path))
    with path.open("rb") as file:
        try:
            image = Image.open(file, formats=READABLE)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ValueError(f"{name} is refused by Pillow: {one_line(error)}") from error
        except _BROKEN as error:
            raise ValueError(
                f"{name} is no picture that can be read; expected one of {', '.join(READABLE)}: "
                "convert it to PNG, or check that the file arrived whole"
            ) from error
        return _decode(image, name, max_pixels), name


def _decode(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    width, height = image.size
    check_pixels(height, width, name, max_pixels)
    try:
        image.load()
    except _BROKEN as error:
        raise ValueError(
            f"{name} is truncated or broken ({one_line(error)}); expected a whole picture: "
            "copy or download it again"
        ) from error
    orientation = _orientation(image)
    if orientation not in _UPRIGHT:
        return image
    upright = image.transpose(_UPRIGHT[orientation])
    upright.format = image.format  # what it was read from, which transpose forgets
    return upright


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(_EXIF_ORIENTATION)
    except _BROKEN:  # a broken EXIF block does not make the pixels unreadable
        return None


def check_pixels(height: int, width: int, name: str, max_pixels: int) -> None:
    """Refuse an empty picture and one of more than ``max_pixels`` pixels by ``ValueError``."""
    if height < 1 or width < 1:
        raise ValueError(f"{name} is empty ({width}x{height}); expected at least one pixel")
    if height * width > max_pixels:
        raise ValueError(
            f"{name} has {width}x{height} = {height * width} pixels; expected at most "
            f"max_pixels={max_pixels}: make it smaller, or pass a larger max_pixels if you trust it"
        )


def check_image_name(path: PathLike) -> str:
    """Return the format of an output path; ``ValueError`` for an extension not written here."""
    suffix = Path(path).suffix.lower()
    if suffix in WRITABLE:
        return WRITABLE[suffix]
    raise ValueError(f"{str(path)!r} ends in {suffix!r}; expected one of {', '.join(WRITABLE)}")


def check_rgb(image: np.ndarray) -> None:
    """Refuse anything but a uint8 array (H, W, 3) or (H, W) by ``TypeError`` or ``ValueError``."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f"got {kind}; expected a uint8 array (H, W, 3): see to_uint8")
    if image.size == 0 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise ValueError(f"got an array of shape {image.shape}; expected (H, W, 3) or (H, W)")


def write_png(path: PathLike, image: np.ndarray, metadata: Mapping[str, str] | None = None) -> None:
    """Write a picture as PNG, whole or not at all.

    Args:
        path: Where to; its folder must exist. An older file is replaced.
        image: uint8 array (H, W, 3), or (H, W) for grey.
        metadata: Text entries of the PNG (keys of 1 to 79 Latin-1 characters; any text).

    Raises:
        FileNotFoundError: The folder does not exist.
        TypeError: ``image`` is no uint8 array.
        ValueError: Another shape, a bad key, or ``path`` is a folder.
    """
    check_rgb(image)
    info = PngImagePlugin.PngInfo()
    for key, value in (metadata or {}).items():
        if not 1 <= len(key) <= 79 or any(ord(letter) > 255 or letter == "\0" for letter in key):
            raise ValueError(f"PNG text key {key!r}; expected 1 to 79 Latin-1 characters")
        info.add_itxt(key, value)
    _save(path, image, format="PNG", pnginfo=info)


def write_image(path: PathLike, image: np.ndarray, *, quality: int = 95) -> None:
    """Write a picture in the format of its extension (.png, .jpg, .jpeg, .webp), whole or not.

    Args:
        path: Where to; its folder must exist. An older file is replaced.
        image: uint8 array (H, W, 3), or (H, W) for grey.
        quality: 1 to 100 for JPEG and WebP.

    Raises:
        FileNotFoundError: The folder does not exist.
        TypeError: ``image`` is no uint8 array.
        ValueError: Another shape, extension or quality, or ``path`` is a folder.
    """
    check_rgb(image)
    if not isinstance(quality, int) or not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality!r}; expected a whole number from 1 to 100")
    kind = check_image_name(path)
    options: dict[str, int] = {} if kind == "PNG" else {"quality": quality}
    if kind == "JPEG":
        options["subsampling"] = 0
    _save(path, image, format=kind, **options)


def _save(path: PathLike, image: np.ndarray, **options: Any) -> None:
    check_target(path)
    encoded = io.BytesIO()  # given a file, Pillow's JPEG encoder passes over a full disk in silence
    Image.fromarray(image).save(encoded, **options)
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.getvalue())
