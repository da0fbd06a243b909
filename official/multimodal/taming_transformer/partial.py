"""A file that is being fetched: what there is of it, and how much of that can be continued."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping, Optional
from urllib.parse import urlsplit, urlunsplit

from .errors import DownloadError
from .files import read_json, remove

Progress = Callable[[int, Optional[int]], None]
"""Called with the bytes that are there and the bytes of the whole file, None where unknown."""


class DroppedError(Exception):
    """This attempt failed, another may succeed.

    Attributes:
        pause: Seconds that the server asks us to wait.
        reached: Whether a server answered at all.
    """

    def __init__(self, reason: str, *, pause: float = 0.0, reached: bool = True) -> None:
        super().__init__(reason)
        self.pause = pause
        self.reached = reached


@dataclass(frozen=True)
class Job:
    """One file to fetch: `part` is what there is of it, `note` says of which file that is."""

    url: str
    target: Path
    sha256: str | None
    size: int | None
    headers: Mapping[str, str]
    progress: Progress
    timeout: tuple[float, float]

    @property
    def part(self) -> Path:
        """The bytes so far."""
        return self.target.with_name(self.target.name + ".part")

    @property
    def note(self) -> Path:
        """Address, length and validators of the file that `part` is a piece of."""
        return self.target.with_name(self.target.name + ".part.json")

    def held(self) -> int:
        """Count the bytes so far."""
        return self.part.stat().st_size if self.part.exists() else 0

    def discard(self) -> None:
        """Forget what there is."""
        remove(self.part, self.note)

    def error(self, reason: str) -> DownloadError:
        """Return the error to raise for this file."""
        return DownloadError(f"{shown(self.url)}: {reason}")


def shown(url: str) -> str:
    """Return an address as messages may show it: without a user's name and password."""
    address = urlsplit(url)
    return urlunsplit(address._replace(netloc=address.netloc.rpartition("@")[2]))


def resumable(job: Job) -> tuple[int, dict[str, Any]]:
    """Return the bytes that can be continued and what is known of their file.

    A piece is worth something if it is of this address and if a validator of the server, or
    the digest at the end, will show whether the rest belongs to it; any other is discarded.
    """
    held, known = job.held(), read_json(job.note)
    total = known.get("total")
    provable = held == total or known.get("validator") or job.sha256
    if held and known.get("url") == job.url and provable and held <= (total or held):
        return held, known
    job.discard()
    return 0, {}
