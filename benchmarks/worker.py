"""The protocol of the two sides: one JSON object a line in, one a line out."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Callable, Mapping

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.cases import CASES  # noqa: E402

PR_SET_PDEATHSIG = 1  # Linux: the signal that comes when the caller has ended

# Commands that get something ready: their memory is not the case's.
UNMEASURED = frozenset(("build", "save"))


class Peak:
    """The largest resident memory of this process, what gets a case ready left out (Linux)."""

    def __init__(self) -> None:
        self._noted = 0.0

    def reset(self) -> None:
        """Forget the peaks seen so far."""
        self.leave_out()
        self._noted = 0.0

    def note(self) -> None:
        """Keep the peak seen so far, before something that must not count."""
        self._noted = self.mb()

    def leave_out(self) -> None:
        """Give back what drawing numbers has left, and forget the peak since ``note``."""
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def mb(self) -> float:
        """Return the peak in MB."""
        return max(self._noted, status_mb("VmHWM"))


def status_mb(key: str) -> float:
    """Return a line of /proc/self/status that is a size, in MB (Linux)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/self/status has no {key}: the benchmark needs Linux")


class Builder:
    """Holds the network of the present case; ``make`` says how one comes about."""

    def __init__(self) -> None:
        self.model: Any = None
        self._built: tuple[Any, ...] = ()

    def make(self, case: str) -> Any:
        """Return the network of a case, filled; sides say how."""
        raise NotImplementedError

    def build(self, case: str) -> None:
        """Build the network of a case, unless it is there already."""
        c = CASES[case]
        wanted = (c.model, c.gpt)
        if self._built == wanted:
            return
        self.model = None
        self.model = self.make(case)
        self.model.eval()
        self._built = wanted

    def forget(self) -> None:
        """Drop the network."""
        self.model, self._built = None, ()


def seconds(work: Callable[[], Any]) -> float:
    """Return how long a piece of work takes, its result on the host."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def serve(commands: Mapping[str, Callable[..., Any]]) -> None:
    """Answer calls ``{"do": name, **arguments}`` until the input or the calling process ends."""
    # one that stands still does not see the end of its input, and would keep its gigabytes
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # what a library prints must not mix with the answers
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    peak = Peak()
    known = {**commands, "reset_peak": peak.reset, "peak_mb": peak.mb}
    for line in sys.stdin:
        call = json.loads(line)
        do = call.pop("do")
        if do in UNMEASURED:
            peak.note()
        result = known[do](**call)
        if do in UNMEASURED:
            peak.leave_out()
        answers.write(json.dumps(result) + "\n")
        answers.flush()
