"""Tensors of memory that nobody has written to yet, for MegEngine itself makes none."""

from __future__ import annotations

import ctypes
import math
import sys
from typing import Any, Sequence

import megengine as mge
import numpy as np
from megengine import Tensor
from megengine.utils.dlpack import from_dlpack

_ALIGNMENT = 64  # bytes: a line of the cache, and MegEngine's own alignment on a CPU
_CPU, _FLOAT = 1, 2  # DLPack's kDLCPU and kDLFloat
_NAME = b"dltensor"  # of a capsule that nobody has taken over yet; capsules keep the pointer


class _Managed(ctypes.Structure):
    """DLPack's DLManagedTensor (dmlc/dlpack, include/dlpack/dlpack.h, before version 1)."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    ]


def unwritten(shape: Sequence[int]) -> Tensor:
    """Return a float32 tensor on the default device, a CPU, of memory that was never touched.

    The system takes memory for a page when it is first written to: that costs most of the time
    of loading weights, and is for the one who writes to do (``host.writable``), on several threads
    if they like. ``F.zeros`` does it on one, and its zeros are written in vain.

    The tensor's memory is one block of C's allocator: DLPack's description of the tensor, then its
    numbers. MegEngine gives the block back by DLPack's deleter, here C's ``free``: unlike one in
    Python it can be called by any of MegEngine's threads, also while the interpreter ends.

    Raises:
        MemoryError: The system has no block of this size.
    """
    size = math.prod(shape) * np.dtype(np.float32).itemsize
    c = _allocator()
    head = ctypes.sizeof(_Managed) + len(shape) * ctypes.sizeof(ctypes.c_int64)
    # beyond maxsize ctypes would cut the number and take a smaller block
    block = c.malloc(head + _ALIGNMENT + size) if size < sys.maxsize // 2 else None
    if block is None:
        raise MemoryError(f"no memory for float32 numbers of shape {tuple(shape)}: {size} bytes")
    lengths = (ctypes.c_int64 * len(shape)).from_address(block + ctypes.sizeof(_Managed))
    lengths[:] = list(shape)
    description = _Managed.from_address(block)
    ctypes.memset(block, 0, ctypes.sizeof(_Managed))
    description.data = -(-(block + head) // _ALIGNMENT) * _ALIGNMENT
    description.device_type, description.ndim = _CPU, len(shape)
    description.code, description.bits, description.lanes = _FLOAT, 32, 1
    description.shape = lengths
    description.deleter = ctypes.cast(c.free, ctypes.c_void_p)
    tensor = from_dlpack(_capsule(block), 0)  # on cpu0, all that DLPack can say
    return tensor.to(mge.get_default_device(), _borrow=True)  # the same memory


def _allocator() -> ctypes.CDLL:
    """Return C's library, a fresh handle: what functions take and return is set on it alone."""
    library = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    return library


def _capsule(address: int) -> Any:
    kind = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    return kind(("PyCapsule_New", ctypes.pythonapi))(address, _NAME, None)
