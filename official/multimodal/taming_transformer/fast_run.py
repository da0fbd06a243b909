"""The folder of a run of the fast sampler: what is missing, and what is packed at the end."""

from __future__ import annotations

import errno
import platform
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Iterator

import megengine
import numpy as np
from PIL import Image

from .fast_draw import Drawer, picture_bar
from .fast_options import FastOptions
from .files import free_space, human, locked, sha256_of
from .manifest import saying_how_to_go_on, weights_sha256
from .npz import write_npz
from .results import png_bytes, sheet
from .runs import Run, Shard, open_run
from .schedule import Schedule

ALGORITHM = 1
"""Raised whenever the same settings would give other tokens: such runs cannot be continued."""

PACK_WAIT = 3600.0
"""Seconds to wait for another shard's process that packs the pictures."""


@dataclass(frozen=True, eq=False)
class FastResult:
    """What a run has made; without ``root`` it shows its first pictures in a notebook.

    Attributes:
        count: Pictures of this shard, all of them made now.
        drawn: Pictures that this call has drawn; the others were there.
        seed: Seed of the run; chosen afresh where none was given.
        folder: Where the files are; ``None`` without ``root``.
        files: The shard's pictures in the folder, in order.
        npz: The packed pictures; ``None`` if not asked for, or if other shards are not done.
        pictures: RGB uint8 (count, H, W, 3) without ``root``, else ``None``.
        indices: Their tokens, int32 (count, h, w), without ``root``.
        labels: Their classes, int64 (count,), without ``root`` and with classes.
    """

    count: int
    drawn: int
    seed: int
    folder: Path | None = None
    files: tuple[Path, ...] = field(default=(), repr=False)
    npz: Path | None = None
    pictures: np.ndarray | None = field(default=None, repr=False)
    indices: np.ndarray | None = field(default=None, repr=False)
    labels: np.ndarray | None = field(default=None, repr=False)

    def _repr_png_(self) -> bytes | None:
        """Return the first pictures as one PNG; nothing where they are in files."""
        if self.pictures is None or not len(self.pictures):
            return None
        return png_bytes(sheet(self.pictures))


@dataclass(frozen=True)
class PictureRun:
    """One call of the fast sampler that writes files.

    Attributes:
        drawer: Draws the pictures.
        options: The sampler's settings.
        schedule: Every picture of the run.
        shard: Part that is made here.
        prefix: Beginning of the files' names.
    """

    drawer: Drawer
    options: FastOptions
    schedule: Schedule
    shard: Shard
    prefix: str

    def finish(self, root: Path) -> FastResult:
        """Make what is missing; errors are those of the sampler's call."""
        with open_run(
            root,
            self._parameters(),
            prefix=self.prefix,
            adopt=("seed",) if self.options.seed is None else (),
            about=self._about(),
            shard=self.shard,
            claims=chain([self._npz_name], self._names()),
        ) as run:
            seed = int(run.parameters["seed"])
            batches = list(self.schedule.batches(self.shard))
            missing = [b for b in batches if not all(map(run.is_whole, b.names(self.prefix)))]
            count, drawn = (sum(b.count for b in part) for part in (batches, missing))
            self._require_space(run, drawn)
            with picture_bar(count, count - drawn, self.options.progress) as bar:
                for done in self.drawer.draw(missing, seed, bar, self.options.update_every):
                    names = done.batch.names(self.prefix)
                    run.write({name: png_bytes(x) for name, x in zip(names, done.pictures)})
            npz = self._pack(run) if self.options.npz else None
        files = tuple(root / name for b in batches for name in b.names(self.prefix))
        return FastResult(count, drawn, seed, root, files, npz)

    def _parameters(self) -> dict[str, Any]:
        params, model = self.drawer.params, self.drawer.model
        labels = self.schedule.labels
        return {
            "sampler": "FastSampler",
            "algorithm": ALGORITHM,
            "model": {**asdict(model.config), "dtype": model.dtype.name},
            "weights_sha256": weights_sha256(model),
            "temperature": float(params.temperature),
            "top_k": None if params.top_k is None else int(params.top_k),
            "top_p": float(params.top_p),
            "batch_size": self.schedule.batch_size,
            "num_samples": self.schedule.num_samples,
            "class_labels": None if labels == (None,) else list(labels),
            "h": self.drawer.shape[0],
            "w": self.drawer.shape[1],
            "name": self.prefix[:-1] or None,
            "seed": self.options.settled_seed(),
        }

    def _about(self) -> dict[str, Any]:
        return {
            "device": self.drawer.model.device,
            "machine": platform.machine(),
            "megengine": megengine.__version__,
            "numpy": np.__version__,
        }

    def _names(self) -> Iterator[str]:
        for batch in self.schedule.batches():
            yield from batch.names(self.prefix)

    @property
    def _npz_name(self) -> str:
        return f"{self.prefix}samples.npz"

    def _require_space(self, run: Run, missing: int) -> None:
        """Refuse to begin what the disk cannot hold: a PNG takes about half its raw bytes."""
        raw = 3 * self.drawer.size[0] * self.drawer.size[1]
        needed = missing * raw // 2
        if self.options.npz and not (run.root / self._npz_name).exists():
            needed += self.schedule.pictures * raw
        free = free_space(run.root)
        if needed > free:
            raise OSError(
                errno.ENOSPC,
                f"{missing} pictures need about {human(needed)} in {str(run.root)!r}, where "
                f"{human(free)} are free: free some, or choose another root",
            )

    def _pack(self, run: Run) -> Path | None:
        """Pack the run if every shard is done; return the file."""
        name = self._npz_name
        path = run.root / name
        with locked(run.root / f"{name}.lock", wait=PACK_WAIT, purpose=name):
            run.reload()  # other shards have gone on since
            if run.is_whole(name):
                return path
            if not all(map(run.is_whole, self._names())):
                return None
            labels = None
            if self.schedule.labels != (None,):
                labels = np.repeat(np.array(self.schedule.labels), self.schedule.num_samples)
            pictures = (_pixels(run.root / picture) for picture in self._names())
            with saying_how_to_go_on(path):
                write_npz(path, pictures, (self.schedule.pictures, *self.drawer.size, 3), labels)
            run.record({name: sha256_of(path)})
        return path


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path, formats=("PNG",)) as picture:
        return np.asarray(picture)
