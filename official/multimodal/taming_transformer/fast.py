"""Thousands of pictures from an unconditional or a class-conditional transformer.

Source: ``scripts/sample_fast.py`` of CompVis/taming-transformers @3ba01b2. Differences: every
picture has random numbers of its own; a run can be stopped, continued and shared out; values are
rounded to 8 bits, not truncated.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator

import numpy as np

from .classes import ClassLabels, ClassNames, resolve_labels
from .fast_draw import Drawer, Drawn, picture_bar
from .fast_options import (
    FastOptions,
    check_filled,
    check_latent,
    check_memory,
    check_model,
    check_prefix,
)
from .fast_run import FastResult, PictureRun
from .net2net import Net2NetTransformer
from .runs import Shard, check_shard
from .sampling import SamplingParams
from .schedule import Batch, Schedule
from .window import Step

__all__ = ["Drawn", "FastResult", "FastSampler"]


class FastSampler:
    """Draw many pictures of one size, in batches, with keys and values cached.

    Files: ``{root}/[{class}/]{number:06}.png`` as the original has them, with ``{name}_`` before
    the number where a name is given; class folders are named by the class's number. Beside them
    stand ``run.json`` (what the run is of) and ``run.{k}-of-{n}.sha256`` (what is made), they too
    after ``{name}_``. The same call again goes on where a killed one stopped; when all is made, it
    changes nothing.

    Picture ``i`` of a class hangs on (weights, settings, seed, class, i) alone. On one machine,
    with the same number of threads and the same batch size, it has the same bytes in any order,
    shard or resumed run; with another batch size it has the same tokens, but where two of them all
    but tie. Its random numbers are those of sample ``class * 2**32 + i`` (``i`` without classes).

    The model is put into ``eval()``; it needs its weights when pictures are drawn, not before.

    Args:
        model: An unconditional or class-conditional transformer, such as celebahq_transformer().
        batch_size: Pictures drawn together.
        temperature: Divides the logits; > 0.
        top_k: Keep the k most likely tokens; ``None`` keeps all, 1 is greedy.
        top_p: Keep the likeliest tokens whose probabilities reach this sum; in (0, 1].
        num_samples: Pictures of each class.
        class_labels: Classes by number or name, one or several; ``None`` means all.
        steps: Tokens of a picture: h * w of the call; ``None`` takes any.
        update_every: Steps between two updates of the progress bar.
        root: Folder for the files; ``None`` returns the pictures instead.
        seed: 0 .. 2**64 - 1; ``None`` chooses one, or takes that of the run in ``root``.
        shard: (k, n): draw part k (from 0) of n only; whole batches are dealt out in turn.
        npz: Pack all pictures for FID tools once the last one is made: ``samples.npz`` with
            ``arr_0`` uint8 (N, H, W, 3) and, for classes, ``arr_1`` int64 (N,).
        class_names: Names of the classes, a sequence or number -> name; ``None``: the model's.
        progress: Draw a progress bar; ``None`` does so on a terminal (stderr) or in a notebook.

    Raises:
        TypeError: ``model``, ``root`` or a class is of another type.
        ValueError: A value is out of range, or the model takes a map.

    Example:
        >>> sampler = FastSampler(celebahq_transformer(), 25, num_samples=50)  # doctest: +SKIP
        >>> pictures = sampler(dim_z=256, h=16, w=16).pictures  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Net2NetTransformer,
        batch_size: int,
        temperature: float = 1.0,
        top_k: int | None = 250,
        top_p: float = 1.0,
        num_samples: int = 50000,
        *,
        class_labels: ClassLabels | None = None,
        steps: int | None = 256,
        update_every: int = 50,
        root: str | os.PathLike[str] | None = None,
        seed: int | None = None,
        shard: Shard | None = None,
        npz: bool = False,
        class_names: ClassNames | None = None,
        progress: bool | None = None,
    ):
        self.model = check_model(model)
        params = SamplingParams(temperature, top_k, top_p)
        params.check_vocabulary(model.n_embed)
        self.options = FastOptions(
            params, batch_size, num_samples, steps, update_every, root, seed, npz, progress
        )
        self.shard = check_shard(shard)
        labels = _labels(model, class_labels, class_names)
        self.schedule = Schedule(labels, int(num_samples), int(batch_size))
        model.eval()

    def __call__(
        self, dim_z: int | None = None, h: int = 16, w: int = 16, name: str | None = None
    ) -> FastResult:
        """Draw this shard's pictures, or what is missing of them.

        Args:
            dim_z: Length of a code, as the original asks for; ``None`` takes the model's.
            h: Rows of the latent; pictures are f times as many pixels high.
            w: Columns of the latent. A latent larger than the model's window (16x16) is drawn
                with the sliding window.
            name: Beginning of the files' names.

        Raises:
            ValueError: The sizes do not fit the model or each other, the pictures would not fit
                into memory, or the folder holds a run with other settings (they are named).
            RuntimeError: Another process is at work on the same shard, or the model has no
                weights.
            OSError: The folder cannot be written, or the disk is full or too small.
        """
        self.check(dim_z, h, w, name)
        drawer, prefix = self._drawer(dim_z, h, w), check_prefix(name)
        if self.options.root is None:
            return self._in_memory(drawer)
        run = PictureRun(drawer, self.options, self.schedule, self.shard, prefix)
        return run.finish(Path(self.options.root))

    def check(
        self, dim_z: int | None = None, h: int = 16, w: int = 16, name: str | None = None
    ) -> None:
        """Refuse a call that cannot work, before its weights are fetched: a bare model will do.

        Args and errors are those of the call, but for what only the folder can tell.
        """
        shape = check_latent(self.model, self.options.steps, dim_z, h, w)
        check_prefix(name)
        if self.options.root is None:
            count = sum(batch.count for batch in self.schedule.batches(self.shard))
            check_memory(Drawer(self.model, self.options.params, shape).size, count)

    def batches(self, dim_z: int | None = None, h: int = 16, w: int = 16) -> Iterator[Drawn]:
        """Yield this shard's batches as they are drawn, and write nothing.

        Closing the generator ends the run; memory holds one batch at a time. Arguments and errors
        are those of the call.
        """
        drawer = self._drawer(dim_z, h, w)
        return drawer.draw(self.schedule.batches(self.shard), self.options.settled_seed())

    def steps(
        self, batch: Batch, dim_z: int | None = None, h: int = 16, w: int = 16
    ) -> Iterator[Step]:
        """Draw one batch and yield after every token, for previews and streams.

        Args:
            batch: One of ``schedule.batches()``.
            dim_z: As in the call.
            h: As in the call.
            w: As in the call.

        Returns:
            Iterator of ``Step``; its ``indices`` (batch_size, h, w), which hold the padding too,
            change from step to step, and ``decode`` makes pictures of them. Closing the iterator
            cancels the batch.

        Raises:
            ValueError: The sizes do not fit, or the sampler was given no seed.
        """
        return self._drawer(dim_z, h, w).steps(batch, self._given_seed())

    def decode(self, indices: np.ndarray) -> np.ndarray:
        """Decode tokens int (n, h, w) to RGB uint8 (n, H, W, 3), one by one, as runs do."""
        h, w = indices.shape[1:]
        return Drawer(self.model, self.options.params, (h, w)).decode(indices)

    def sample(self, number: int, label: int | None = None, h: int = 16, w: int = 16) -> np.ndarray:
        """Make one picture of a run again: uint8 (H, W, 3), with the bytes that it had there.

        Its whole batch is drawn, for the last bits of a product depend on the rows beside. A
        sampler with the same seed and ``batch_size=1`` is quicker and gives the same tokens.

        Args:
            number: Number of the picture within its class.
            label: Its class, any that the model has; ``None`` without classes.
            h: Rows of the latent.
            w: Columns of the latent.

        Raises:
            ValueError: There is no such picture, or the sampler was given no seed.
        """
        drawer = self._drawer(None, h, w)
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 0:
            raise ValueError(f"number is {number!r}; expected a whole number >= 0")
        if (label is None) != (self.model.condition == "unconditional"):
            raise ValueError(f"label is {label!r}; it belongs to class-conditional models alone")
        batch = self.schedule.alone(int(number), label)
        for step in drawer.steps(batch, self._given_seed()):
            indices = step.indices
        return np.asarray(drawer.decode(indices[int(number) - batch.first][None])[0])

    def _drawer(self, dim_z: int | None, h: int, w: int) -> Drawer:
        shape = check_latent(self.model, self.options.steps, dim_z, h, w)
        check_filled(self.model)
        return Drawer(self.model, self.options.params, shape)

    def _given_seed(self) -> int:
        if self.options.seed is None:
            raise ValueError("the sampler was given no seed: make it with the seed of the run")
        return int(self.options.seed)

    def _in_memory(self, drawer: Drawer) -> FastResult:
        batches = list(self.schedule.batches(self.shard))
        count = sum(batch.count for batch in batches)
        seed = self.options.settled_seed()
        pictures = np.empty((count, *drawer.size, 3), np.uint8)
        indices = np.empty((count, *drawer.shape), np.int32)
        start = 0
        with picture_bar(count, 0, self.options.progress) as bar:
            for drawn in drawer.draw(batches, seed, bar, self.options.update_every):
                rows = slice(start, start + drawn.batch.count)
                pictures[rows], indices[rows] = drawn.pictures, drawn.indices
                start = rows.stop
        labels = np.repeat([b.label or 0 for b in batches], [b.count for b in batches])
        known = None if self.model.condition == "unconditional" else labels.astype(np.int64)
        return FastResult(count, count, seed, pictures=pictures, indices=indices, labels=known)


def _labels(
    model: Net2NetTransformer, labels: ClassLabels | None, names: ClassNames | None
) -> tuple[int | None, ...]:
    if model.condition == "class":
        known = model.config.class_names or None
        return resolve_labels(labels, model.config.n_classes, known if names is None else names)
    if labels is not None:
        raise ValueError(
            f"class_labels is {labels!r}, but the model is unconditional: leave it out"
        )
    return (None,)
