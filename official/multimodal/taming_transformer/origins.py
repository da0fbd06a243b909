"""The places where a model's weights may be, in the order of looking: nothing is read here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence

from .partial import shown
from .sources import Source

HAND_SUFFIXES = (".ckpt", ".pkl", ".pth", ".pt", ".bin")
"""Endings of checkpoints that are looked for under a model's name, besides ``.safetensors``."""

# What many hosts call any checkpoint: says nothing of the model in it.
_ANY_MODEL = ("last.ckpt", "model.ckpt", "pytorch_model.bin")


@dataclass(frozen=True)
class Origin:
    """Files that make a model together: each a path, or None where its source's address serves."""

    files: tuple[tuple[Path | None, Source], ...]

    @property
    def label(self) -> str:
        """What messages call it."""
        return " + ".join(str(path) if path else shown(source.url) for path, source in self.files)

    @property
    def remote(self) -> bool:
        """Whether a server must be asked."""
        return any(path is None for path, _ in self.files)


def published(sources: Sequence[Source]) -> Iterator[Origin]:
    """Yield the published sources."""
    for source in sources:
        yield Origin(tuple((None, file) for file in source.files))


def by_hand(name: str, sources: Sequence[Source], folder: Path) -> Iterator[Origin]:
    """Yield the checkpoints of a model that are in a folder, under its or their own names."""
    seen = set()
    for files in _known_names(name, sources):
        paths = tuple(folder / file_name for file_name, _ in files)
        if paths not in seen and all(path.is_file() for path in paths):
            seen.add(paths)
            yield Origin(tuple(zip(paths, (source for _, source in files))))


def mirrored(name: str, sources: Sequence[Source], mirror: str) -> Iterator[Origin]:
    """Yield where a mirror may have a model: in a folder, or behind an address ``http(s)://``."""
    if not mirror.lower().startswith(("http://", "https://")):
        folder = Path(mirror).expanduser()
        own = folder / f"{name}.safetensors"
        if own.is_file():
            yield Origin(((own, Source("")),))
        yield from by_hand(name, sources, folder)
        return
    base = mirror.rstrip("/")
    yield Origin(((None, Source(f"{base}/{name}.safetensors")),))
    for source in sources:
        if _is_telling(source):
            moved = (_moved(file, f"{base}/{file.file_name}") for file in source.files)
            yield Origin(tuple((None, file) for file in moved))


def names_by_hand(name: str, sources: Sequence[Source]) -> list[str]:
    """Return the names under which the cache folder takes a checkpoint that is put there.

    The names of a model that is published as a set of files are joined by `` + ``.
    """
    known = [" + ".join(file for file, _ in files) for files in _known_names(name, sources)]
    return list(dict.fromkeys([f"{name}.safetensors", *known]))


def _known_names(name: str, sources: Sequence[Source]) -> Iterator[list[tuple[str, Source]]]:
    for suffix in HAND_SUFFIXES:
        yield [(f"{name}{suffix}", Source(""))]
    for source in sources:
        if _is_telling(source):
            yield [(file.file_name, file) for file in source.files]


def _is_telling(source: Source) -> bool:
    """Tell whether the names of a source's files say which model they are."""
    return all(file.file_name and file.file_name not in _ANY_MODEL for file in source.files)


def _moved(source: Source, url: str) -> Source:
    """Return a copy of a source at a mirror; what its first host asked for does not matter."""
    return Source(
        url, source.sha256, source.size, source.member, prefix=source.prefix, part=source.part
    )
