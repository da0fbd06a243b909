"""A file of named tensors whose bytes lie at known offsets: reading, widening, bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import BinaryIO, Mapping

import numpy as np

from .errors import CheckpointError

# Name of a dtype -> how its elements lie in the file. bfloat16 is the upper half of a float32.
STORED_DTYPES: Mapping[str, np.dtype] = MappingProxyType(
    {
        "float64": np.dtype("<f8"),
        "float32": np.dtype("<f4"),
        "float16": np.dtype("<f2"),
        "bfloat16": np.dtype("<u2"),
        "int64": np.dtype("<i8"),
        "int32": np.dtype("<i4"),
        "int16": np.dtype("<i2"),
        "int8": np.dtype("i1"),
        "uint64": np.dtype("<u8"),
        "uint32": np.dtype("<u4"),
        "uint16": np.dtype("<u2"),
        "uint8": np.dtype("u1"),
        "bool": np.dtype("u1"),
    }
)
MAX_RANK = 32  # numpy's
MAX_REPEATED = 1 << 16  # bytes of a tensor that is larger than its storage
CHUNK = 1 << 20  # elements converted at a time


@dataclass(frozen=True)
class TensorInfo:
    """What a file says of one tensor: its shape and dtype (numpy's name, or ``bfloat16``)."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of one element as it is stored."""
        return STORED_DTYPES[self.dtype].itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of the elements as they are stored."""
        return self.size * self.itemsize


@dataclass(frozen=True)
class Slot:
    """Where one tensor lies: absolute ``offset`` of its first element, ``strides`` in elements.

    ``strides`` is ``None`` for elements in C order without gaps.
    """

    info: TensorInfo
    offset: int
    strides: tuple[int, ...] | None = None

    @property
    def span(self) -> int:
        """Elements from the first to the last one that the tensor touches."""
        if self.strides is None or self.info.size == 0:
            return self.info.size
        return 1 + sum((n - 1) * step for n, step in zip(self.info.shape, self.strides))


@dataclass(frozen=True)
class Index:
    """All that opening a file finds out, without reading any tensor."""

    format: str
    slots: Mapping[str, Slot]
    metadata: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()


def brief(value: object, limit: int = 100) -> str:
    """Return ``value`` as one short line, quoted, for messages about untrusted names."""
    text = repr(value[: limit + 1]) if isinstance(value, str) else str(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides, in elements, of an array of this shape in C order."""
    steps = [1]
    for length in reversed(shape[1:]):
        steps.append(steps[-1] * length)
    return tuple(reversed(steps))[: len(shape)]


def make_slot(
    name: str, info: TensorInfo, offset: int, *, room: int, strides: tuple[int, ...] | None = None
) -> Slot:
    """Return a checked slot.

    Args:
        name: The tensor's name, for messages.
        info: Shape and dtype as the file states them.
        offset: Absolute position of the first element, bytes.
        room: Bytes from ``offset`` to the end of what the tensor may use.
        strides: In elements, or ``None`` for C order.

    Raises:
        CheckpointError: A shape or stride is no size, or the tensor does not fit its room.
    """
    numbers = (*info.shape, *(strides or ()), offset)
    if any(type(n) is not int or n < 0 for n in numbers):
        raise CheckpointError(
            f"tensor {brief(name)} has a shape, stride or offset below 0 or no int"
        )
    if len(info.shape) > MAX_RANK or (strides is not None and len(strides) != len(info.shape)):
        raise CheckpointError(f"tensor {brief(name)} has {len(info.shape)} axes and other strides")
    if strides is not None and _same_order(info.shape, strides):
        strides = None
    slot = Slot(info, offset, strides)
    # A stride of 0 repeats elements: a few bytes could ask for any amount of memory.
    if slot.span * info.itemsize > room or info.nbytes > max(room, MAX_REPEATED):
        raise CheckpointError(
            f"tensor {brief(name)} {info.dtype}{brief(info.shape)} needs {info.nbytes} bytes, "
            f"but the file holds {max(room, 0)} for it"
        )
    return slot


def _same_order(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Tell whether ``strides`` are C order; the stride of an axis of length 1 means nothing."""
    wanted = contiguous_strides(shape)
    return 0 in shape or all(n == 1 or s == w for n, s, w in zip(shape, strides, wanted))


class TensorFile:
    """An open checkpoint: names, shapes and dtypes at once, the tensors one at a time.

    Use it as a context manager. Nothing is mapped: a read takes memory for that tensor alone.

    Attributes:
        path: The file.
        format: ``"safetensors"``, ``"torch"``, ``"torch-legacy"`` or ``"megengine"``.
        tensors: Flat name -> shape and dtype, in file order.
        metadata: Text that the file carries beside its tensors.
        skipped: Top-level entries that are no tensors, for reports.
    """

    def __init__(self, path: Path, file: BinaryIO, index: Index) -> None:
        """Take over the open ``file``, which is closed on exit."""
        self.path = path
        self.format = index.format
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(
            {name: slot.info for name, slot in index.slots.items()}
        )
        self.metadata = MappingProxyType(dict(index.metadata))
        self.skipped = index.skipped
        self._slots = index.slots
        self._file = file

    def __enter__(self) -> TensorFile:
        """Return the file itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; reads fail from then on."""
        self._file.close()

    def read(self, name: str, dtype: str | None = None) -> np.ndarray:
        """Read one tensor.

        Args:
            name: One of ``tensors``.
            dtype: Numpy dtype to widen to (``"float32"``), or ``None`` for the stored one.
                A conversion goes piece by piece, without a second copy of the tensor.

        Returns:
            A C-contiguous, writable array with its own memory. bfloat16 comes as float32.

        Raises:
            CheckpointError: No such tensor, or the file became shorter since it was opened.
        """
        info = self._slot(name).info
        wanted = dtype or ("float32" if info.dtype == "bfloat16" else info.dtype)
        out = np.empty(info.shape, wanted)
        self.read_into(name, out)
        return out

    def read_into(self, name: str, out: np.ndarray) -> None:
        """Read one tensor into ``out``, C-contiguous and of its shape, converting the dtype.

        Raises:
            ValueError: ``out`` has another shape or is not C-contiguous.
            CheckpointError: No such tensor, or the file became shorter since it was opened.
        """
        slot = self._slot(name)
        if out.shape != slot.info.shape or not out.flags.c_contiguous:
            raise ValueError(
                f"tensor {name!r} has shape {slot.info.shape}; give a C-contiguous array of it, "
                f"not one of shape {out.shape}"
            )
        flat = out.reshape(-1)
        stored = STORED_DTYPES[slot.info.dtype]
        if slot.strides is not None:
            raw = self._fill(name, slot.offset, np.empty(slot.span, stored))
            steps = tuple(s * stored.itemsize for s in slot.strides)
            view = np.lib.stride_tricks.as_strided(raw, slot.info.shape, steps, writeable=False)
            out[...] = _values(np.ascontiguousarray(view).reshape(-1), slot.info.dtype).reshape(
                out.shape
            )
        elif stored == out.dtype and slot.info.dtype != "bfloat16":
            self._fill(name, slot.offset, flat)
        else:
            for start in range(0, flat.size, CHUNK):
                piece = np.empty(min(CHUNK, flat.size - start), stored)
                self._fill(name, slot.offset + start * stored.itemsize, piece)
                flat[start : start + piece.size] = _values(piece, slot.info.dtype)

    def _slot(self, name: str) -> Slot:
        if name not in self._slots:
            raise CheckpointError(f"{self.path} holds no tensor {name!r}")
        return self._slots[name]

    def _fill(self, name: str, offset: int, flat: np.ndarray) -> np.ndarray:
        """Fill the 1-D array from ``offset`` on and return it."""
        self._file.seek(offset)
        view = memoryview(flat.view(np.uint8))
        done = 0
        while done < len(view):
            count = self._file.readinto(view[done:])  # type: ignore[attr-defined]
            if not count:
                raise CheckpointError(f"{self.path} ends inside tensor {name!r}: get it again")
            done += count
        return flat


def _values(raw: np.ndarray, dtype: str) -> np.ndarray:
    """Return stored elements as numbers: bfloat16 as float32, bool bytes as truth values."""
    if dtype == "bfloat16":
        wide = raw.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    return raw != 0 if dtype == "bool" else raw
