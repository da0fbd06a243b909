"""Pictures as the paper evaluates them: the largest centred square, resized with antialiasing.

Source: appendix A of "Taming Transformers for High-Resolution Image Synthesis" (Esser et al.,
2021): largest centre crop, bilinear antialiased resize, by Pillow.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from official.multimodal.taming_transformer.image import read_image
from official.multimodal.taming_transformer.image_files import EXTENSIONS


def list_pictures(folder: Path, *, deep: bool = False) -> list[Path]:
    """Return the pictures of a folder in the order of their names, hidden ones left out.

    Args:
        folder: Where to look.
        deep: Look into its folders too.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds no pictures.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder {str(folder)!r} does not exist: check the path")
    found = sorted(
        path
        for path in (folder.rglob("*") if deep else folder.iterdir())
        if path.suffix.lower() in EXTENSIONS and path.name[0] != "." and path.is_file()
    )
    if not found:
        raise ValueError(f"{str(folder)!r} holds no pictures; expected .png, .jpg, .webp, ...")
    return found


def as_in_the_paper(picture: np.ndarray, size: int) -> np.ndarray:
    """Cut out the largest centred square and resize it, bilinear and antialiased.

    Args:
        picture: RGB uint8 (H, W, 3).
        size: Side of the result in pixels; a smaller picture is enlarged, as in the paper.

    Returns:
        RGB uint8 (size, size, 3).
    """
    side = min(picture.shape[:2])
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    square = picture[top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(square)
    resized = Image.fromarray(square).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def load(path: Path, size: int) -> tuple[np.ndarray, bool]:
    """Read a picture and prepare it.

    Returns:
        RGB uint8 (size, size, 3), and whether it had to be enlarged.

    Raises:
        ValueError: The file is no picture, is broken or too large.
    """
    picture = read_image(path)
    return as_in_the_paper(picture, size), min(picture.shape[:2]) < size
