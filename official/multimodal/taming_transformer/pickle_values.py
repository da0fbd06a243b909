"""What a pickle is turned into: plain data, places in the file, and inert records."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

from .errors import CheckpointError

MAX_TEXT = 64 << 20  # bytes of text in all
MAX_NAME = 1 << 20
INLINE_BYTES = 64  # shorter byte strings are read, longer ones stay in the file


@dataclass(frozen=True)
class Global:
    """A name that the file refers to; never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        """Return the dotted name."""
        return f"{self.module}.{self.name}"


@dataclass(frozen=True)
class Blob:
    """A byte string of the file: where it lies, and its content where it is short."""

    offset: int
    length: int
    content: bytes | None


@dataclass(eq=False)
class Inert:
    """What the file wanted to be an object: its class, arguments and state, nothing more."""

    kind: Global
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)


class Meaning(Protocol):
    """What the names in a file mean to the format that it belongs to."""

    def check(self, name: Global) -> None:
        """Raise ``CheckpointError`` unless the name is a known, harmless one."""

    def call(self, name: Global, arguments: tuple[Any, ...]) -> Any:
        """Return what the file gets where it asks to call ``name``."""

    def build(self, target: Any, state: Any) -> Any:
        """Return ``target`` with its state set."""

    def persistent(self, key: Any) -> Any:
        """Return what a persistent id stands for."""


class Cursor:
    """A place in a pickle that lies in ``file`` from ``start`` to ``end``."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        """Stand at the start; nothing is read yet."""
        self._file = file
        self.position = start
        self._end = end
        self._text = 0

    def seek(self) -> None:
        """Bring the file to where the cursor stands."""
        self._file.seek(self.position)

    def take(self, count: int) -> bytes:
        """Return the next bytes of the pickle."""
        self._advance(count)
        data = self._file.read(count)
        if len(data) != count:
            raise CheckpointError("ends in the middle of its pickle: get it again")
        return data

    def _advance(self, count: int) -> None:
        if count > self._end - self.position:
            raise CheckpointError(
                f"ends in the middle of its pickle: {count} bytes are announced at byte "
                f"{self.position}, {self._end - self.position} are left; get it again"
            )
        self.position += count

    def number(self, layout: str) -> int:
        """Return the next number, of a ``struct`` layout."""
        return int(struct.unpack(layout, self.take(struct.calcsize(layout)))[0])

    def text(self, length: int) -> str:
        """Return the next ``length`` bytes as text."""
        self._text += length
        if length > MAX_NAME or self._text > MAX_TEXT:
            raise CheckpointError(f"has texts of more than {MAX_NAME} or {MAX_TEXT} bytes in all")
        try:
            return self.take(length).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise CheckpointError(f"has a text at byte {self.position} that is no UTF-8") from None

    def line(self) -> str:
        """Return the bytes up to the next line end as text."""
        name = bytearray()
        while not name.endswith(b"\n"):
            name += self.take(1)
            if len(name) > 1024:
                raise CheckpointError("has a name of more than 1024 bytes")
        return name[:-1].decode("utf-8", "replace")

    def blob(self, length: int) -> Blob:
        """Return the next ``length`` bytes as a place in the file and skip them."""
        offset = self.position
        if length <= INLINE_BYTES:
            return Blob(offset, length, self.take(length))
        self._advance(length)
        self._file.seek(self.position)
        return Blob(offset, length, None)
