"""NumPy on the memory of tensors that live on a CPU, nothing copied, and on as many threads."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Callable

import megengine as mge
import numpy as np
from megengine import Tensor
from megengine.device import what_is_xpu


def is_gpu(device: object) -> bool:
    """Tell whether a device is a GPU; ``xpux``, MegEngine's default, is one where there is one."""
    name = str(device)
    return name.startswith("gpu") or (name.startswith("xpu") and what_is_xpu() == "gpu")


def on_host(tensor: Tensor) -> np.ndarray:
    """Return a tensor's memory as an array, once the tensor has been computed.

    The array keeps the memory alive and cannot be written to. Of a tensor that is not contiguous it
    is a copy.
    """
    view = np.from_dlpack(tensor)
    mge._full_sync()  # MegEngine hands out memory that its threads have yet to write
    return np.ascontiguousarray(view)


def values(parameter: Tensor) -> np.ndarray:
    """Return the same of a filled parameter, or of several that are joined, made once.

    ``Declared`` forgets it when it gets other values; what ``joined`` returns never does.
    """
    if getattr(parameter, "view", None) is None:
        parameter.view = on_host(parameter)
    view: np.ndarray = parameter.view
    return view


def writable(tensor: Tensor) -> np.ndarray:
    """Return a tensor's memory as a float32 array of its shape, to write to.

    Only where nothing else will look at the tensor's present numbers: MegEngine takes tensors for
    constant.

    Raises:
        ValueError: The tensor is not float32 or not contiguous.
    """
    view = np.from_dlpack(tensor)
    if not view.flags.c_contiguous or view.dtype != np.float32:
        raise ValueError(f"expected contiguous float32, got {view.dtype} of strides {view.strides}")
    mge._full_sync()
    return np.asarray(_Memory(view))


def thread_count(device: object) -> int:
    """Return the threads that operators on a device have."""
    found = re.match(r"multithread(\d+)", str(device))
    return int(found.group(1)) if found else 1


def on_threads(device: str, size: int, work: Callable[[slice], None]) -> None:
    """Have parts of ``range(size)`` worked on by as many threads as operators on a device have."""
    threads = thread_count(device)
    bounds = [size * n // threads for n in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, map(slice, bounds, bounds[1:])))


class _Memory:
    """What an array says of itself, but that it may be written to; keeps its memory alive."""

    def __init__(self, view: np.ndarray) -> None:
        self._view = view
        self.__array_interface__ = {**view.__array_interface__, "data": (view.ctypes.data, False)}
