"""An open file of named tensors whose bytes lie at known places: reading and widening."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from threading import Lock
from types import MappingProxyType, TracebackType
from typing import BinaryIO, Mapping

import numpy as np

from .errors import CheckpointError
from .tensor_slots import STORED_DTYPES, Index, Slot, TensorInfo

CHUNK = 1 << 18  # elements converted at a time


class TensorFile:
    """An open checkpoint: names, shapes and dtypes at once, the tensors one at a time.

    Use it as a context manager. Nothing is mapped: a read takes memory for that tensor alone.
    Several threads may read at once.

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
        self._lock = Lock()

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

    def read(self, name: str, dtype: str | None = None, *, verify: bool = False) -> np.ndarray:
        """Read one tensor.

        Args:
            name: One of ``tensors``.
            dtype: Numpy dtype to widen to (``"float32"``), or ``None`` for the stored one.
                A conversion goes piece by piece, without a second copy of the tensor.
            verify: Compare with the checksum that the file states, if it states one.

        Returns:
            A C-contiguous, writable array with its own memory. bfloat16 comes as float32.

        Raises:
            CheckpointError: No such tensor, a wrong checksum, or the file became shorter since
                it was opened.
        """
        info = self._slot(name).info
        wanted = dtype or ("float32" if info.dtype == "bfloat16" else info.dtype)
        out = np.empty(info.shape, wanted)
        self.read_into(name, out, verify=verify)
        return out

    def read_into(self, name: str, out: np.ndarray, *, verify: bool = False) -> None:
        """Read one tensor into ``out``, C-contiguous and of its shape, converting the dtype.

        Raises:
            ValueError: ``out`` has another shape or is not C-contiguous.
            CheckpointError: See ``read``.
        """
        slot = self._slot(name)
        if out.shape != slot.info.shape or not out.flags.c_contiguous:
            raise ValueError(
                f"tensor {name!r} has shape {slot.info.shape}; give a C-contiguous array of it, "
                f"not one of shape {out.shape}"
            )
        if slot.strides is not None:
            raw = self._fill(name, slot.offset, np.empty(slot.span, STORED_DTYPES[slot.info.dtype]))
            out[...] = _values(_in_order(raw, slot), slot.info.dtype).reshape(out.shape)
            return
        check = verify and slot.crc is not None
        crc = self._read_ordered(name, slot, out.reshape(-1), check)
        if check and crc != slot.crc:
            raise CheckpointError(f"{self.path} is damaged in tensor {name!r}: get it again")

    def _read_ordered(self, name: str, slot: Slot, flat: np.ndarray, check: bool) -> int:
        """Read elements that lie in order, a piece at a time; return their CRC-32 if asked."""
        stored = STORED_DTYPES[slot.info.dtype]
        direct = stored == flat.dtype and slot.info.dtype != "bfloat16"
        crc = 0
        for start in range(0, flat.size, CHUNK):
            target = flat[start : start + CHUNK]
            raw = target if direct else np.empty(target.size, stored)
            self._fill(name, slot.offset + start * stored.itemsize, raw)
            if check:
                crc = zlib.crc32(raw.view(np.uint8).data, crc)
            if not direct:
                target[...] = _values(raw, slot.info.dtype)
        return crc

    def _slot(self, name: str) -> Slot:
        if name not in self._slots:
            raise CheckpointError(f"{self.path} holds no tensor {name!r}")
        return self._slots[name]

    def _fill(self, name: str, offset: int, flat: np.ndarray) -> np.ndarray:
        """Fill the 1-D array from ``offset`` on and return it."""
        view = flat.view(np.uint8).data
        done = 0
        while done < len(view):
            count = self._read_at(offset + done, view[done:])
            if not count:
                raise CheckpointError(f"{self.path} ends inside tensor {name!r}: get it again")
            done += count
        return flat

    def _read_at(self, offset: int, view: memoryview) -> int:
        """Read as many bytes as come at once from ``offset`` on; return how many."""
        if hasattr(os, "preadv"):  # neither Windows nor macOS before 11 has it
            return os.preadv(self._file.fileno(), [view], offset)
        with self._lock:  # one place in the file for all threads
            self._file.seek(offset)
            return int(self._file.readinto(view))  # type: ignore[attr-defined]


def _in_order(raw: np.ndarray, slot: Slot) -> np.ndarray:
    """Return the elements of a strided tensor in C order."""
    steps = tuple(step * raw.itemsize for step in slot.strides or ())
    view = np.lib.stride_tricks.as_strided(raw, slot.info.shape, steps, writeable=False)
    return np.ascontiguousarray(view).reshape(-1)


def _values(raw: np.ndarray, dtype: str) -> np.ndarray:
    """Return stored elements as numbers: bfloat16 as float32, bool bytes as truth values."""
    if dtype == "bfloat16":
        wide = raw.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    return raw != 0 if dtype == "bool" else raw
