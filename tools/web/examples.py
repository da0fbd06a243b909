"""Inputs to begin with: pictures and maps of assets/examples, as far as they are there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from official.multimodal.taming_transformer.maps import colourise_depth
from official.multimodal.taming_transformer.palette import label_colours
from tools.web import uploads
from tools.web.shelf import Shape
from tools.web.uploads import Limits, data_url

FILES = {
    "labels": "scene_map.png",
    "depth": "scene_depth.png",
    "photo": "scene_photo.png",
    "mask": "scene_photo.png",
}
SIDES = (128, 192, 256, 384, 512)


class Examples:
    """The files of a folder, read once; one that is missing or broken is simply not offered.

    Args:
        folder: Where they are.
        limits: What a picture may be like.
    """

    def __init__(self, folder: Path, limits: Limits):
        self._limits = limits
        self._data: dict[str, bytes] = {}
        self._colours: np.ndarray | None = None
        for kind, name in FILES.items():
            try:
                data = (folder / name).read_bytes()
                uploads.opened(data, limits).load()
            except (OSError, ValueError):
                continue
            self._data[kind] = data
        if "labels" in self._data:
            self._colours = _palette_of(uploads.opened(self._data["labels"], limits))

    def board(self, kind: str, shape: Shape) -> dict[str, Any]:
        """Return what a board of a kind shows first: the example, or nothing."""
        if not self._fits(kind, shape):
            if kind == "labels":
                return self.of_labels(_plain(shape), shape)
            return self._value(kind, shape)
        try:
            return self.read(kind, self._data[kind], shape)
        except (ValueError, TypeError):
            return self._value(kind, shape)

    def read(self, kind: str, data: bytes, shape: Shape, invert: bool = False) -> dict[str, Any]:
        """Return what a board shows of a file's bytes.

        Raises:
            ValueError, TypeError: The file cannot be used; the message says why.
        """
        limits, common = self._limits, {"side": shape.side, "factor": shape.factor}
        if kind == "labels":
            cells = uploads.uploaded_labels(
                data, limits, shape.n_labels, shift=shape.shift, **common
            )
            return self.of_labels(cells, shape)
        if kind == "depth":
            depth = uploads.uploaded_depth(data, limits, invert=invert, **common)
            view = colourise_depth(depth / 32767.5 - 1)
            seen = {"picture": data_url(view), "source": data_url(depth)}
            return self._value(kind, shape, depth.shape, **seen)
        photo = uploads.uploaded_photo(data, limits, **common)
        return self._value(kind, shape, photo.shape, picture=data_url(photo))

    def of_labels(self, cells: np.ndarray, shape: Shape) -> dict[str, Any]:
        """Return a board with a label map, uint8 (H, W), and the palette of its labels."""
        names = shape.names or [str(number) for number in range(shape.n_labels)]
        labels = [{"name": n, "colour": c} for n, c in zip(names, self.colours(shape).tolist())]
        packed = uploads.packed(cells)
        return self._value("labels", shape, cells.shape, labels=labels, cells=packed)

    def sides(self, shape: Shape) -> list[int]:
        """Return the sides that pictures for a model can have: whole cells, within the limits."""
        most = int(self._limits.area**0.5)
        every = {*SIDES, shape.side}
        return sorted(side for side in every if side <= most and side % shape.factor == 0)

    def resized(self, shape: Shape, side: Any) -> Shape:
        """Return a model's shape with the side that a board asks for.

        Raises:
            ValueError: There is no such side.
        """
        if side is None:
            return shape
        if side not in self.sides(shape):
            raise ValueError(f"the side is {str(side)[:20]}; expected one of {self.sides(shape)}")
        return replace(shape, side=int(side))

    def repainted(self, value: Any, shape: Shape) -> dict[str, Any]:
        """Return a board with the map that was painted on it, at another side.

        Raises:
            ValueError: There is none, or it is too large.
        """
        cells = uploads.sent_cells(value, self._limits, shape.n_labels)
        return self.of_labels(uploads.rescaled(cells, shape.side, shape.factor), shape)

    def colours(self, shape: Shape) -> np.ndarray:
        """Return the colours of a model's labels, uint8 (n, 3): the example's where it has some."""
        own = self._colours if shape.names else None
        return label_colours(shape.n_labels) if own is None else own[: shape.n_labels]

    def message(self, kind: str, shape: Shape, text: str) -> dict[str, Any]:
        """Return an empty board that says what was wrong."""
        return {**self._value(kind, shape), "message": text, "bad": True}

    def _fits(self, kind: str, shape: Shape) -> bool:
        if kind not in self._data:
            return False
        return kind != "labels" or (
            self._colours is not None and len(self._colours) >= len(shape.names) > 0
        )

    def _value(
        self, kind: str, shape: Shape, size: tuple[int, ...] = (0, 0), **more: Any
    ) -> dict[str, Any]:
        return {
            "kind": kind,
            "side": shape.side,
            "sides": self.sides(shape),
            "height": int(size[0]),
            "width": int(size[1]),
            "factor": shape.factor,
            "example": self._fits(kind, shape),
            "most": self._limits.file_bytes,
            "message": "",
            **more,
        }


def _plain(shape: Shape) -> np.ndarray:
    """Return a map to begin with where there is no example: two labels, one above the other."""
    cells = np.zeros((shape.side, shape.side), np.uint8)
    below = shape.names.index("meadow") if "meadow" in shape.names else min(1, shape.n_labels - 1)
    cells[shape.side // 2 :] = below
    return cells


def _palette_of(image: Image.Image) -> np.ndarray | None:
    """Return the colours of a palette picture, uint8 (n, 3)."""
    flat = image.getpalette("RGB") if image.mode == "P" else None
    return None if flat is None else np.array(flat, np.uint8).reshape(-1, 3)
