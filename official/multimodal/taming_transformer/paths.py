"""Paths that people give: checked before any work, and written whole or not at all."""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Union

PathLike = Union[str, "os.PathLike[str]"]


def existing_file(source: PathLike, expected: str) -> Path:
    """Check that ``source`` is the path of a file.

    Raises:
        FileNotFoundError: There is nothing at that path.
        TypeError: ``source`` is no path.
        ValueError: It is a folder.
    """
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            f"got {type(source).__name__}; expected {expected} as a path, a Pillow image "
            "or a NumPy array"
        )
    path = Path(source)
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder; expected {expected}: name a file in it")
    if not path.is_file():
        origin = "" if path.is_absolute() else f", which is taken from {str(Path.cwd())!r}"
        raise FileNotFoundError(
            f"{str(path)!r} does not exist; expected {expected}: check the path{origin}"
        )
    return path


@contextmanager
def replacing(path: PathLike) -> Iterator[Path]:
    """Give a temporary file in ``path``'s folder that replaces ``path`` if the block succeeds.

    When the block raises, the temporary file is removed and what stood at ``path`` stays.

    Raises:
        FileNotFoundError: The folder of ``path`` does not exist.
        ValueError: ``path`` is a folder.
    """
    target = check_target(path)
    temporary = target.with_name(f".{uuid.uuid4().hex}{target.suffix}")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        if temporary.exists():
            temporary.unlink()


def check_target(path: PathLike) -> Path:
    """Check that a file could be written at ``path``; raises as :func:`replacing` does."""
    target = Path(path)
    if target.is_dir():
        raise ValueError(f"{str(target)!r} is a folder; expected the name of the file to write")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"the folder {str(target.parent)!r} of {target.name!r} does not exist: create it first"
        )
    return target


def one_line(error: BaseException) -> str:
    """Return an exception's own words on one line."""
    return " ".join(str(error).split()) or type(error).__name__
