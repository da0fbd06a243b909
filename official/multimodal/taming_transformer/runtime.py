"""Make MegEngine fast and quiet on a plain CPU: one call at the start of a program."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

GLIBC_TUNABLES = ":".join(
    f"glibc.malloc.{setting}"
    for setting in (
        "mmap_threshold=100000000",  # take buffers from the heap, which keeps them, instead of
        "trim_threshold=2147483647",  # mapping and zeroing memory at every operator; but not the
        # largest, of which a few holes in the heap cost more than the time of mapping is worth
        "top_pad=16777216",
        "arena_max=1",  # one heap for all threads
        # of the freed blocks, threads keep the smallest alone, and the heap none: the crumbs beside
        # aligned buffers join these again, or the heap would grow by half; none kept by threads
        # costs single tokens a tenth
        "tcache_max=24",
        "mxfast=0",
        "hugetlb=1",  # in pages of 2 MB
    )
)
"""Environment of a fast and lean process under glibc (``tools/run.sh`` sets it)."""

# What of it can be set later, by mallopt: all but tcache_max and hugetlb, in this order.
_MALLOC_OPTIONS = ((-3, 10**8), (-1, 2**31 - 1), (-2, 1 << 24), (-8, 1), (1, 0))

_SMALL_BLOCKS = (24, 40, 56, 72, 88, 104)  # bytes of the requests that would take such blocks
_STOCK = 3000  # blocks of each size: 2.6 MB in all

# Linux' names and usual value, and ours: how late a timer may be, nanoseconds
_PR_SET_TIMERSLACK, _PR_GET_TIMERSLACK = 29, 30
_USUAL_SLACK, _SLACK = 50_000, 5_000_000

_AVX512 = frozenset(("avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"))  # MKL's needs


@dataclass(frozen=True)
class Tuning:
    """What ``tune_cpu`` did.

    Attributes:
        done: What was set, a line each.
        left: What was left as it was, and why, a line each.
    """

    done: tuple[str, ...]
    left: tuple[str, ...]


def tune_cpu(threads: int | None = None) -> Tuning:
    """Tune this process for inference on a CPU; call it before the first operator runs.

    Four things, all process-wide: MKL's fast path on processors that are not Intel's (MegEngine
    links MKL 2019, which otherwise picks its slowest there: matrix products run several times
    faster); one thread a core; an allocator that keeps its memory; and, on Linux, timers with a
    slack of 5 ms. MegEngine has a thread that looks for memory to free every 10 us, all its life
    (imperative/src/impl/physical_tensor.cpp), and pushes those aside that compute; with the slack
    it looks every 5 ms, and an idle process leaves the processor alone. The slack is inherited: of
    the calling thread and all that start later, a ``time.sleep`` may last 5 ms longer. The
    allocator costs a quarter more memory in the VQGANs, unless ``GLIBC_TUNABLES`` (the constant
    here) has been in the environment since before Python started.
    Variables that the user has set are respected; nothing happens where MegEngine would use a GPU.
    A second call changes nothing more.

    Args:
        threads: Threads for the operators; ``None`` is the number of cores given to this process.
            Single tokens pass through NumPy (``one_token``), whose threads are as many as
            ``OPENBLAS_NUM_THREADS`` says, by default one a core.

    Returns:
        What was done and what was left.

    Raises:
        ValueError: ``threads`` is no whole number >= 1.
    """
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ValueError(f"threads must be a whole number >= 1, got {threads!r}")
    if _has_gpu():
        return Tuning((), ("everything: MegEngine uses the GPU",))
    results = [_tune_mkl(), _tune_device(threads), _tune_allocator(), _tune_timers()]
    return Tuning(
        tuple(line for good, line in results if good),
        tuple(line for good, line in results if not good),
    )


def _has_gpu() -> bool:
    """Ask for the driver first: MegEngine prints eight lines when it looks in vain."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    import megengine

    return bool(megengine.device.get_device_count("gpu"))


def _tune_mkl() -> tuple[bool, str]:
    variable = "MKL_DEBUG_CPU_TYPE"
    if variable in os.environ:
        return False, f"{variable}: the environment says {os.environ[variable]}"
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False, "MKL: not an x86-64 processor"
    if sys.platform != "linux":
        return False, "MKL: the processor's make is read on Linux only"
    facts = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    if "GenuineIntel" in facts:
        return False, "MKL: it chooses well on Intel's processors"
    path = mkl_path(facts)
    if path is None:
        return False, "MKL: the processor has no AVX2"
    os.environ[variable] = path
    name = {"5": "AVX2", "7": "AVX-512"}[path]
    return True, f"MKL: {name} path ({variable}={path}), if no operator has run before"


def mkl_path(cpuinfo: str) -> str | None:
    """Return the MKL_DEBUG_CPU_TYPE that is fastest on an x86-64 processor not made by Intel.

    Measured with products of 1024x1024 matrices: on AMD's family 25 (Zen 4), 7 is slower than 5;
    on family 26 (Zen 5), whose units are 512 bits wide, it is about twice as fast.

    Args:
        cpuinfo: Text of ``/proc/cpuinfo``.

    Returns:
        ``"7"`` (AVX-512), ``"5"`` (AVX2), or ``None`` where there is neither.
    """
    facts = dict(re.findall(r"^(\w[\w ]*?)\s*: *(.*)$", cpuinfo, re.MULTILINE))
    flags = facts.get("flags", "").split()
    family = facts.get("cpu family", "")
    wide = facts.get("vendor_id") == "AuthenticAMD" and family.isdigit() and int(family) >= 26
    if wide and _AVX512.issubset(flags):
        return "7"
    return "5" if "avx2" in flags else None


def _tune_device(threads: int | None) -> tuple[bool, str]:
    import megengine

    if "MGE_DEFAULT_DEVICE" in os.environ and threads is None:
        return False, f"device: MGE_DEFAULT_DEVICE is {os.environ['MGE_DEFAULT_DEVICE']}"
    present = megengine.get_default_device()
    if threads is None and present not in ("xpux", "cpux", "cpu0"):
        return False, f"device: the program has chosen {present}"
    device = f"multithread{threads or available_cores()}"
    megengine.set_default_device(device)
    return True, f"device: {device}"


def available_cores() -> int:
    """Return the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def release_memory() -> bool:
    """Give the freed pages of the heap back to the system, those between used ones too.

    Returns:
        Whether there were any: ``False`` too where the allocator is not glibc's.
    """
    return _has_glibc() and bool(ctypes.CDLL(None).malloc_trim(0))


def _has_glibc() -> bool:
    return sys.platform == "linux" and platform.libc_ver()[0].startswith("glibc")


def _tune_allocator() -> tuple[bool, str]:
    if not _has_glibc():
        return False, "allocator: not glibc's"
    if "tcache_max=24" in os.environ.get("GLIBC_TUNABLES", ""):
        _stock_heap()
        return True, "allocator: as GLIBC_TUNABLES says, with small blocks apart from large buffers"
    for name in ("GLIBC_TUNABLES", *(n for n in os.environ if n.startswith("MALLOC_"))):
        if name in os.environ:
            return False, f"allocator: {name} is {os.environ[name]}"
    library = ctypes.CDLL(None)
    if not all(library.mallopt(option, value) for option, value in _MALLOC_OPTIONS):
        return False, "allocator: glibc refused the settings"
    return True, "allocator: freed memory is kept for the next operator"


@lru_cache(maxsize=None)  # once a process
def _stock_heap() -> None:
    """Give small requests blocks to take, so that they leave those beside large buffers alone.

    memalign leaves a small block before every aligned buffer. Who takes it keeps the buffers around
    it from becoming one when they are freed.
    """
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.restype, library.free.argtypes = None, [ctypes.c_void_p]
    for size in _SMALL_BLOCKS:
        blocks = [library.malloc(size) for _ in range(2 * _STOCK)]
        for block in blocks[::2]:  # those between stay, or glibc would join the free ones
            library.free(block)


def _tune_timers() -> tuple[bool, str]:
    if sys.platform != "linux":
        return False, "timers: not Linux'"
    prctl = ctypes.CDLL(None).prctl
    slack = prctl(_PR_GET_TIMERSLACK)
    if slack != _USUAL_SLACK:
        return False, f"timers: their slack is {slack} ns already"
    if prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(_SLACK)) != 0:
        return False, "timers: the system refused to change their slack"
    return True, "timers: 5 ms of slack for MegEngine's polling, if no operator has run before"
