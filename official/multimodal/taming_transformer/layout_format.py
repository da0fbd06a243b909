"""How a scene-layout model writes things and places as tokens.

A layout is a fixed number of slots, each a category with one or two points, followed by the part
of the picture that the model is to paint. A point is one token: its cell in a square grid.

Source: taming/data/conditional_builder/ of CompVis/taming-transformers @3ba01b2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterable, Sequence, Tuple

# Left, top, width and height as fractions of the whole picture.
Box = Tuple[float, float, float, float]

# Flags in the order of their bits. COCO's models know the first, those of Open Images know all.
FLAGS = ("is_group_of", "is_occluded", "is_depiction", "is_inside")
COCO_FLAGS = FLAGS[:1]


@dataclass(frozen=True)
class ObjectBox:
    """One thing in a scene.

    Attributes:
        category: Its number among the model's classes (see ``number_categories``).
        box: Left, top, width, height as fractions of the picture.
        is_group_of: The box holds several of them.
        is_occluded: Something hides a part (Open Images).
        is_depiction: It is a drawing or a statue (Open Images).
        is_inside: The picture is taken from inside it (Open Images).
    """

    category: int
    box: Box
    is_group_of: bool = False
    is_occluded: bool = False
    is_depiction: bool = False
    is_inside: bool = False


@dataclass(frozen=True)
class LayoutFormat:
    """How a model reads layouts.

    Attributes:
        no_classes: Categories that the model knows.
        no_tokens: Size of its vocabulary; the last token marks an empty slot.
        no_max_objects: Slots.
        encode_crop: Two tokens at the end give the part to paint, and boxes count from the whole
            picture; otherwise boxes count from that part.
        centre_points: A slot holds the centre of the box instead of its two corners.
        flags: Names out of ``FLAGS`` that the model knows; others of an object are ignored.

    Raises:
        ValueError: A number is out of range, or categories and flags need more tokens than are.
    """

    no_classes: int
    no_tokens: int = 8192
    no_max_objects: int = 30
    encode_crop: bool = True
    centre_points: bool = False
    flags: tuple[str, ...] = COCO_FLAGS

    def __post_init__(self) -> None:
        """Check ranges and that every category has a token."""
        for name, least in (("no_classes", 1), ("no_tokens", 4), ("no_max_objects", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")
        unknown = [flag for flag in self.flags if flag not in FLAGS]
        if unknown:
            raise ValueError(f"flag {unknown[0]!r} is unknown: flags are {', '.join(FLAGS)}")
        largest = self.no_classes * (1 + self._modifier(self.flags)) - 1
        if largest >= self.empty:
            raise ValueError(
                f"{self.no_classes} classes with flags {self.flags} need tokens up to {largest}, "
                f"but {self.empty} marks an empty slot: use fewer classes or flags"
            )

    @staticmethod
    def _modifier(flags: Iterable[str]) -> int:
        return sum(1 << FLAGS.index(flag) for flag in set(flags))

    @property
    def empty(self) -> int:
        """The token of an empty slot."""
        return self.no_tokens - 1

    @property
    def slot(self) -> int:
        """Tokens a slot."""
        return 2 if self.centre_points else 3

    @property
    def length(self) -> int:
        """Tokens in all."""
        return self.no_max_objects * self.slot + (2 if self.encode_crop else 0)

    @property
    def sections(self) -> int:
        """Cells along one side of the grid of points."""
        return math.isqrt(self.no_tokens)

    def representation(self, item: ObjectBox) -> int:
        """Return the token of an object's category and flags."""
        present = (flag for flag in self.flags if getattr(item, flag))
        return item.category + self.no_classes * self._modifier(present)

    def point(self, x: float, y: float) -> int:
        """Return the token of a point; x and y are fractions, halves round to even cells."""
        last = self.sections - 1
        return round(y * last) * self.sections + round(x * last)

    def corners(self, box: Box) -> tuple[int, int]:
        """Return the tokens of a box's top left and bottom right corner."""
        x, y, width, height = box
        return self.point(x, y), self.point(x + width, y + height)

    def object_tokens(self, item: ObjectBox, box: Box) -> tuple[int, ...]:
        """Return the tokens of one slot for an object at ``box``."""
        if self.centre_points:
            x, y, width, height = box
            return self.representation(item), self.point(x + width / 2, y + height / 2)
        return (self.representation(item), *self.corners(box))

    def place(self, token: int) -> tuple[float, float]:
        """Return the point (x, y) of a token."""
        y, x = divmod(token, self.sections)
        return x / (self.sections - 1), y / (self.sections - 1)

    def object_at(self, representation: int, points: Sequence[int]) -> ObjectBox:
        """Return the object that a slot's tokens describe."""
        modifier, category = divmod(representation, self.no_classes)
        flags = {flag: bool(modifier >> FLAGS.index(flag) & 1) for flag in self.flags}
        return ObjectBox(category, self.span(points[0], points[-1]), **flags)

    def span(self, first: int, second: int) -> Box:
        """Return the box between two points, given as tokens."""
        x, y = self.place(first)
        right, bottom = self.place(second)
        return x, y, right - x, bottom - y
