"""Take one checkpoint out of a ``.zip`` that a host wraps around it."""

from __future__ import annotations

import struct
import zipfile
import zlib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from .errors import CheckpointError
from .files import human, remove, require_space

MAX_DIRECTORY = 4 << 20
"""Bytes of a zip's table of contents: tens of thousands of files, far above a release's few."""

_CHUNK = 1 << 20
_END = struct.Struct("<4s4H2IH")


def find_member(archive: Path, pattern: str) -> str | None:
    """Return the name of the one file in a zip that fits `pattern`.

    Returns:
        ``None`` if `archive` is no zip or holds no such file: then it may be the checkpoint
        itself, as PyTorch's own format is a zip too.

    Raises:
        CheckpointError: several files fit, or the table of contents is damaged or too large.
    """
    if not zipfile.is_zipfile(archive):
        return None
    _check_directory(archive)
    try:
        with zipfile.ZipFile(archive) as opened:
            names = [n for n in opened.namelist() if fnmatchcase(n, pattern)]
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise CheckpointError(f"{archive} is a damaged zip ({error}); get it again") from error
    if len(names) > 1:
        raise CheckpointError(f"{archive} holds {len(names)} files {pattern}; expected one")
    return names[0] if names else None


def extract_member(archive: Path, member: str, target: Path) -> None:
    """Write one file of a zip to `target`, whole or not at all.

    Raises:
        DownloadError: the member does not fit on the disk.
        CheckpointError: it is damaged, encrypted or shorter than stated.
    """
    part = target.with_name(target.name + ".part")
    try:
        with zipfile.ZipFile(archive) as opened:
            stated = opened.getinfo(member).file_size
            require_space(target, stated)
            with opened.open(member) as source, part.open("wb") as file:
                _copy(source, file, stated)
        part.replace(target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(f"{member} in {archive} cannot be unpacked ({error})") from error
    finally:
        remove(part)


def _copy(source: IO[bytes], target: IO[bytes], stated: int) -> None:
    """Copy the stated number of bytes in pieces; with the last zipfile compares the checksum."""
    left = stated
    while left:
        chunk = source.read(min(left, _CHUNK))
        if not chunk:
            raise EOFError(f"{human(left)} of {human(stated)} are missing")
        target.write(chunk)
        left -= len(chunk)


def _check_directory(archive: Path) -> None:
    """Look at the stated length of the table of contents before zipfile reads all of it."""
    with archive.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _END.size - 0xFFFF))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    length = _END.unpack_from(tail, at)[5] if 0 <= at <= len(tail) - _END.size else MAX_DIRECTORY
    if length > MAX_DIRECTORY:
        raise CheckpointError(
            f"{archive} states a table of contents of {human(length)}; "
            f"at most {human(MAX_DIRECTORY)} are read"
        )
