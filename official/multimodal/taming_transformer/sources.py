"""Where a checkpoint can be had: data only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping


@dataclass(frozen=True)
class Source:
    """One place that serves a checkpoint.

    Attributes:
        url: HTTPS address of the file; a ``.zip`` address may name the file inside by ``member``.
        sha256: Hex digest of the served file, or ``None`` where nobody has published one.
        size: Bytes of the served file, or ``None`` where unknown.
        member: Path of the checkpoint inside a ``.zip``, or ``""``.
        prefix: Put before the file's keys (a file that holds one half of a model), or ``""``.
        part: Keys with this leading module are taken and the module's name is removed
            (a first stage out of a transformer's checkpoint), or ``""``.
        note: One line for people: what is known of this copy.
        headers: Extra HTTP headers that the host asks for.
    """

    url: str
    sha256: str | None = None
    size: int | None = None
    member: str = ""
    prefix: str = ""
    part: str = ""
    note: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
