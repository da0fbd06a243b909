"""Our code beside the first port, MegEngine/Models' taming_transformer: what changed for its users.

    git clone https://github.com/MegEngine/Models FOLDER
    python benchmarks/first_port.py --port FOLDER                      every case: 15 minutes
    python benchmarks/first_port.py --port FOLDER --case drin_256      one case
    python benchmarks/first_port.py --port FOLDER --json FILE          figures for the README

Both sides run the same MegEngine with the same random weights and take turns: ours as the tools
start it, the first port as published, with its own classes and nothing tuned. It is timed as
benchmarks/compare.py times the PyTorch original: its window costs the same for every token, so one
is timed; its cached steps are timed at a few lengths of the past, which stand for all. Then its
samplers are called as its users would; where that ends in an error, the table says so beside what
the steps take that do not fail.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Mapping

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.agreement import difference  # noqa: E402
from benchmarks.cases import CASES  # noqa: E402
from benchmarks.compare import REST, measure  # noqa: E402
from benchmarks.pair import Pair, Side, machine, pairs, write  # noqa: E402
from benchmarks.plan import QUICK, USUAL  # noqa: E402

FIRST_PORT = "MegEngine/Models, official/multimodal/taming_transformer"
MEASURED = (
    "reconstruct_256", "gumbel_256", "drin_256", "sflckr_64x42", "celebahq_b1", "celebahq_b8",
    "celebahq_b25", "cin_b8", "load_celebahq",
)  # fmt: skip
# Cases after whose attempt, with the whole model as published, memory is not as it was.
MAPS = ("drin_256", "sflckr_64x42")
LOADS = 3
COUNT = USUAL._replace(part_seconds=QUICK.part_seconds)  # its steps take seconds
# What would tune MegEngine from outside.
TUNING = ("MKL_DEBUG_CPU_TYPE", "MGE_DEFAULT_DEVICE")


class CrashError(Exception):
    """The first port stopped with an error."""


class Port(Side):
    """The first port's process."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Path(sys.executable), "port.py", str(folder))

    def __call__(self, do: str, **arguments: Any) -> Any:
        """Have a command done and return its answer.

        Raises:
            CrashError: The first port's code raised an error or ended its process.
        """
        try:
            answer = super().__call__(do, **arguments)
        except (SystemExit, BrokenPipeError) as error:
            raise CrashError(str(error)) from error
        if isinstance(answer, dict):
            raise CrashError(answer["crash"])
        return answer

    @property
    def alive(self) -> bool:
        """Whether the process takes commands."""
        return self._process.poll() is None


def ours() -> Side:
    """Start our process."""
    return Side(Path(sys.executable), "ours.py")


class Silent:
    """Takes the place of a side that has crashed, while the other is measured."""

    def __call__(self, do: str, **arguments: Any) -> float | list[float]:
        """Do nothing, and answer with times that nobody uses."""
        return [1.0] if do == "advance" else 1.0


class Beside(Pair):
    """Our side and the first port, taking turns; the first port is the pair's original."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ours = ours()
        self.original: Any = Port(folder)

    def freshen(self, case: str) -> None:
        """Keep the processes: the past that is timed on the first port's side does not grow."""

    def usable(self, case: str) -> bool:
        """Tell whether both processes live and have memory left for the case."""
        return case not in MAPS and bool(self.original.alive)


def agreement(pair: Pair, name: str) -> dict[str, float]:
    """Return how far the outputs of both sides lie apart."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / side for side in ("ours.npz", "port.npz")]
        for side, file in zip((pair.ours, pair.original), files):
            side("output", case=name, path=str(file))
        return difference(*files)


def row_of(figures: Mapping[str, Any], timed: bool) -> dict[str, Any]:
    """Turn the figures of benchmarks/compare.py into this table's."""
    return {
        "case": figures["case"],
        "ours_s": figures["ours_s"],
        "first_port_s": figures["original_s"] if timed else None,
        "ratio": figures["ratio"] if timed else None,
        "ours_peak_mb": figures["ours_peak_mb"],
        "first_port_peak_mb": figures["original_peak_mb"] if timed else None,
    }


def alone(side: Side, do: str, place: str) -> tuple[float, float]:
    """Have one command done by a process that ends after it; return its seconds and peak."""
    try:
        side("reset_peak")
        return side(do, folder=place), side("peak_mb")
    finally:
        side.close()


def loading(folder: Path, name: str) -> tuple[dict[str, Any], str | None]:
    """Time loading in processes of their own, by turns: both sides at once may fill the memory."""
    with tempfile.TemporaryDirectory() as place:
        alone(Port(folder), "save", place), alone(ours(), "save", place)
        mine, theirs, crash = [], [], None
        for _ in range(LOADS):
            time.sleep(REST)
            mine.append(alone(ours(), "load", place))
            if not crash:
                time.sleep(REST)
                try:
                    theirs.append(alone(Port(folder), "load", place))
                except CrashError as error:
                    crash = f"when timed: {error}"
    (ours_s, ours_mb), (port_s, port_mb) = (
        [statistics.median(column) for column in zip(*rows)] for rows in (mine, theirs or mine)
    )
    peaks = {"ours_peak_mb": ours_mb, "original_peak_mb": port_mb}
    figures = {"case": name, "ours_s": ours_s, "original_s": port_s, "ratio": port_s / ours_s}
    return row_of({**figures, **peaks}, not crash), crash


def attempted(pair: Beside, name: str) -> str | None:
    """Call the first port's sampler as its user would; return what goes wrong."""
    try:
        answer: str | None = pair.original("attempt", case=name) if CASES[name].gpt else None
        return answer
    except CrashError as error:
        return f"at the call: {error}"


def beside(pair: Beside, name: str, rounds: int) -> dict[str, Any]:
    """Measure one case; where the first port cannot be timed, ours alone."""
    if name.startswith("load_"):
        pair.settle()
        row, crash = loading(pair.folder, name)
        return {**row, "crash": crash, "agreement": None}
    far: dict[str, float] | None = None
    try:
        row = row_of(measure(pair, name, rounds, count=COUNT), True)
        far = agreement(pair, name)
    except CrashError as error:
        port, pair.original = pair.original, Silent()
        row, crash = row_of(measure(pair, name, rounds, count=COUNT), False), f"when timed: {error}"
        pair.original = port
    else:
        crash = attempted(pair, name)
    return {**row, "crash": crash, "agreement": far}


def commit(folder: Path) -> str:
    """Return the commit of a checkout.

    Raises:
        ValueError: The folder is no checkout of MegEngine/Models.
    """
    if not (folder / "official" / "multimodal" / "taming_transformer").is_dir():
        raise ValueError(f"{folder} is no checkout of MegEngine/Models: it lacks {FIRST_PORT[18:]}")
    asked = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    done = subprocess.run(asked, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{folder} is no git checkout: {done.stderr.strip()}")
    return done.stdout.strip()


def line(row: Mapping[str, Any]) -> str:
    """Return one line of the table."""
    shown = {key: "" if value is None else value for key, value in row.items()}
    cells = [f"{row['ours_s']:.2f}"]
    for key, form in (("first_port_s", ".2f"), ("ratio", ".1f"), ("ours_peak_mb", ".0f"),
                      ("first_port_peak_mb", ".0f")):  # fmt: skip
        cells.append("" if row[key] is None else format(row[key], form))
    return " | ".join(["| " + row["case"], *cells, f"{shown['crash']} |"])


def main() -> int:
    """Run the benchmark as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=Path, required=True, help="checkout of MegEngine/Models")
    parser.add_argument("--case", action="append", choices=MEASURED, help="only this; repeatable")
    parser.add_argument("--rounds", type=int, default=1, help="rounds that count (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    folder = options.port.resolve()
    try:
        which = commit(folder)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    for variable in TUNING:
        os.environ.pop(variable, None)
    pair = Beside(folder)
    facts = machine(pair)
    facts["first_port"] = [f"{FIRST_PORT} at {which}", *facts.pop("original")[1:]]
    print(json.dumps(facts, indent=1))
    print("| case | ours s | first port s | ratio | ours MB | first port MB | its run crashes |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    rows = []
    for sides, name in pairs(pair, lambda: Beside(folder), options.case or MEASURED):
        rows.append(beside(sides, name, options.rounds))
        print(line(rows[-1]), flush=True)
    write(options.json, facts, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
