"""Scene layouts: boxes of named things, the condition of the models that paint a scene from them.

Source: taming/data/conditional_builder/ of CompVis/taming-transformers @3ba01b2. Differences: the
order of the objects is the caller's (upstream shuffles them with the global generator), and boxes
outside the picture are refused.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Iterable, Mapping, Sequence

import numpy as np

from .layout_format import COCO_FLAGS, FLAGS, Box, LayoutFormat, ObjectBox

__all__ = [
    "COCO_FLAGS",
    "FLAGS",
    "LayoutFormat",
    "ObjectBox",
    "SceneLayout",
    "decode_layout",
    "encode_layout",
    "number_categories",
    "window_crop",
]

FULL_CROP: Box = (0.0, 0.0, 1.0, 1.0)
# Boxes of public annotations overshoot the picture by rounding; that much is clamped.
OVERSHOOT = 1e-3


@dataclass(frozen=True)
class SceneLayout:
    """What a token sequence says.

    Attributes:
        objects: In the order of the slots. Boxes are rounded to the grid; for centre points they
            have no width and height.
        crop: Part of the picture to paint, or ``None`` where the tokens do not say.
    """

    objects: tuple[ObjectBox, ...]
    crop: Box | None = None


def encode_layout(
    objects: Sequence[ObjectBox], layout: LayoutFormat, *, crop: Box = FULL_CROP
) -> np.ndarray:
    """Turn a scene into the condition of a scene-layout transformer.

    Objects that do not touch the crop are left out. Of more than ``no_max_objects`` the first are
    taken, with a warning.

    Args:
        objects: In the order of the slots; models were trained on random orders, so that any
            order of the caller's will do.
        layout: How the model reads layouts.
        crop: Part of the picture that the model is to paint.

    Returns:
        int64 tokens (layout.length,): (92,) for the released models.

    Raises:
        TypeError: An object is no ``ObjectBox``.
        ValueError: A category is unknown, or a box is empty or outside the picture.
    """
    _check_box(crop, "crop")
    for number, item in enumerate(objects):
        _check_object(item, number, layout)
    if len(objects) > layout.no_max_objects:
        warnings.warn(
            f"{len(objects)} objects given, the model has {layout.no_max_objects} slots: "
            "the first are taken",
            stacklevel=2,
        )
    taken = [item for item in objects[: layout.no_max_objects] if _touches(item.box, crop)]
    frame = FULL_CROP if layout.encode_crop else crop
    slots = [layout.object_tokens(item, _relative(item.box, frame)) for item in taken]
    slots += [(layout.empty,) * layout.slot] * (layout.no_max_objects - len(slots))
    tokens = [token for slot in slots for token in slot]
    if layout.encode_crop:
        tokens += layout.corners(crop)
    return np.array(tokens, np.int64)


def decode_layout(tokens: Sequence[int] | np.ndarray, layout: LayoutFormat) -> SceneLayout:
    """Read tokens back, for drawing.

    Args:
        tokens: Integers (layout.length,).
        layout: How the model reads layouts.

    Returns:
        The objects, empty slots left out, and the crop.

    Raises:
        ValueError: The length or a token is not the format's.
    """
    values = np.asarray(tokens)
    if values.shape != (layout.length,) or values.dtype.kind not in "iu":
        raise ValueError(
            f"got tokens of shape {values.shape} and dtype {values.dtype}, "
            f"expected integers ({layout.length},)"
        )
    if values.min() < 0 or values.max() >= layout.no_tokens:
        raise ValueError(f"tokens span {values.min()}..{values.max()}, expected 0..{layout.empty}")
    numbers = values.tolist()
    end = layout.no_max_objects * layout.slot
    slots = [numbers[start : start + layout.slot] for start in range(0, end, layout.slot)]
    objects = tuple(layout.object_at(s[0], s[1:]) for s in slots if s[0] != layout.empty)
    crop = layout.span(*numbers[end:]) if layout.encode_crop else None
    return SceneLayout(objects, crop)


def window_crop(top: int, left: int, latent: tuple[int, int], window: int = 16) -> Box:
    """Return the crop that a square window of latent cells covers, in a latent of (h, w) cells."""
    h, w = latent
    return left / w, top / h, window / w, window / h


def number_categories(ids: Iterable[str], last: Iterable[str] = ()) -> Mapping[str, int]:
    """Number category ids as the models were trained: sorted as text, so "10" before "2".

    Args:
        ids: Ids of the categories, as text.
        last: Ids that go to the end whatever their text (``["/m/01s55n"]`` for Open Images).
    """
    late = list(last)
    known = set(ids)
    order = sorted(known - set(late)) + [name for name in late if name in known]
    return {name: number for number, name in enumerate(order)}


def _check_object(item: ObjectBox, number: int, layout: LayoutFormat) -> None:
    if not isinstance(item, ObjectBox):
        raise TypeError(f"object {number} is {type(item).__name__}, expected ObjectBox")
    if not 0 <= item.category < layout.no_classes:
        raise ValueError(
            f"object {number} has category {item.category}, "
            f"expected 0..{layout.no_classes - 1}: see number_categories"
        )
    _check_box(item.box, f"box of object {number}")


def _check_box(box: Box, name: str) -> None:
    """Refuse what is no rectangle of positive area inside the picture."""
    numbers = np.asarray(box, np.float64)
    if numbers.shape != (4,) or not np.isfinite(numbers).all():
        raise ValueError(f"{name} is {box!r}, expected 4 numbers: left, top, width, height")
    x, y, width, height = numbers.tolist()
    inside = min(x, y) >= -OVERSHOOT and max(x + width, y + height) <= 1 + OVERSHOOT
    if min(width, height) <= 0 or not inside:
        raise ValueError(
            f"{name} is {box!r}, expected left, top, width, height as fractions of the picture, "
            "with a positive area inside it"
        )


def _touches(box: Box, crop: Box) -> bool:
    """Tell whether two rectangles share an area."""
    across = min(box[0] + box[2], crop[0] + crop[2]) - max(box[0], crop[0])
    down = min(box[1] + box[3], crop[1] + crop[3]) - max(box[1], crop[1])
    return across > 0 and down > 0 and across * down > 0


def _relative(box: Box, frame: Box) -> Box:
    """Return a box as fractions of the frame, clamped to it as upstream does it."""
    x, y = ((box[i] - frame[i]) / frame[i + 2] for i in (0, 1))
    x, y = max(min(x, 1.0), 0.0), max(min(y, 1.0), 0.0)
    return x, y, min(box[2] / frame[2], 1 - x), min(box[3] / frame[3], 1 - y)
