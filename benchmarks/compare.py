"""Our code beside the PyTorch original: time and memory, in one run, on one machine.

    python benchmarks/compare.py                      every case, medians of three rounds
    python benchmarks/compare.py --quick              one round, without the unbounded caches
    python benchmarks/compare.py --full               whole pictures: hours
    python benchmarks/compare.py --case drin_256      one case
    python benchmarks/compare.py --json FILE          figures for the README's table

Both sides have the same weights (drawn by the tensors' names), the same shapes of input and the
same number of threads, and take turns. Transformers are timed token by token, without the VQGAN
before and after. Without --full, passes of a few lengths are timed and the rest is interpolated
(benchmarks/plan.py); the original's window costs the same for every token. The original runs under
PyTorch in its own environment: TAMING_REFERENCE_PYTHON or .venv-ref (`sh tools/run.sh test --all`
makes it).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Mapping

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.cases import CASES, REFERENCE, Case  # noqa: E402
from benchmarks.plan import knots, our_passes, representatives, spread  # noqa: E402
from official.multimodal.taming_transformer.runtime import GLIBC_TUNABLES  # noqa: E402

# What takes no time is done more often: short passes scatter most.
CHEAP_SECONDS, CHEAP_ROUNDS = 2.0, 8


class Side:
    """One of the two processes."""

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

    def __call__(self, do: str, **arguments: Any) -> Any:
        """Have a command done and return its answer."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process has no pipes")
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self._script} ended with status {self._process.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


class Pair:
    """Both sides, taking turns."""

    def __init__(self, reference: Path) -> None:
        self.ours = Side(Path(sys.executable), "ours.py")
        self.original = Side(reference, "original.py")

    def alternate(self, ours: Mapping[str, Any], original: Mapping[str, Any], rounds: int) -> Times:
        """Time a command of each side by turns, after one round that does not count."""
        times = Times([], [])
        start = time.monotonic()
        while len(times.ours) < rounds + 1 or (
            time.monotonic() - start < CHEAP_SECONDS and len(times.ours) < CHEAP_ROUNDS
        ):
            times.ours.append(self.ours(**ours))
            times.original.append(self.original(**original))
        del times.ours[0], times.original[0]
        return times

    def close(self) -> None:
        """End both processes."""
        self.ours.close()
        self.original.close()


class Times:
    """Seconds of each round."""

    def __init__(self, ours: list[float], original: list[float]) -> None:
        self.ours, self.original = ours, original


def _spread(times: list[float]) -> float:
    return (max(times) - min(times)) / statistics.median(times)


def vqgan(pair: Pair, name: str, rounds: int) -> dict[str, float]:
    """Time a reconstruction."""
    call = {"do": "reconstruct", "case": name}
    times = pair.alternate(call, call, rounds)
    return {
        "ours_s": statistics.median(times.ours),
        "original_s": statistics.median(times.original),
        "spread": max(_spread(times.ours), _spread(times.original)),
    }


def transformer(pair: Pair, name: str, rounds: int) -> dict[str, float]:
    """Time passes of a few lengths and add them up."""
    case = CASES[name]
    cells = case.shape[0] * case.shape[1]
    mine = representatives(our_passes(case))
    theirs = spread(dict.fromkeys(range(cells), 1.0), knots(range(cells))) if case.cond == 1 else {}
    lengths = list(theirs) or [0]
    ours_s = original_s = widest = 0.0
    for number, (shape, weight) in enumerate(mine.items()):
        pair.ours("prepare", case=name, shape=list(shape))
        call = {"do": "one_pass"}
        other = {"do": "window_token", "case": name}
        length = lengths[number] if number < len(lengths) else None
        if theirs and length is not None:
            pair.original("prepare", case=name, past=length)
            other = {"do": "one_pass"}
        if length is None:  # nothing new to time on the other side
            alone = [pair.ours(**call) for _ in range(rounds + 1)]
            while sum(alone) < CHEAP_SECONDS and len(alone) < CHEAP_ROUNDS:
                alone.append(pair.ours(**call))
            ours_s += weight * statistics.median(alone[1:])
            continue
        times = pair.alternate(call, other, rounds)
        ours_s += weight * statistics.median(times.ours)
        original_s += (theirs[length] if theirs else cells) * statistics.median(times.original)
        widest = max(widest, _spread(times.ours), _spread(times.original))
    return {"ours_s": ours_s, "original_s": original_s, "spread": widest}


def whole(pair: Pair, name: str) -> dict[str, float]:
    """Time whole runs, one after the other."""
    call = {"do": "whole", "case": name, "limit": 10**9}
    return {"ours_s": pair.ours(**call), "original_s": pair.original(**call), "spread": 0.0}


def loading(pair: Pair, rounds: int) -> dict[str, float]:
    """Time loading, each side from its own format."""
    with tempfile.TemporaryDirectory() as folder:
        pair.original("save", folder=folder)
        pair.ours("convert", folder=folder)
        pair.ours("reset_peak"), pair.original("reset_peak")
        call = {"do": "load", "folder": folder}
        times = pair.alternate(call, call, rounds)
    return {
        "ours_s": statistics.median(times.ours),
        "original_s": statistics.median(times.original),
        "spread": max(_spread(times.ours), _spread(times.original)),
    }


def measure(pair: Pair, name: str, rounds: int, full: bool) -> dict[str, Any]:
    """Measure one case."""
    case: Case = CASES[name]
    if name.startswith("load_"):
        figures = loading(pair, rounds)
    else:
        pair.ours("build", case=name), pair.original("build", case=name)
        pair.ours("reset_peak"), pair.original("reset_peak")
        if case.gpt is None:
            figures = vqgan(pair, name, rounds)
        else:
            figures = whole(pair, name) if full else transformer(pair, name, rounds)
    peaks = {"ours_peak_mb": pair.ours("peak_mb"), "original_peak_mb": pair.original("peak_mb")}
    ratio = figures["original_s"] / figures["ours_s"]
    return {"case": name, **figures, "ratio": ratio, **peaks}


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


def line(row: Mapping[str, Any]) -> str:
    """Return one line of the table."""
    return (
        f"| {row['case']} | {row['ours_s']:.2f} | {row['original_s']:.2f} | {row['ratio']:.2f} "
        f"| {row['ours_peak_mb']:.0f} | {row['original_peak_mb']:.0f} | {row['spread']:.0%} |"
    )


def main() -> int:
    """Run the benchmark as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of each case in minutes")
    parser.add_argument("--full", action="store_true", help="time whole pictures: hours")
    parser.add_argument("--case", action="append", choices=CASES, help="only this; repeatable")
    parser.add_argument("--rounds", type=int, help="rounds that count (default 3; --quick: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    default = os.environ.get("TAMING_REFERENCE_PYTHON") or ROOT / ".venv-ref" / "bin" / "python"
    parser.add_argument("--python", type=Path, default=Path(default), help="the original's Python")
    options = parser.parse_args()
    if not options.python.is_file():
        print(f"{options.python} does not exist: name one with --python", file=sys.stderr)
        return 2
    pair = Pair(options.python)
    facts = machine(pair)
    print(json.dumps(facts, indent=1))
    print("| case | ours s | original s | ratio | ours MB | original MB | spread |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    rows: list[dict[str, Any]] = []
    built: Any = None
    rounds = options.rounds or (1 if options.quick else 3)
    usual = [name for name in CASES if not (options.quick and name.endswith("_unbounded"))]
    for name in options.case or usual:
        network = CASES[name].model, CASES[name].gpt
        if rows and network != built:  # fresh processes: memory shows what was freed before
            pair.close()
            pair = Pair(options.python)
        built = network
        rows.append(measure(pair, name, rounds, options.full))
        print(line(rows[-1]), flush=True)
    pair.close()
    if options.json:
        text = json.dumps({"machine": facts, "cases": rows}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
