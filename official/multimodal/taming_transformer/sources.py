"""Where a checkpoint can be had: data only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Mapping
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Source:
    """One place that serves a checkpoint: a file, or a set of files that make it together.

    Attributes:
        url: Address of the file.
        sha256: Hex digest of the checkpoint, or ``None`` where nobody has published one.
        size: Bytes of the checkpoint, or ``None`` where unknown.
        member: The checkpoint's path inside, for a host that may serve it in a ``.zip``: a
            pattern with ``*`` that fits one file only. ``""`` where it is served bare.
        prefix: Put before the file's keys (a file that holds one half of a model), or ``""``.
        part: Keys with this leading module are taken and the module's name is removed
            (a first stage out of a transformer's checkpoint), or ``""``.
        note: One line for people: what is known of this copy.
        headers: Extra HTTP headers that the host asks for.
        rest: The further files of a set, each with its own `prefix`; the keys of all are
            put together. All must be had, or the source has failed.
    """

    url: str
    sha256: str | None = None
    size: int | None = None
    member: str = ""
    prefix: str = ""
    part: str = ""
    note: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    rest: tuple[Source, ...] = ()

    @property
    def files(self) -> tuple[Source, ...]:
        """Every file of the set, this one first."""
        return (self, *self.rest)

    @property
    def file_name(self) -> str:
        """The name that the host gives the file, or ``""`` where its address has none."""
        address = urlsplit(self.url)
        shared = parse_qs(address.query).get("p", [address.path])  # a file of a shared folder
        name = PurePosixPath(shared[0]).name
        return name if PurePosixPath(name).suffix else ""
