"""Fetch one file over HTTP: resumed, checked and put in place whole, or not at all."""

from __future__ import annotations

import errno
import logging
import os
import re
import time
from pathlib import Path
from typing import Mapping
from urllib.parse import urlsplit

from .files import human, locked, sha256_of
from .partial import DroppedError, Job, Progress, resumable, shown
from .transfer import fetch

logger = logging.getLogger(__name__)

TIMEOUT = (15.0, 60.0)
"""Seconds to connect, and seconds without enough data after which a line counts as dead."""

RETRIES = 5
"""Attempts in a row, after the first, that may bring next to nothing new."""

_WORTH = 1 << 16  # bytes that make an attempt one that was not in vain

_LONGEST_PAUSE = 30.0


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    headers: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    timeout: tuple[float, float] = TIMEOUT,
    retries: int = RETRIES,
    backoff: float = 1.0,
) -> Path:
    """Fetch `url` into the file `target`.

    The bytes gather in ``<target>.part`` and replace `target` only when they are complete and
    right. What a dropped line or a killed process has left there is continued by the next
    call, where the server can prove that the file is still the same. Two processes that ask
    for one target make one download. A target that is there already is returned after a look
    at its size and digest, as far as these are given; one that differs is fetched anew and is
    replaced only by a good one.

    Args:
        url: An ``http`` or ``https`` address; redirects may not go from https to http.
        target: The file to make; its folder is made too.
        sha256: Expected digest, 64 hexadecimal digits.
        size: Expected bytes.
        headers: Extra request headers.
        progress: Called with the bytes held and the total (None if unknown).
        timeout: Seconds to connect, and seconds for which a line may stall.
        retries: Attempts in a row that may bring next to nothing new before giving up; one, at
            most, where no server can be reached. 0 allows one attempt only.
        backoff: Seconds before the first retry, doubled for each further one, at most 30.

    Returns:
        The path of the complete file: `target`.

    Raises:
        ValueError: `url` is no HTTP(S) address or `sha256` no digest.
        DownloadError: the file cannot be had; one line says why.
    """
    _check_arguments(url, sha256)
    digest = sha256.lower() if sha256 else None
    notify = progress or _silent
    job = Job(url, Path(target), digest, size, dict(headers or {}), notify, timeout)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    lock = job.target.with_name(job.target.name + ".lock")
    with locked(lock, purpose=f"the download of {job.target.name}"):
        if not _is_there(job):
            _persist(job, retries, backoff)
    return job.target


def _silent(done: int, total: int | None) -> None:
    """Report nothing."""


def _check_arguments(url: str, sha256: str | None) -> None:
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError(f"expected an http or https address, got {shown(url)!r}")
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"expected a SHA-256 of 64 hexadecimal digits, got {sha256!r}")


def _is_there(job: Job) -> bool:
    if not job.target.is_file():
        return False
    if job.size is not None and job.target.stat().st_size != job.size:
        return False
    return job.sha256 is None or sha256_of(job.target) == job.sha256


def _persist(job: Job, retries: int, backoff: float) -> None:
    """Try until the file is in place or too many attempts in a row have brought nothing."""
    most, idle = job.held(), 0
    while True:
        try:
            return _attempt(job)
        except DroppedError as drop:
            idle = 0 if job.held() >= most + _WORTH else idle + 1
            most = max(most, job.held())
            if not retries or idle > (retries if drop.reached else 1):
                kept = f"; {human(job.held())} are kept to go on from" if job.held() else ""
                raise job.error(f"{drop}{kept}") from drop
            pause = max(drop.pause, min(_LONGEST_PAUSE, backoff * 2 ** max(idle - 1, 0)))
            logger.info("%s: %s; trying again in %.1f s", shown(job.url), drop, pause)
            time.sleep(pause)


def _attempt(job: Job) -> None:
    """Fetch what is missing, check the whole and put it in place."""
    continued, known = resumable(job)
    if not continued or continued != known.get("total"):
        try:
            continued = fetch(job, continued, known)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            job.discard()
            raise job.error(f"the disk of {job.target} is full; free some space") from error
    if job.sha256 is not None:
        _check_digest(job, job.sha256, continued > 0)
    _sync(job.part)
    job.part.replace(job.target)
    job.discard()


def _check_digest(job: Job, expected: str, continued: bool) -> None:
    found = sha256_of(job.part)
    if found == expected:
        return
    job.discard()
    if continued:  # the piece that was there may have been another file's
        raise DroppedError("the continued file has wrong bytes; starting anew")
    raise job.error(f"wrong bytes: SHA-256 is {found}, expected {expected}")


def _sync(path: Path) -> None:
    """Have the bytes on the disk before the name says that they are complete."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
