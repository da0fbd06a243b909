"""Files that two processes may want at once: locks, free space, hashes, whole replacement."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Iterator, Mapping

from .errors import DownloadError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

logger = logging.getLogger(__name__)

RESERVE = 256 * 1024 * 1024
"""Bytes that are left free on a disk whatever is asked for."""

LOCK_WAIT = 6 * 3600.0
"""Seconds to wait for another process before giving up: a large file over a slow line."""

_CHUNK = 1 << 20
_BUSY = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


def human(size: float) -> str:
    """Write a number of bytes for people, in decimal units as disks and servers do."""
    for scale, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{int(size)} B"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, reading it in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def free_space(path: Path) -> int:
    """Return the free bytes of the disk that holds `path`, which need not exist yet."""
    folder = next(p for p in (path, *path.absolute().parents) if p.is_dir())
    return shutil.disk_usage(folder).free


def require_space(path: Path, needed: int) -> None:
    """Check that `needed` bytes fit beside `path` and leave `RESERVE` bytes free.

    Raises:
        DownloadError: they do not fit.
    """
    free = free_space(path)
    if needed + RESERVE > free:
        raise DownloadError(
            f"not enough room for {path}: {human(needed)} and a reserve of {human(RESERVE)} are "
            f"needed, {human(free)} are free; free some, or choose another disk by TAMING_CACHE"
        )


def remove(*paths: Path) -> None:
    """Remove the files that exist among `paths`."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # gone is what was asked for
            path.unlink()


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Replace `path` by `data` as JSON, whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        remove(temporary)


def read_json(path: Path) -> dict[str, Any]:
    """Read the JSON object in `path`; an absent or unreadable one is an empty one.

    Only what this package wrote itself is read so: losing it costs a new start, nothing more.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


@contextlib.contextmanager
def locked(path: Path, *, wait: float = LOCK_WAIT, purpose: str = "") -> Iterator[None]:
    """Hold the lock file `path` against other processes and threads; it is removed afterwards.

    The operating system drops the lock of a process that dies, so none is ever stale. A wait
    is announced once in the log.

    Args:
        path: The lock file; its folder must exist.
        wait: Longest wait in seconds.
        purpose: What the lock guards, for the messages.

    Raises:
        DownloadError: another process held the lock for longer than `wait`.
    """
    handle = _acquire(path, wait, purpose or path.name)
    try:
        yield
    finally:
        if sys.platform == "win32":
            os.close(handle)
            with contextlib.suppress(OSError):  # another process has it open: it will remove it
                path.unlink()
        else:
            remove(path)  # while it is still held, so that nobody locks a removed file unseen
            os.close(handle)


def _acquire(path: Path, wait: float, purpose: str) -> int:
    deadline = time.monotonic() + wait
    announced = False
    while True:
        handle = _try_lock(path)
        if handle is not None:
            return handle
        if time.monotonic() >= deadline:
            raise DownloadError(
                f"another process has been busy with {purpose} for more than {wait:.0f} s "
                f"({path}); wait for it or end it, then try again"
            )
        if not announced:
            logger.warning("another process is busy with %s: waiting for it", purpose)
            announced = True
        time.sleep(0.1)


def _try_lock(path: Path) -> int | None:
    """Return an open, locked descriptor of `path`, or None where somebody else holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if sys.platform == "win32":
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_still(handle, path):  # its holder removed it between open and lock
                os.close(handle)
                return None
    except OSError as error:
        os.close(handle)
        if error.errno not in _BUSY:
            raise
        return None
    return handle


def _is_still(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
