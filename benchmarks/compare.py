"""Our code beside the PyTorch original: time and memory, in one run, on one machine.

    python benchmarks/compare.py                      every case, medians of three rounds
    python benchmarks/compare.py --quick              one round of fewer lengths, in minutes, and
                                                      without the unbounded caches
    python benchmarks/compare.py --full               whole pictures: hours
    python benchmarks/compare.py --full --cells 640   their first 640 cells (ten rows of a map)
    python benchmarks/compare.py --full --thin 32     of the original's windows of maps, which cost
                                                      the same for every token, one in 32
    python benchmarks/compare.py --quick --full       --quick before and after each whole run
    python benchmarks/compare.py --case drin_256      one case
    python benchmarks/compare.py --json FILE          figures for the README's table

Both sides have the same weights (drawn by the tensors' names), the same shapes of input and the
same number of threads, and take turns. Transformers are timed token by token, without the VQGAN
before and after. Without --full, but for one face, which is run whole where --quick is not given,
a few parts of a run stand for all of it (benchmarks/plan.py): the mean of consecutive steps in the
middle of each quarter; for maps, passes of a few lengths on our side and windows, which cost the
same for every token, on the original's, in a heap that windows of few layers have settled; the
first steps after a rest do not count. With --full every token is timed, at most 256 of the
original's between the halves of ours; stderr says after each such turn how far it is, and a second
line of the table what --quick's parts make of the same run: on a shared machine, two runs minutes
apart differ by what its neighbours do, so --quick --full is for medians (--rounds 3). The
original's memory is that of a step before the last, but with --full alone. It runs under PyTorch in
its own environment: TAMING_REFERENCE_PYTHON or .venv-ref (`sh tools/run.sh test --all` makes it).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.cases import CASES, Case  # noqa: E402
from benchmarks.pair import Pair, Times, machine, pairs, write  # noqa: E402
from benchmarks.plan import (  # noqa: E402
    QUICK,
    USUAL,
    Knots,
    Part,
    halves,
    our_passes,
    parts,
    representatives,
    turns,
)

REST = 10.0  # seconds until memory that was given back is as cold as any
WINDOW_SECONDS = 7.0  # of the original's windows, which stand for all
LONG_WINDOWS = 2  # where one takes longer than that
# Tokens of a part that do not count: the original's take 1 to 2 GB, the first up to twice the time.
OUR_WARMING, ORIGINAL_WARMING = 1, 3
FEW_TOKENS = 3  # of a part whose tokens take long
# Times as many tokens of ours for one sample: these are short and read the weights at the memory's
# pace, which neighbours change for some tens of seconds.
OUR_SINGLE = 4
ONE_PASS = {"do": "one_pass"}
SIDES = "ours_s", "original_s"
WAYS = {  # of finding what a whole run takes, by what their figures' names begin with
    "parts_": "by --quick's parts of the same run",
    "quick_": "by --quick, by turns with it",
}

Figures = Dict[str, Any]  # seconds of both sides, and "spread", which is None for one round


def vqgan(pair: Pair, name: str, rounds: int, count: Knots) -> Figures:
    """Time a reconstruction."""
    call = {"do": "reconstruct", "case": name}
    return summary(pair.alternate(call, call, rounds, count.long))


def summary(times: Times) -> Figures:
    """Return the medians of both sides and the spread."""
    return {
        "ours_s": statistics.median(times.ours),
        "original_s": statistics.median(times.original),
        "spread": times.spread,
    }


def passes(pair: Pair, name: str, rounds: int, cells: int, count: Knots) -> Figures:
    """Time our passes of ``count`` lengths of each kind and some of the original's windows; add up.

    All windows cost the same, so their median stands for them: in a row, as in a run, and between
    ours, so that drifts of the machine meet both. Ours are weighted by their kinds; the median of
    those that are timed more often counts (``halves``).
    """
    weights = representatives(our_passes(CASES[name], cells), count)
    before, after = halves(weights)
    times = Times([], [])
    for _ in range(rounds):
        found = defaultdict(list)
        for number, shape in enumerate([*before, *after]):
            if number == len(before):
                windows = some_windows(pair, name)
            pair.ours("prepare", case=name, shape=list(shape))
            found[shape] += pair.alternate(ONE_PASS, None, 1, count.long).ours
        ours = (weight * statistics.median(found[shape]) for shape, weight in weights.items())
        times.ours.append(sum(ours))
        times.original.append(cells * statistics.median(windows))
    return summary(times)


def some_windows(pair: Pair, name: str) -> Sequence[float]:
    """Return the times of the original's windows in a row, for ``WINDOW_SECONDS``.

    One before them warms up, unless it takes as long: then it is the first of ``LONG_WINDOWS``. The
    heap is settled before the first of a process, or of another number of samples: windows of a
    run are nearly all late ones.
    """
    pair.original("prepare", case=name)
    if pair.settled != CASES[name].batch:
        pair.original("settle")
        pair.settled = CASES[name].batch
    warm: list[float] = pair.original("advance", count=1)
    if warm[0] >= WINDOW_SECONDS:
        return [*warm, *pair.original("advance", count=LONG_WINDOWS - 1)]
    more: list[float] = pair.original("advance", count=int(WINDOW_SECONDS / warm[0]))
    return more


def some_parts(
    pair: Pair,
    name: str,
    rounds: int,
    ours: Sequence[Part],
    original: Sequence[Part],
    seconds: tuple[float, float] = (math.inf, math.inf),
) -> Figures:
    """Time parts of a run, which stand for all of it.

    The sides take turns, and each begins every other part, so that drifts of the machine meet both.

    Args:
        pair: The two sides.
        name: Case.
        rounds: How often.
        ours: The parts of ours.
        original: As many of the original's.
        seconds: How long each side may take for a part, unless that is less than a few tokens.
    """
    times = Times([], [])
    for _ in range(rounds):
        pair.freshen(name)
        sides = (
            (pair.ours, "begin", OUR_WARMING),
            (pair.original, "prepare", ORIGINAL_WARMING),
        )
        spent = np.zeros(2)
        for number, both in enumerate(zip(ours, original)):
            for place in (0, 1) if number % 2 == 0 else (1, 0):
                spent[place] += one_part(*sides[place], name, both[place], seconds[place])
        times.ours.append(float(spent[0])), times.original.append(float(spent[1]))
    return summary(times)


def in_part(pair: Pair, name: str, rounds: int, cells: int, count: Knots) -> Figures:
    """Time some of a transformer's run, which stands for all of it."""
    if CASES[name].cond > 1:
        pair.freshen(name)
        return passes(pair, name, rounds, cells, count)
    timed = parts_of(CASES[name], cells, count)
    return some_parts(pair, name, rounds, *timed, count.part_seconds)


def one_part(
    side: Callable[..., Any], ready: str, warming: int, name: str, part: Part, most: float
) -> float:
    """Return the seconds that a side takes for what a part of a run stands for.

    The mean of its tokens stands for them: a median would leave out those at which our cache joins
    its runs, which a whole run counts.

    Args:
        side: One of a pair.
        ready: Its command that makes the past of a part.
        warming: How many tokens do not count, at most as many as there are before the part.
        name: Case.
        part: The part.
        most: Seconds that it may take, unless that is less than ``FEW_TOKENS``.
    """
    warming = min(warming, part.start)
    side(ready, case=name, past=part.start - warming)
    warm = side("advance", count=warming)
    count = tokens(part, warm, most)
    return part.cells * statistics.mean(side("advance", count=count))


def tokens(part: Part, before: Sequence[float], most: float) -> int:
    """Return how many tokens of a part are timed, for the seconds of those before it."""
    within = int(min(part.timed, most / before[-1])) if before else part.timed
    return max(within, min(FEW_TOKENS, part.timed))


def of_same_run(seconds: Sequence[float], timed: Sequence[Part], most: float) -> float:
    """Return what the parts of a run come to of which every token is timed."""
    ends = [part.start + tokens(part, seconds[: part.start], most) for part in timed]
    found = (statistics.mean(seconds[part.start : end]) for part, end in zip(timed, ends))
    return sum(part.cells * each for part, each in zip(timed, found))


def parts_of(case: Case, cells: int, count: Knots) -> list[list[Part]]:
    """Return the parts of a run that are timed of ours, and those of the original."""
    ours = count.tokens * (OUR_SINGLE if case.batch == 1 else 1)
    return [parts(cells, min(count.parts, cells), timed) for timed in (ours, count.tokens)]


def whole_run(pair: Pair, name: str, rounds: int, cells: int, thin: int = 1) -> Figures:
    """Time every token of a run, the original's turns between the halves of ours.

    Of the original's windows, which all do the same, one stands for ``thin`` of them.

    Neither side rests more often than that: for 20 seconds after one ours may take 15 % longer.
    What ``--quick``'s parts make of the same tokens tells their error from the machine's drifts.
    """
    times, some = Times([], []), Times([], [])
    grows = CASES[name].cond == 1  # windows all cost the same, but for the first after a rest
    for _ in range(rounds):
        pair.freshen(name)
        pair.ours("begin", case=name), pair.original("prepare", case=name)
        ours: list[float] = []
        original: list[float] = []
        for turn in turns(cells):
            ours += pair.ours("advance", count=turn // 2)
            pair.original("advance", count=0 if grows else 1)
            timed = turn if grows else -(-turn // thin)
            each = pair.original("advance", count=timed)
            original += each if timed == turn else turn * [statistics.mean(each)]
            ours += pair.ours("advance", count=turn - turn // 2)
            done = f"{sum(ours):.2f} and {sum(original):.2f} s for {len(ours)} of {cells} cells"
            print(f"  {name}: {done}", file=sys.stderr, flush=True)
        times.ours.append(sum(ours)), times.original.append(sum(original))
        if grows:
            both = zip((ours, original), parts_of(CASES[name], cells, QUICK), QUICK.part_seconds)
            ours_s, original_s = itertools.starmap(of_same_run, both)
            some.ours.append(ours_s), some.original.append(original_s)
    figures = summary(times)
    if grows:
        figures.update({f"parts_{key}": value for key, value in summary(some).items()})
    return figures


def by_turns(pair: Pair, name: str, rounds: int, cells: int, thin: int = 1) -> Figures:
    """Time whole runs, and before and after each what ``--quick`` does.

    Each begins in fresh processes, as a command of its own would; drifts of the machine meet both.
    """
    found: dict[str, Times] = {}
    for _ in range(rounds):
        for quick in (True, False, True):
            if quick:
                once = in_part(pair, name, 1, cells, QUICK)
                figures = {f"quick_{key}": value for key, value in once.items()}
            else:
                figures = whole_run(pair, name, 1, cells, thin)
            for way in ("", *WAYS):
                if way + "ours_s" in figures:
                    ours, original = (figures[way + side] for side in SIDES)
                    times = found.setdefault(way, Times([], []))
                    times.ours.append(ours), times.original.append(original)
                    words = WAYS.get(way, "whole")
                    print(f"  {name}: {ours:.2f} and {original:.2f} s {words}", file=sys.stderr)
            pair.stirred = True
    return {
        way + key: value for way, times in found.items() for key, value in summary(times).items()
    }


def loading(pair: Pair, rounds: int) -> Figures:
    """Time loading, each side from its own format and in processes that have held nothing yet.

    What a process has just given back is warm on some machines, where fresh memory costs 5 s a GB:
    ours, first in its round, would load in 6 s after the original's has ended, and in 16 s later.
    """
    times = Times([], [])
    with tempfile.TemporaryDirectory() as folder:
        pair.both("save", folder=folder)
        pair.settle()
        for number in range(rounds):
            pair.renew()
            time.sleep(REST if number else 0)
            times.ours.append(pair.ours("load", folder=folder))
            times.original.append(pair.original("load", folder=folder))
    return summary(times)


def measure(
    pair: Pair,
    name: str,
    rounds: int,
    full: bool = False,
    most: int | None = None,
    count: Knots = USUAL,
    *,
    thin: int = 1,
) -> dict[str, Any]:
    """Measure one case: ``most`` cells of it, all for ``None``; ``full`` and ``QUICK`` by turns.

    ``thin`` is ``whole_run``'s.
    """
    case: Case = CASES[name]
    if name.startswith("load_"):
        figures = loading(pair, rounds)
    else:
        pair.build(name)
        pair.ours("reset_peak"), pair.original("reset_peak")
        if case.gpt is None:
            figures = vqgan(pair, name, rounds, count)
        else:
            every = case.shape[0] * case.shape[1]
            cells = min(most or every, every)
            if full and count is QUICK:
                figures = by_turns(pair, name, rounds, cells, thin)
            elif full:
                figures = whole_run(pair, name, rounds, cells, thin)
            else:
                figures = in_part(pair, name, rounds, cells, count)
            if cells < every:
                figures["cells"] = cells
            if full and case.cond > 1 and thin > 1:
                figures["thin"] = thin
    peaks = {"ours_peak_mb": pair.ours("peak_mb"), "original_peak_mb": pair.original("peak_mb")}
    ratio = figures["original_s"] / figures["ours_s"]
    return {"case": name, **figures, "ratio": ratio, **peaks}


def line(row: Mapping[str, Any]) -> str:
    """Return one line of the table."""
    spread = "" if row["spread"] is None else f"{row['spread']:.0%}"
    return (
        f"| {row['case']} | {row['ours_s']:.2f} | {row['original_s']:.2f} | {row['ratio']:.2f} "
        f"| {row['ours_peak_mb']:.0f} | {row['original_peak_mb']:.0f} | {spread} |"
    )


def far_off(row: Mapping[str, Any]) -> list[str]:
    """Return what else was found of a whole run, and how far that is from it: a line each."""
    lines = []
    for way, words in WAYS.items():
        if way + "ours_s" in row:
            ours, original = (row[way + side] for side in SIDES)
            far = original / ours / row["ratio"] - 1
            spread = row[way + "spread"]
            lines.append(
                f"  {words}: {ours:.2f} and {original:.2f} s, ratio {original / ours:.2f} "
                f"({far:+.0%})" + ("" if spread is None else f", spread {spread:.0%}")
            )
    return lines


def main() -> int:
    """Run the benchmark as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of each case in minutes")
    parser.add_argument("--full", action="store_true", help="time whole pictures: hours")
    parser.add_argument("--cells", type=int, metavar="N", help="only a picture's first N cells")
    parser.add_argument("--thin", type=int, default=1, metavar="N", help="see above; default 1")
    parser.add_argument("--case", action="append", choices=CASES, help="only this; repeatable")
    parser.add_argument("--rounds", type=int, help="default 3; 1 with --quick or --full")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    default = os.environ.get("TAMING_REFERENCE_PYTHON") or ROOT / ".venv-ref" / "bin" / "python"
    parser.add_argument("--python", type=Path, default=Path(default), help="the original's Python")
    options = parser.parse_args()
    if options.cells is not None and options.cells < 1:
        parser.error(f"--cells is {options.cells}; expected 1 or more")
    if options.thin < 1 or (options.thin > 1 and not options.full):
        parser.error(f"--thin is {options.thin}; expected 1 or more, and --full")
    if not options.python.is_file():
        print(f"{options.python} does not exist: name one with --python", file=sys.stderr)
        return 2
    rounds = options.rounds or (1 if options.quick or options.full else 3)
    count = QUICK if options.quick else USUAL
    usual = [name for name in CASES if not (options.quick and name.endswith("_unbounded"))]
    pair = Pair(options.python)
    facts = machine(pair)
    print(json.dumps(facts, indent=1))
    print("| case | ours s | original s | ratio | ours MB | original MB | spread |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    rows = []
    for sides, name in pairs(pair, lambda: Pair(options.python), options.case or usual):
        full = options.full or (CASES[name].whole and not options.quick)
        rows.append(measure(sides, name, rounds, full, options.cells, count, thin=options.thin))
        print("\n".join([line(rows[-1]), *far_off(rows[-1])]), flush=True)
    write(options.json, facts, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
