"""Which pictures a long run has, in which batches, and who draws them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Iterator

CLASS_STRIDE = 2**32
"""Sample ``number`` of class ``label`` draws the random numbers of ``label * 2**32 + number``."""


@dataclass(frozen=True)
class Batch:
    """Pictures that are drawn together.

    Attributes:
        label: Their class; ``None`` without classes.
        first: Number of the first within its class.
        count: Pictures that are wanted; the rest of ``size`` is padding.
        size: Rows that are drawn.
    """

    label: int | None
    first: int
    count: int
    size: int

    @property
    def numbers(self) -> range:
        """Numbers of the wanted pictures within their class."""
        return range(self.first, self.first + self.count)

    @property
    def samples(self) -> range:
        """What the random numbers of each row hang on, padding included."""
        start = (self.label or 0) * CLASS_STRIDE + self.first
        return range(start, start + self.size)

    def names(self, prefix: str = "") -> list[str]:
        """Return the file of each wanted picture: ``[{class}/]{prefix}{number:06}.png``."""
        folder = "" if self.label is None else f"{self.label}/"
        return [f"{folder}{prefix}{number:06}.png" for number in self.numbers]


@dataclass(frozen=True)
class Schedule:
    """A run's batches, in order: class by class, each class from 0.

    Picture ``i`` of a class always sits in row ``i % batch_size`` of batch ``i // batch_size``, and
    the last batch is padded with the pictures that would follow. So a picture has the same
    neighbours whatever the number of pictures, the other classes, or the shards are.

    Attributes:
        labels: Classes; ``(None,)`` without classes.
        num_samples: Pictures of each.
        batch_size: Rows of a batch.
    """

    labels: tuple[int | None, ...]
    num_samples: int
    batch_size: int

    @property
    def pictures(self) -> int:
        """Pictures in all."""
        return len(self.labels) * self.num_samples

    def batches(self, shard: tuple[int, int] = (0, 1)) -> Iterator[Batch]:
        """Yield the batches of a shard: whole batches, dealt out in turn."""
        return islice(self._batches(), shard[0], None, shard[1])

    def _batches(self) -> Iterator[Batch]:
        for label in self.labels:
            for first in range(0, self.num_samples, self.batch_size):
                count = min(self.batch_size, self.num_samples - first)
                yield Batch(label, first, count, self.batch_size)

    def alone(self, number: int, label: int | None) -> Batch:
        """Return the batch that picture ``number`` of a class is drawn in, wherever it ends."""
        return Batch(label, number - number % self.batch_size, self.batch_size, self.batch_size)
