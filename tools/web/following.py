"""What a run asks for, what it tells on the way, and how a sampler's steps become that."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Iterator, Sequence

import numpy as np

from official.multimodal.taming_transformer.previews import PreviewClock

TELL_EVERY = 0.25
"""Seconds between two words of progress that bring no picture."""


@dataclass(frozen=True)
class Drawing:
    """How to draw.

    Attributes:
        model: Its name.
        temperature: As for the samplers, and so on.
        seed: ``None`` chooses one.
        count: Pictures.
        every: Cells between two previews; 0 is as often as fits into 10 % of the time.
        window: Side of the sliding window in cells; ``None`` is the model's.
    """

    model: str
    temperature: float
    top_k: int | None
    top_p: float
    seed: int | None = None
    count: int = 1
    every: int = 0
    window: int | None = None

    def facts(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return {
            "temperature": float(self.temperature),
            "top_k": self.top_k,
            "top_p": float(self.top_p),
            "pictures": self.count,
            "kernel_size": self.window,
        }


@dataclass(frozen=True, eq=False)
class Progress:
    """So much is done; ``pictures`` (uint8 (H, W, 3) each) show it where they are new."""

    number: int
    total: int
    left: float
    pictures: Sequence[np.ndarray] = ()


@dataclass(frozen=True)
class Loading:
    """A model is being read."""

    model: str


@dataclass(frozen=True, eq=False)
class Done:
    """A run's end.

    Attributes:
        pictures: uint8 (H, W, 3) each.
        facts: What the pictures hang on, as plain values.
        frames: Previews, for a film.
        before: What to compare the picture with.
        codes: The codes in colours, uint8 (H, W, 3).
    """

    pictures: Sequence[np.ndarray]
    facts: dict[str, Any]
    frames: Sequence[np.ndarray] = ()
    before: np.ndarray | None = None
    codes: np.ndarray | None = None


def seconds_left(began: float, number: int, total: int) -> float:
    """Return how long the rest will take if it goes on as since ``began`` (``time.monotonic``)."""
    return (time.monotonic() - began) / max(number, 1) * (total - number)


@dataclass(eq=False)
class Following:
    """Steps of a sampler, turned into progress; afterwards it holds what was drawn."""

    how: Drawing
    steps: Iterator[Any]
    decode: Any
    pictures: list[np.ndarray] = field(default_factory=list)
    frames: list[np.ndarray] = field(default_factory=list)
    indices: list[Any] = field(default_factory=list)

    def follow(self) -> Iterator[Progress]:
        """Draw, and tell of it.

        Raises:
            ValueError: There are no steps.
        """
        began, told, clock, step = time.monotonic(), 0.0, None, None
        try:
            for step in self.steps:
                clock = clock or PreviewClock(self.how.every or None, step.total)
                left = seconds_left(began, step.number, step.total)
                if step.number < step.total and clock.due(step.number):
                    with clock.preview():
                        shown = list(self.decode(step.indices))
                    self.frames.append(_side_by_side(shown))
                    yield Progress(step.number, step.total, left, shown)
                elif time.monotonic() - told > TELL_EVERY:
                    told = time.monotonic()
                    yield Progress(step.number, step.total, left)
        finally:
            close = getattr(self.steps, "close", None)
            if close is not None:
                close()
        if step is None:
            raise ValueError("there is nothing to draw: mark a part of the picture")
        self.pictures = list(self.decode(step.indices))
        self.frames.append(_side_by_side(self.pictures))
        self.indices = step.indices.tolist()


def _side_by_side(pictures: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(list(pictures), axis=1)
