"""Pack pictures for the usual FID tools: the ``.npz`` of OpenAI's guided-diffusion (ADM) suite."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Iterable

import numpy as np
from numpy.lib import format as npy

from .files import remove

# The same pictures give the same bytes, whenever they are packed.
_DATE = (1980, 1, 1, 0, 0, 0)


def write_npz(
    path: Path,
    pictures: Iterable[np.ndarray],
    shape: tuple[int, int, int, int],
    labels: np.ndarray | None = None,
) -> None:
    """Write ``arr_0``, one picture after the other, and ``arr_1``: whole or not at all.

    Memory for one picture is enough for any number of them.

    Args:
        path: Where to; an older file is replaced.
        pictures: N uint8 arrays (H, W, 3).
        shape: (N, H, W, 3).
        labels: Classes int64 (N,), where there are classes.

    Raises:
        OSError: The disk is full or the folder cannot be written.
        ValueError: A picture has another shape, or there are more or fewer than N.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            with archive.open(zipfile.ZipInfo("arr_0.npy", _DATE), "w", force_zip64=True) as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                npy.write_array_header_1_0(file, header)
                count = 0
                for count, picture in enumerate(pictures, start=1):
                    if picture.dtype != np.uint8 or picture.shape != shape[1:]:
                        raise ValueError(
                            f"picture {count - 1} is {picture.dtype} {picture.shape}, expected "
                            f"uint8 {shape[1:]}"
                        )
                    file.write(np.ascontiguousarray(picture).data.cast("B"))
            if count != shape[0]:
                raise ValueError(f"got {count} pictures, expected {shape[0]}")
            if labels is not None:
                with archive.open(zipfile.ZipInfo("arr_1.npy", _DATE), "w") as file:
                    npy.write_array(file, np.ascontiguousarray(labels, np.int64))
        part.replace(path)
    finally:
        remove(part)
