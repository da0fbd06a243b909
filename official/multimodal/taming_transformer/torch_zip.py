"""The zip container of PyTorch: where its records lie, checked, without unpacking anything.

PyTorch stores its records uncompressed, so a tensor is a range of the file. Anything else that a
zip can express (compression, encryption, several disks, overlapping sizes) is refused.
Source of the format: APPNOTE.TXT, the .ZIP file format specification.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO, Iterator

from .errors import CheckpointError
from .tensor_slots import Place, brief

MAX_RECORDS = 200_000
MAX_DIRECTORY = 32 << 20
_END = struct.Struct("<4s4H2IH")
_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_UNSET = 0xFFFFFFFF


@dataclass(frozen=True)
class Record:
    """One stored record: where its local header lies, its length, and its CRC-32 (0: none)."""

    header: int
    length: int
    crc: int


@dataclass(frozen=True)
class Directory:
    """A zip's records by name, and where the directory itself begins."""

    records: dict[str, Record]
    begin: int

    def place(self, file: BinaryIO, name: str) -> Place:
        """Return where the bytes of a record lie.

        Raises:
            CheckpointError: There is no such record, or it does not lie inside the file.
        """
        if name not in self.records:
            raise CheckpointError(f"has no record {brief(name)}: it is damaged or no checkpoint")
        record = self.records[name]
        if record.header + record.length > self.begin:
            raise CheckpointError(f"has a record {brief(name)} that reaches beyond its own file")
        fields = _unpack(file, _LOCAL, record.header, b"PK\x03\x04")
        begin = record.header + _LOCAL.size + fields[9] + fields[10]
        if begin + record.length > self.begin:
            raise CheckpointError(f"has a record {brief(name)} that reaches beyond its own file")
        return Place(begin, record.length, record.crc or None)


def read_directory(file: BinaryIO, size: int) -> Directory:
    """Read the directory of a zip file of ``size`` bytes.

    Raises:
        CheckpointError: It is damaged, or it uses what PyTorch's files do not.
    """
    count, length, begin, end = _directory_place(file, size)
    if count > MAX_RECORDS or length > MAX_DIRECTORY:
        raise CheckpointError(
            f"states {count} records in a directory of {length} bytes; at most {MAX_RECORDS} in "
            f"{MAX_DIRECTORY} are read"
        )
    if begin + length > end:
        raise CheckpointError("has a zip directory that lies outside of the file: get it again")
    file.seek(begin)
    records: dict[str, Record] = {}
    for name, record in _entries(file.read(length), count):
        if name in records:
            raise CheckpointError(f"has two records named {brief(name)}")
        records[name] = record
    return Directory(records, begin)


def _unpack(file: BinaryIO, layout: struct.Struct, offset: int, magic: bytes) -> tuple[int, ...]:
    file.seek(offset)
    data = file.read(layout.size)
    if len(data) != layout.size or not data.startswith(magic):
        raise CheckpointError(f"has a damaged zip structure at byte {offset}: get it again")
    return layout.unpack(data)


def _directory_place(file: BinaryIO, size: int) -> tuple[int, int, int, int]:
    """Return the number of records and the directory's length, begin and upper bound."""
    tail = min(size, _END.size + 0xFFFF)
    file.seek(size - tail)
    at = file.read(tail).rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > tail:
        raise CheckpointError("is cut off: the directory at the end of it is missing; get it again")
    end = size - tail + at
    _, disk, first, _, count, length, begin, _ = _unpack(file, _END, end, b"PK\x05\x06")
    if disk or first:
        raise CheckpointError("is one of several parts of a zip archive")
    if _UNSET in (length, begin) or count == 0xFFFF:
        end, count, length, begin = _directory_place_64(file, end)
    return count, length, begin, end


def _directory_place_64(file: BinaryIO, end: int) -> tuple[int, int, int, int]:
    locator = end - _LOCATOR.size
    if locator < 0:
        raise CheckpointError("has a damaged zip structure: get it again")
    place = _unpack(file, _LOCATOR, locator, b"PK\x06\x07")[2]
    if place + _END64.size > locator:
        raise CheckpointError("has a zip directory that lies outside of the file: get it again")
    fields = _unpack(file, _END64, place, b"PK\x06\x06")
    return place, fields[7], fields[8], fields[9]


def _entries(data: bytes, count: int) -> Iterator[tuple[str, Record]]:
    position = 0
    for _ in range(count):
        if position + _ENTRY.size > len(data):
            raise CheckpointError("has a zip directory shorter than it states: get it again")
        fields = _ENTRY.unpack_from(data, position)
        if fields[0] != b"PK\x01\x02":
            raise CheckpointError("has a damaged zip directory: get it again")
        begin = position + _ENTRY.size
        position = begin + fields[10] + fields[11] + fields[12]
        if position > len(data):
            raise CheckpointError("has a zip directory shorter than it states: get it again")
        name = data[begin : begin + fields[10]].decode("utf-8", "replace")
        extra = data[begin + fields[10] : begin + fields[10] + fields[11]]
        yield name, _record(name, fields, extra)


def _record(name: str, fields: tuple[int, ...], extra: bytes) -> Record:
    flags, method, packed, length, header = (fields[i] for i in (3, 4, 8, 9, 16))
    if flags & 1 or method != 0:
        raise CheckpointError(
            f"has a record {brief(name)} that is {'encrypted' if flags & 1 else 'compressed'}; "
            "PyTorch stores its records as they are. Unpack the archive first"
        )
    wide = _wide_fields(extra)
    length, packed, header = (
        (wide.pop(0) if wide else value) if value == _UNSET else value
        for value in (length, packed, header)
    )
    if packed != length:
        raise CheckpointError(f"has a record {brief(name)} with two lengths, {length} and {packed}")
    return Record(header, length, fields[7])


def _wide_fields(extra: bytes) -> list[int]:
    """Return the 64-bit numbers of a zip64 extra field."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        body = extra[position + 4 : position + 4 + length]
        if kind == 1:
            return [n for (n,) in struct.iter_unpack("<Q", body[: len(body) // 8 * 8])]
        position += 4 + length
    return []
