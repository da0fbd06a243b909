"""Two processes that take turns: ours and another one that does the same work."""

from __future__ import annotations

import atexit
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence, TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.cases import CASES, REFERENCE  # noqa: E402
from official.multimodal.taming_transformer.runtime import GLIBC_TUNABLES  # noqa: E402

# What takes no time is timed more often: short passes scatter most.
CHEAP_SECONDS, CHEAP_CALLS = 0.5, 8
VERY_LONG = 12.0  # seconds: a call of which the first of a turn counts
# After a rest, calls get shorter until their memory is there: by a tenth, or by half within three
# calls where they take 1 GB. So many do not count, or as many as take so many seconds.
WARMING_CALLS, WARMING_SECONDS = 3, 6.0


class Side:
    """One of the two processes; it stands still while it has nothing to do.

    Idle threads are not free: MegEngine's poll, and took a tenth of the other side's time.
    """

    def __init__(self, python: Path, script: str, *arguments: str) -> None:
        environment = {
            k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "GLIBC_TUNABLES")
        }
        if script == "ours.py":  # as tools/run.sh starts every tool
            environment["GLIBC_TUNABLES"] = GLIBC_TUNABLES
        self._script = script
        self._process = subprocess.Popen(
            [str(python), str(ROOT / "benchmarks" / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        atexit.register(self._process.kill)  # one that stands still would stay after Ctrl-C

    def __call__(self, do: str, **arguments: Any) -> Any:
        """Have a command done and return its answer."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process has no pipes")
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self._script} ended with status {self._process.wait()}")
        self._process.send_signal(signal.SIGSTOP)
        return json.loads(answer)

    def close(self) -> None:
        """End the process at once: tidying up would give back gigabytes one by one."""
        self._process.kill()
        self._process.communicate()


class Pair:
    """Both sides, taking turns.

    Attributes:
        following: The pair whose processes start while this one builds its network, if any.
        timed: Whether these processes have been timed before.
        stirred: Whether a run of several samples has left holes in their heaps, in which the large
            tensors of another would find memory that a run of its own has to ask the system for.
        settled: For how many samples the original's heap has settled, if for any.
    """

    following: Pair | None = None
    timed = False
    stirred = False
    settled = 0

    def __init__(self, reference: Path) -> None:
        self._reference = reference
        self._start()

    def _start(self) -> None:
        self.ours = Side(Path(sys.executable), "ours.py")
        self.original = Side(self._reference, "original.py")

    def renew(self) -> None:
        """Put fresh processes in the place of both: those that have started, if there are."""
        self.close()
        if self.following is None:
            self._start()
        else:
            self.ours, self.original = self.following.ours, self.following.original
            self.following._start()
        self.timed, self.settled = False, 0
        self.both("describe")

    def freshen(self, case: str) -> None:
        """Put fresh processes, which have built the case, in the place of stirred ones."""
        if self.stirred:
            self.renew()
            self.build(case)
            self.both("reset_peak")
        self.stirred = CASES[case].batch > 1

    def build(self, case: str) -> None:
        """Make the network of a case on both sides."""
        self.both("build", case=case)
        self.settle()

    def settle(self) -> None:
        """Wait until the pair that follows has started: from here on nothing else runs."""
        if self.following is not None:
            self.following.both("describe")

    def both(self, do: str, **arguments: Any) -> None:
        """Have a command done on both sides at the same time."""
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(side, do, **arguments) for side in (self.ours, self.original)]:
                done.result()

    def alternate(
        self,
        ours: Mapping[str, Any],
        original: Mapping[str, Any] | None,
        rounds: int,
        long: float,
    ) -> Times:
        """Time a command of each side by turns.

        Args:
            ours: What our side is to do.
            original: What the other one is to do; without it, ours is timed alone.
            rounds: How often.
            long: From how many seconds on the first call of a turn counts: what it pays for waking
                up is little beside it. The very first of a process never counts: it pays for all
                its memory too. Below ``VERY_LONG``, one call warms up a turn, not several.
        """
        times = Times([], [])
        warming = WARMING_CALLS if long >= VERY_LONG else 1
        for _ in range(rounds):
            counts = long if self.timed else math.inf
            times.ours.append(_turn(self.ours, ours, counts, warming))
            if original is not None:
                times.original.append(_turn(self.original, original, counts, warming))
            self.timed = True
        return times

    def usable(self, case: str) -> bool:
        """Tell whether a case that has the network of the one before can go on with this pair."""
        return True

    def close(self) -> None:
        """End both processes."""
        self.ours.close()
        self.original.close()


def _turn(side: Callable[..., float], command: Mapping[str, Any], long: float, calls: int) -> float:
    """Return the seconds of a command, without its first ``calls`` unless they are ``long``.

    A run has no rests.
    """
    warming = [side(**command)]
    times = warming[:] if warming[0] >= long else []
    while not times and len(warming) < calls and sum(warming) < WARMING_SECONDS:
        warming.append(side(**command))
    while not times or (sum(times) < CHEAP_SECONDS and len(times) < CHEAP_CALLS):
        times.append(side(**command))
    return statistics.median(times)


class Times:
    """Seconds of each round."""

    def __init__(self, ours: list[float], original: list[float]) -> None:
        self.ours, self.original = ours, original

    @property
    def spread(self) -> float | None:
        """How far the rounds of a side lie apart, beside their median; one round says nothing."""
        if len(self.ours) < 2:
            return None
        sides = [side for side in (self.ours, self.original) if side]
        return max((max(side) - min(side)) / statistics.median(side) for side in sides)


def machine(pair: Pair) -> dict[str, Any]:
    """Describe the machine and both sides."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text(encoding="utf-8").splitlines() if "model name" in x]
        model = names[0].split(":")[1].strip() if names else model
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "ours": pair.ours("describe"),
        "original": [REFERENCE, *pair.original("describe")],
    }


P = TypeVar("P", bound=Pair)


def pairs(pair: P, fresh: Callable[[], P], cases: Sequence[str]) -> Iterator[tuple[P, str]]:
    """Yield each case with a pair for it: a fresh one where the network changes.

    A process that has held another network shows in its memory what was freed before.

    Args:
        pair: The first one; each is closed when the next is made, and the last at the end.
        fresh: Makes another pair.
        cases: Their names, in order.
    """
    built: Any = None
    following: P | None = None
    networks = [(CASES[name].model, CASES[name].gpt) for name in cases]
    for number, (name, network) in enumerate(zip(cases, networks)):
        if built is not None and (network != built or not pair.usable(name)):
            other, following = following or fresh(), None
            other.both("describe")  # it has started: what is freed now is still warm when it builds
            pair.close()
            pair = other
        if following is None and any(later != network for later in networks[number:]):
            pair.following = following = fresh()
        built = network
        yield pair, name
    pair.close()
    if following:
        following.close()


def write(path: Path | None, facts: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write the machine's description and the figures, if they are wanted."""
    if path:
        text = json.dumps({"machine": facts, "cases": rows}, indent=1)
        path.write_text(text + "\n", encoding="utf-8")
