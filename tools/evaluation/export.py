"""Pictures in the layouts that FID tools take: a flat folder of PNG files, and ADM's ``.npz``."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Sequence

import numpy as np

from official.multimodal.taming_transformer.image import read_image, write_png
from official.multimodal.taming_transformer.npz import write_npz
from tools.evaluation.measure import Reconstructor
from tools.evaluation.pictures import load


def labels_of(paths: Sequence[Path]) -> np.ndarray | None:
    """Return the classes int64 (N,) of pictures that lie in folders named by numbers, or none."""
    names = [path.parent.name for path in paths]
    if len(set(names)) < 2 or not all(name.isdecimal() for name in names):
        return None
    return np.array([int(name) for name in names], np.int64)


def export(
    root: Path,
    paths: Sequence[Path],
    size: int,
    reconstruct: Reconstructor | None = None,
    tick: Callable[[], object] = lambda: None,
) -> list[Path]:
    """Write pictures, and what a model keeps of them, as FID tools want them.

    ``root/pictures/000000.png`` ... is what torch-fidelity takes, ``root/pictures.npz`` with
    ``arr_0`` uint8 (N, size, size, 3), and ``arr_1`` where there are classes, what ADM's
    evaluator takes; with a model also ``reconstructions``, both of the same order.

    Args:
        root: Where to; made if need be.
        paths: The pictures.
        size: Side of the squares, made as in the paper.
        reconstruct: A model of that size, or ``None``.
        tick: Called after each picture.

    Returns:
        The folders and packed files written.

    Raises:
        ValueError: ``root`` holds such pictures already, or a file is no picture.
    """
    sets = ["pictures"] if reconstruct is None else ["pictures", "reconstructions"]
    for name in sets:
        if (root / name).exists() or (root / f"{name}.npz").exists():
            raise ValueError(f"{str(root / name)!r} is there already: choose another root")
    for name in sets:
        (root / name).mkdir(parents=True)
    for number, path in enumerate(paths):
        picture, _ = load(path, size)
        made = [picture] if reconstruct is None else [picture, reconstruct(picture)[0]]
        for name, one in zip(sets, made):
            write_png(root / name / f"{number:06}.png", one)
        tick()
    labels = labels_of(paths)
    written = []
    for name in sets:
        names = (root / name / f"{number:06}.png" for number in range(len(paths)))
        packed = root / f"{name}.npz"
        write_npz(packed, map(read_image, names), (len(paths), size, size, 3), labels)
        written += [root / name, packed]
    return written
