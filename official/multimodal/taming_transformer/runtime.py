"""Make MegEngine fast and quiet on a plain CPU: one call at the start of a program."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

# glibc's mallopt: keep freed memory instead of mapping and zeroing it anew at every operator.
_MALLOC_OPTIONS = ((-3, 1 << 30), (-1, 2**31 - 1), (-2, 1 << 28))  # MMAP, TRIM, TOP_PAD


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

    Three things, all process-wide: MKL's fast path on processors that are not Intel's (MegEngine
    links MKL 2019, which otherwise picks its slowest there: matrix products run 3 times faster),
    one thread a core, and an allocator that keeps its memory. That last one costs up to three times
    the memory in the VQGANs; ``GLIBC_TUNABLES=glibc.malloc.hugetlb=1``, set before Python starts
    (``tools/run.sh`` does), is nearly as fast and lean, and is left alone here. Variables that the
    user has set are respected; nothing happens where MegEngine would use a GPU. A second call
    changes nothing more.

    Args:
        threads: Threads for the operators; ``None`` is the number of cores given to this process.

    Returns:
        What was done and what was left.

    Raises:
        ValueError: ``threads`` is no whole number >= 1.
    """
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ValueError(f"threads must be a whole number >= 1, got {threads!r}")
    if _has_gpu():
        return Tuning((), ("everything: MegEngine uses the GPU",))
    results = [_tune_mkl(), _tune_device(threads), _tune_allocator()]
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
    if "avx2" not in facts:
        return False, "MKL: the processor has no AVX2"
    os.environ[variable] = "5"
    return True, "MKL: AVX2 path (MKL_DEBUG_CPU_TYPE=5), if no operator has run before"


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


def _tune_allocator() -> tuple[bool, str]:
    if sys.platform != "linux" or not platform.libc_ver()[0].startswith("glibc"):
        return False, "allocator: not glibc's"
    for name in ("GLIBC_TUNABLES", *(n for n in os.environ if n.startswith("MALLOC_"))):
        if name in os.environ:
            return False, f"allocator: {name} is {os.environ[name]}"
    library = ctypes.CDLL(None)
    if not all(library.mallopt(option, value) for option, value in _MALLOC_OPTIONS):
        return False, "allocator: glibc refused the settings"
    return True, "allocator: freed memory is kept for the next operator"
