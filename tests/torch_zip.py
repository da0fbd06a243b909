"""Write checkpoints byte by byte, honest and lying ones, without PyTorch.

The pickles are put together from instructions of the ``pickletools`` documentation, the zip files
by the standard library's ``zipfile``, so that nothing of the reader is used to test the reader.
"""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any, Mapping, Sequence

import numpy as np

STORAGE = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
MAGIC = 0x1950A86A20F9469CFC6C


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def group(*values: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(values) + b"t"


def numbers(values: Sequence[int]) -> bytes:
    return group(*[number(v) for v in values])


def mapping(entries: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(k) + v for k, v in entries.items()) + b"u"


def ordered(entries: Mapping[str, bytes]) -> bytes:
    body = b"".join(text(k) + v for k, v in entries.items())
    return name("collections", "OrderedDict") + b")R(" + body + b"u"


def call(module: str, attribute: str, *arguments: bytes) -> bytes:
    return name(module, attribute) + group(*arguments) + b"R"


def program(value: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + value + b"."


def storage(key: str, kind: str, count: int, *more: bytes) -> bytes:
    """The persistent id of a storage, turned into it."""
    return (
        group(text("storage"), name("torch", kind), text(key), text("cpu"), number(count), *more)
        + b"Q"
    )


def tensor(
    stored: bytes, shape: Sequence[int], strides: Sequence[int] | None = None, offset: int = 0
) -> bytes:
    if strides is None:
        strides = [int(np.prod(shape[i + 1 :])) for i in range(len(shape))]
    return call(
        "torch._utils",
        "_rebuild_tensor_v2",
        stored,
        number(offset),
        numbers(shape),
        numbers(strides),
        b"\x89",
        name("collections", "OrderedDict") + b")R",
    )


def archive(
    pickle: bytes,
    records: Mapping[str, bytes],
    *,
    root: str = "archive",
    method: int = zipfile.ZIP_STORED,
    extra: Mapping[str, bytes] | None = None,
) -> bytes:
    """A zip file as PyTorch writes it: one folder with data.pkl and data/<key>."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        file.writestr(f"{root}/data.pkl", pickle)
        for key, data in records.items():
            file.writestr(f"{root}/data/{key}", data)
        for path, data in (extra or {"version": b"3\n"}).items():
            file.writestr(f"{root}/{path}", data)
    return buffer.getvalue()


def as_zip64(data: bytes) -> bytes:
    """The same archive with 64-bit fields throughout its directory, as large files have."""
    end = data.rfind(b"PK\x05\x06")
    count, _, begin = struct.unpack_from("<H2I", data, end + 10)
    entries, at = b"", begin
    for _ in range(count):
        fields = list(struct.unpack_from("<4s6H3I5H2I", data, at))
        tail = at + 46
        file_name = data[tail : tail + fields[10]]
        at = tail + fields[10] + fields[11] + fields[12]
        wide = struct.pack("<2H3Q", 1, 24, fields[9], fields[8], fields[16])
        fields[8] = fields[9] = fields[16] = 0xFFFFFFFF
        fields[11], fields[12] = len(wide), 0
        entries += struct.pack("<4s6H3I5H2I", *fields) + file_name + wide
    place = begin + len(entries)
    wide_end = struct.pack(
        "<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(entries), begin
    )
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, place, 1)
    short = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    return data[:begin] + entries + wide_end + locator + short


def state_dict(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Tensors as pickle instructions, and their storages' bytes."""
    entries, records = {}, {}
    for index, (key, array) in enumerate(arrays.items()):
        kind = STORAGE[array.dtype.name]
        entries[key] = tensor(storage(str(index), kind, array.size), array.shape)
        records[str(index)] = np.ascontiguousarray(array).tobytes()
    return entries, records


def torch_file(arrays: Mapping[str, np.ndarray], nest: str = "") -> bytes:
    """A state dict in PyTorch's zip format."""
    entries, records = state_dict(arrays)
    value = ordered(entries)
    return archive(program(mapping({nest: value}) if nest else value), records)


def legacy_file(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A state dict as PyTorch wrote it before 1.6."""
    entries = {}
    for index, (key, array) in enumerate(arrays.items()):
        kind = STORAGE[array.dtype.name]
        entries[key] = tensor(storage(str(index), kind, array.size, b"N"), array.shape)
    keys = b"](" + b"".join(text(str(i)) for i in range(len(arrays))) + b"e"
    system = mapping({"protocol_version": number(1001), "little_endian": b"\x88"})
    head = [program(v) for v in (number(MAGIC), number(1001), system, ordered(entries), keys)]
    tail = [struct.pack("<q", a.size) + np.ascontiguousarray(a).tobytes() for a in arrays.values()]
    return b"".join(head + tail)


def safetensors_file(header: Any, data: bytes = b"") -> bytes:
    """A safetensors file with any header: a text, or what json makes one of."""
    import json

    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data
