"""Where the tensors of a file lie, checked against what the file has room for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Mapping

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
class Place:
    """A range of bytes in a file, with its CRC-32 where one is stated."""

    begin: int
    length: int
    crc: int | None = None


@dataclass(frozen=True)
class Slot:
    """Where one tensor lies: absolute ``offset`` of its first element, ``strides`` in elements.

    ``strides`` is ``None`` for elements in C order without gaps; ``crc`` is the CRC-32 of such
    elements where the file states one.
    """

    info: TensorInfo
    offset: int
    strides: tuple[int, ...] | None = None
    crc: int | None = None

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
