"""safetensors files: a strict header reader and a streaming, deterministic writer.

Source of the format: https://huggingface.co/docs/safetensors (8 bytes of header length, a JSON
header, then the tensors without gaps).
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import struct
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator, Mapping, NoReturn

import numpy as np

from .errors import CheckpointError
from .tensor_slots import MAX_RANK, STORED_DTYPES, Index, TensorInfo, brief, make_slot

# Far above what a real model needs (a thousand tensors take 100 KB); parsing costs memory.
MAX_HEADER = 8 << 20
CODES: Mapping[str, str] = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
_NAMES = {dtype: code for code, dtype in CODES.items() if dtype != "bfloat16"}


def read_safetensors_index(file: BinaryIO, size: int) -> Index:
    """Read and check the header of a safetensors file of ``size`` bytes.

    Raises:
        CheckpointError: The header is not valid, or it does not describe exactly this file.
    """
    file.seek(0)
    start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
    if length > size - 8:
        raise CheckpointError(f"states a header of {length} bytes, but has {size} in all")
    if length > MAX_HEADER:
        raise CheckpointError(f"states a header of {length} bytes; at most {MAX_HEADER} are read")
    header = _parse(file.read(length))
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CheckpointError("has a header whose __metadata__ is no map of texts")
    base = 8 + length
    entries = sorted((_entry(name, row) for name, row in header.items()), key=lambda e: e[2:])
    slots, position = {}, 0
    for name, info, begin, end in entries:
        if begin != position or end - begin != info.nbytes or base + end > size:
            raise CheckpointError(
                f"tensor {brief(name)} {info.dtype}{info.shape} cannot lie at bytes "
                f"{begin} to {end}"
            )
        slots[name] = make_slot(name, info, base + begin, room=end - begin)
        position = end
    if base + position != size:
        raise CheckpointError(f"describes {base + position} bytes, but has {size}")
    return Index("safetensors", slots, metadata)


def _parse(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_int=_small_int,
            parse_float=_refuse,
            parse_constant=_refuse,
        )
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"has an unreadable header: {str(error)[:120]}") from None
    if not isinstance(header, dict):
        raise CheckpointError("has a header that is no map")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name occurs twice")
    return table


def _small_int(text: str) -> int:
    if len(text) > 19:
        _refuse(text)
    return int(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text[:30]} is no size")


def _entry(name: str, row: Any) -> tuple[str, TensorInfo, int, int]:
    """Return name, info, first byte and end of one row of the header."""
    if not isinstance(row, dict) or set(row) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(
            f"tensor {brief(name)} is not described by dtype, shape and data_offsets"
        )
    code, shape, offsets = row["dtype"], row["shape"], row["data_offsets"]
    if not isinstance(code, str) or code not in CODES:
        raise CheckpointError(
            f"tensor {brief(name)} has dtype {str(code)[:30]}, not {'|'.join(CODES)}"
        )
    if not (_sizes(shape) and _sizes(offsets) and len(offsets) == 2):
        raise CheckpointError(f"tensor {brief(name)} has a shape or data_offsets that are no sizes")
    return name, TensorInfo(tuple(shape), CODES[code]), offsets[0], offsets[1]


def _sizes(value: Any) -> bool:
    if not isinstance(value, list) or len(value) > MAX_RANK:
        return False
    return all(type(n) is int and n >= 0 for n in value)


def write_safetensors(
    path: str | Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> str:
    """Write arrays to a safetensors file and return the file's SHA-256 (hex).

    The same tensors give the same bytes. Any memory layout is accepted and written in C order.

    Args:
        path: Where to write; an existing file is replaced only when all is written.
        tensors: Name -> array of a float, int, uint or bool dtype.
        metadata: Texts for the header, or ``None``.

    Raises:
        TypeError: An array has a dtype that the format does not know.
    """
    infos = {name: TensorInfo(a.shape, a.dtype.name) for name, a in tensors.items()}
    return write_stream(path, infos, tensors.__getitem__, metadata)


def write_stream(
    path: str | Path,
    infos: Mapping[str, TensorInfo],
    read: Callable[[str], np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> str:
    """Write a safetensors file tensor by tensor and return its SHA-256 (hex).

    ``read(name)`` is called once for every name, in the order of the file, and must return an
    array of the shape and dtype that ``infos`` states; only one of them is held at a time.

    Raises:
        TypeError: A dtype that the format does not know.
        ValueError: ``read`` returned another shape or dtype.
    """
    unknown = [f"{n} ({i.dtype})" for n, i in infos.items() if i.dtype not in _NAMES]
    if unknown:
        raise TypeError(f"safetensors cannot hold {', '.join(unknown[:3])}; use {list(_NAMES)}")
    path = Path(path)
    # The order of the safetensors package: wide elements first, so that all stay aligned.
    order = sorted(infos, key=lambda n: (-STORED_DTYPES[infos[n].dtype].itemsize, n))
    digest = hashlib.sha256()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            for piece in _pieces(order, infos, read, metadata):
                file.write(piece)
                digest.update(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if temporary.exists():
            temporary.unlink()
        raise
    return digest.hexdigest()


def _pieces(
    order: list[str],
    infos: Mapping[str, TensorInfo],
    read: Callable[[str], np.ndarray],
    metadata: Mapping[str, str] | None,
) -> Iterator[bytes | memoryview]:
    """Yield the header and then every tensor's bytes."""
    header: dict[str, Any] = {}
    if metadata:
        header["__metadata__"] = dict(sorted(metadata.items()))
    position = 0
    for name in order:
        info = infos[name]
        ends = [position, position + info.nbytes]
        header[name] = {
            "dtype": _NAMES[info.dtype],
            "shape": list(info.shape),
            "data_offsets": ends,
        }
        position = ends[1]
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    yield struct.pack("<Q", len(text)) + text
    for name in order:
        array = np.asarray(read(name))
        if array.shape != infos[name].shape or array.dtype.name != infos[name].dtype:
            raise ValueError(
                f"tensor {name!r} came as {array.dtype}{array.shape}, announced was "
                f"{infos[name].dtype}{infos[name].shape}"
            )
        little = array.dtype.newbyteorder("<")
        yield np.ascontiguousarray(array, little).reshape(-1).view(np.uint8).data
