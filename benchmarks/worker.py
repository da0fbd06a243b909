"""The protocol of the two sides: one JSON object a line in, one a line out."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any, Callable, Mapping

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def reset_peak() -> None:
    """Give back what drawing the weights has left, and forget the peak seen so far (Linux)."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mb() -> float:
    """Return the largest resident memory of this process since the last reset, in MB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1e3
    raise RuntimeError("/proc/self/status has no VmHWM: the benchmark needs Linux")


def serve(commands: Mapping[str, Callable[..., Any]]) -> None:
    """Answer calls ``{"do": name, **arguments}`` until the input ends."""
    # what a library prints must not mix with the answers
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    known = {**commands, "reset_peak": reset_peak, "peak_mb": peak_mb}
    for line in sys.stdin:
        call = json.loads(line)
        result = known[call.pop("do")](**call)
        answers.write(json.dumps(result) + "\n")
        answers.flush()
