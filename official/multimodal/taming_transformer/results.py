"""What a sampler returns."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping

import numpy as np
from PIL import Image


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

    pictures: np.ndarray
    indices: np.ndarray
    seed: int
    parameters: Mapping[str, Any]
    files: tuple[Path, ...] = ()

    @property
    def picture(self) -> np.ndarray:
        """The first picture, uint8 (H, W, 3)."""
        return np.asarray(self.pictures[0])

    def _repr_png_(self) -> bytes:
        """Return the pictures side by side as PNG."""
        buffer = io.BytesIO()
        Image.fromarray(np.concatenate(list(self.pictures), axis=1)).save(buffer, format="PNG")
        return buffer.getvalue()
