"""Draw batches of pictures: no files, no settings of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Iterator

import numpy as np
from megengine import Tensor
from tqdm.auto import tqdm

from .image import to_uint8
from .net2net import Net2NetTransformer
from .sampling import SamplingParams
from .schedule import Batch
from .window import Step, fixed_condition, sample_window

# Pictures come in fractions, token by token; tqdm would show all their decimals.
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total} [{elapsed}<{remaining}, {rate_fmt}]"


@dataclass(frozen=True, eq=False)
class Drawn:
    """A batch that has been drawn.

    Attributes:
        batch: Which pictures: class and numbers.
        indices: Their tokens, int32 (n, h, w).
        pictures: RGB uint8 (n, H, W, 3).
        seed: Seed of the run.
    """

    batch: Batch
    indices: np.ndarray
    pictures: np.ndarray
    seed: int


@dataclass(frozen=True)
class Drawer:
    """Everything that pictures hang on but their numbers.

    Attributes:
        model: An unconditional or class-conditional transformer.
        params: How to draw.
        shape: (h, w) of the latent.
    """

    model: Net2NetTransformer
    params: SamplingParams
    shape: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a picture in pixels."""
        factor = self.model.downsampling
        return factor * self.shape[0], factor * self.shape[1]

    def steps(self, batch: Batch, seed: int) -> Iterator[Step]:
        """Draw a batch, token by token; the steps' indices hold the padding too."""
        c = np.array([0 if batch.label is None else batch.label])
        return sample_window(
            self.model.transformer,
            fixed_condition(self.model.encode_to_c(c)[1].numpy()),
            np.zeros((batch.size, *self.shape), np.int32),
            params=self.params,
            seed=seed,
            samples=batch.samples,
            n_embed=self.model.n_embed,
            side=self.model.config.window,
        )

    def draw(
        self, batches: Iterable[Batch], seed: int, bar: tqdm | None = None, every: int = 1
    ) -> Iterator[Drawn]:
        """Draw batches one after the other.

        Args:
            batches: What to draw.
            seed: Of the run.
            bar: Counts pictures; advanced every so many steps and after each batch.
            every: So many.
        """
        for batch in batches:
            shown = 0.0
            for step in self.steps(batch, seed):
                part = batch.count * step.number / step.total
                if bar is not None and step.number % every == 0:
                    bar.update(part - shown)
                    shown = part
            indices = step.indices[: batch.count].copy()
            pictures = self.decode(indices)
            if bar is not None:
                bar.update(batch.count - shown)
            yield Drawn(batch, indices, pictures, seed)

    def decode(self, indices: np.ndarray) -> np.ndarray:
        """Decode tokens (n, h, w) to RGB uint8 (n, H, W, 3), one by one: batches change bits."""
        pictures = np.empty((len(indices), *self.size, 3), np.uint8)
        for row in range(len(indices)):
            codes = np.ascontiguousarray(indices[row : row + 1])
            x = self.model.decode_to_img(Tensor(codes, dtype="int32", device=self.model.device))
            pictures[row] = to_uint8(x.numpy())
        return pictures


def picture_bar(total: int, done: int, progress: bool | None) -> tqdm:
    """Return a bar on stderr that counts pictures, with their rate and the time that is left.

    Args:
        total: Pictures in all.
        done: Pictures that were there already.
        progress: Draw it; ``None`` does so on a terminal or in a notebook.
    """
    disable = None if progress is None else not progress
    return tqdm(
        total=total, initial=done, unit="picture", desc="sampling", bar_format=_BAR, disable=disable
    )
