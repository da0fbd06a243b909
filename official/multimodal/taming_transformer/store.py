"""The files of one picture: named, guarded, saved half-way, and told what they are.

``{name}.json`` says how a finished picture came about; ``{name}.partial.npz`` holds what is drawn
of one that is not finished. A name without either belongs to somebody else and is left alone.
"""

from __future__ import annotations

import glob
import json
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping

import numpy as np

from .animation import FORMATS
from .errors import DownloadError
from .files import free_space, human, locked, remove
from .manifest import write_whole
from .run_state import Progress, differences, find_progress, partial_path, write_partial

RESERVE = 16 << 20
"""Bytes that a run leaves free on the disk."""

_ENDINGS = ("", "_segmentation", "_depth", "_first_sample", "_reconstruction")
_LONGEST_NAME = 150


def check_name(name: str) -> str:
    """Return a name that files of any system can have.

    Raises:
        TypeError: It is no text.
        ValueError: It is empty or too long, or holds a path separator or a control character.
    """
    if not isinstance(name, str):
        raise TypeError(f"name is {type(name).__name__}; expected text")
    bad = [letter for letter in name if letter in '/\\:*?"<>|' or ord(letter) < 32]
    if bad or not name.strip(". ") or len(name.encode("utf-8")) > _LONGEST_NAME:
        raise ValueError(
            f"name is {name!r}; expected a file's name of at most {_LONGEST_NAME} bytes without "
            "path separators and the like: folders go into root="
        )
    return name


class PictureStore:
    """The files of one named picture in a folder; use it in ``open_store``'s ``with``.

    Attributes:
        root: The folder.
        name: What the files' names begin with.
        record: Everything that is known of the run, as the JSON file will have it.
        progress: What was found of the run.
        written: Files written, in order.
    """

    def __init__(self, root: Path, name: str, record: dict[str, Any], progress: Progress):
        self.root, self.name, self.record, self.progress = root, name, record, progress
        self.written: list[Path] = []

    def path(self, ending: str) -> Path:
        """Return the path of ``{name}{ending}``."""
        return self.root / f"{self.name}{ending}"

    def add(self, path: Path) -> None:
        """Note a file that has been written."""
        if path not in self.written:
            self.written.append(path)

    def save(self, progress: Progress) -> None:
        """Save a run half-way, whole or not at all."""
        write_partial(partial_path(self.root, self.name), self.record, progress)

    def finish(self, progress: Progress) -> None:
        """Write the JSON file and remove what was saved half-way."""
        target = self.path(".json")
        self.add(target)
        data = {
            **self.record,
            "previews": list(progress.shown),
            "files": [path.name for path in self.written],
            "indices": np.asarray(progress.indices).tolist(),
        }
        write_whole(target, (json.dumps(data, indent=1) + "\n").encode())
        remove(partial_path(self.root, self.name))


@contextmanager
def open_store(
    root: Path,
    name: str,
    record: Mapping[str, Any],
    *,
    needed: int,
    inputs: Iterable[Path] = (),
    overwrite: bool = False,
) -> Iterator[PictureStore]:
    """Begin the files of a picture, or go on with those that are there.

    Args:
        root: Folder; made if need be.
        name: What the files' names begin with.
        record: What the picture depends on: ``model``, ``weights_sha256``, ``seed`` (``None``
            takes the seed of the run that is there), ``parameters``, ``inputs``, ``latent``.
        needed: Bytes that the files may take.
        inputs: Files that the run reads, and so must not write.
        overwrite: Begin anew whatever is there.

    Yields:
        The store; its ``record`` has the seed of the run that is there.

    Raises:
        ValueError: There is a run with other settings (the message has the differences), or there
            are files of that name that no run here has made.
        RuntimeError: Another process is at work on the same name.
        OSError: The folder cannot be made or written, or is full.
    """
    _check_folder(root, needed)
    try:
        with locked(root / f".{name}.lock", wait=0):
            found = None if overwrite else find_progress(root, name)
            claims = _claims(root, name)
            _check_inputs(claims, inputs)
            if found is None and not overwrite:
                _check_claims(claims, name)
            settled, progress = _settle(root / f"{name}.json", dict(record), found)
            yield PictureStore(root, name, settled, progress)
    except DownloadError as error:
        raise RuntimeError(
            f"another process is at work on {name!r} in {str(root)!r}: wait for it, or choose "
            "another name"
        ) from error


def _check_folder(root: Path, needed: int) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        raise OSError(
            f"cannot write in the folder {str(root)!r} ({error.strerror}): choose another root"
        ) from error
    free = free_space(root)
    if free < needed + RESERVE:
        raise OSError(
            f"the disk of {str(root)!r} is full: {human(needed + RESERVE)} are needed and "
            f"{human(free)} are free: free some, or choose another root"
        )


def _claims(root: Path, name: str) -> list[Path]:
    """Return the files that stand under names which a run may write."""
    there = [root / f"{name}{ending}.png" for ending in _ENDINGS]
    there += [root / f"{name}_sampling.{ending}" for ending in FORMATS]
    there += root.glob(f"{glob.escape(name)}_sample_*.png")
    there += root.glob(f"{glob.escape(name)}_[0-9][0-9][0-9]*.png")
    return [path for path in there if path.exists()]


def _check_inputs(claims: list[Path], inputs: Iterable[Path]) -> None:
    for given in inputs:
        if any(given.exists() and given.samefile(path) for path in claims):
            raise ValueError(
                f"the run would write over {str(given)!r}, which it reads itself: choose another "
                "root or name"
            )


def _check_claims(claims: list[Path], name: str) -> None:
    """Refuse to write over files that no run here has made."""
    for path in claims:
        raise ValueError(
            f"{str(path)!r} exists and {name + '.json'!r}, which would tell what it is, does "
            "not: choose another root or name, or pass overwrite=True"
        )


def _settle(
    path: Path, record: dict[str, Any], found: tuple[dict[str, Any], Progress] | None
) -> tuple[dict[str, Any], Progress]:
    """Compare with the run that is there and take over its seed if none is given."""
    if found is None:
        return record, Progress()
    begun, progress = found
    if record["seed"] is None:
        record["seed"] = begun.get("seed")
    shown = differences(begun, record)
    if shown:
        raise ValueError(
            f"the run in {str(path)!r} has other settings: {shown}; give the same ones to go on "
            "with it, choose another root or name, or pass overwrite=True"
        )
    shape = (len(record["samples"]), *record["latent"])
    indices = progress.indices
    if indices is not None and (indices.shape != shape or indices.min() < 0):
        raise ValueError(f"the tokens beside {str(path)!r} are damaged: pass overwrite=True")
    return record, progress
