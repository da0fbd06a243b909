import json
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.cases import CASES
from benchmarks.pair import Pair, Side, Times, pairs
from benchmarks.plan import QUICK, Pass, knots, midpoints, our_passes, representatives, spread
from official.multimodal.taming_transformer.window import map_condition, sample_window
from tests.tiny import tiny_gpt


def token_passes(passes) -> float:
    return sum(p.batch * p.new * count for p, count in passes.items())


@pytest.mark.parametrize("limit", [None, 250])
def test_the_dry_run_makes_the_passes_of_a_real_run(limit, monkeypatch):
    from dataclasses import replace

    from official.multimodal.taming_transformer.sampling import SamplingParams

    gpt = tiny_gpt(50, 512, n_layer=1, n_head=1, n_embd=8)
    shape = {"vocab_size": 50, "block_size": 512, "n_layer": 1, "n_head": 1, "n_embd": 8}
    case = replace(CASES["sflckr_64x42"], gpt=shape, shape=(18, 21), cache_memory=100_000)
    made: list[tuple[int, int, int]] = []
    next_logits = type(gpt).next_logits

    def counted(self, tokens, cache):
        made.append((*tokens.shape, cache.length))
        return next_logits(self, tokens, cache)

    monkeypatch.setattr(type(gpt), "next_logits", counted)
    steps = sample_window(
        gpt, map_condition(np.zeros((1, 18, 21), int)), np.zeros((1, 18, 21), int),
        params=SamplingParams(), seed=0, samples=[0], n_embed=50, cache_memory=100_000,
    )  # fmt: skip
    assert sum(1 for _ in islice(steps, limit)) == (limit or 18 * 21)
    expected: list[tuple[int, int, int]] = []
    for p, count in our_passes(case, limit).items():
        expected += [(p.batch, p.new, p.shared + p.past)] * count
    assert sorted(made) == sorted(expected)


@pytest.mark.parametrize(
    ("case", "expected"), [("drin_256", 511), ("sflckr_64x42_unbounded", 524_293)]
)
def test_token_passes_are_those_that_exactness_needs(case, expected):
    assert token_passes(our_passes(CASES[case])) == expected


@pytest.mark.parametrize("case", [name for name, c in CASES.items() if c.gpt])
def test_few_passes_stand_for_all(case):
    passes = our_passes(CASES[case])
    few = representatives(passes)
    assert len(few) <= 20
    assert set(few) <= set(passes)
    assert sum(few.values()) == pytest.approx(sum(passes.values()))
    assert token_passes(few) == pytest.approx(token_passes(passes))


def test_the_past_of_a_pass_begins_with_the_condition_as_in_a_run(monkeypatch):
    from dataclasses import replace

    from benchmarks.ours import Ours

    monkeypatch.setitem(CASES, "tiny", replace(CASES["sflckr_64x42"], cond=20, top_k=None))
    monkeypatch.setattr("benchmarks.ours.tune_cpu", lambda: None)
    side = Ours()
    side.model = tiny_gpt(50, 512, n_layer=1, n_head=1, n_embd=8)
    for past, runs in [(0, []), (20, [20]), (22, [20, 2]), (4, [4]), (21, [20, 1])]:
        side.prepare("tiny", [1, 0, past, 1])
        assert [run.length for run in side._past._segments(0)] == runs


@pytest.mark.parametrize(("cond", "shared"), [(1, 0), (20, 0), (0, 32)])
def test_the_past_of_a_pass_lies_in_the_runs_of_one_grown_token_by_token(monkeypatch, cond, shared):
    from dataclasses import replace

    from benchmarks import ours

    monkeypatch.setitem(CASES, "tiny", replace(CASES["sflckr_64x42"], cond=cond))
    monkeypatch.setattr("benchmarks.ours.tune_cpu", lambda: None)
    monkeypatch.setattr("official.multimodal.taming_transformer.kv_cache.SMALL", 1 << 12)
    side, grown = ours.Ours(), ours.Ours()
    side.model = grown.model = tiny_gpt(50, 512, n_layer=1, n_head=1, n_embd=8)
    for past in range(1, 200):
        grown.prepare("tiny", [1, shared, past, 1])  # one token more each time
        if past in (1, 15, 16, 17, 33, 90, 91, 128, 199):
            side.prepare("tiny", [1, shared, past, 1])
        else:
            continue
        runs = [[run.length for run in s._past._segments(0)] for s in (side, grown)]
        assert runs[0] == runs[1]


def test_passes_without_a_past_begin_with_the_longest():
    few = representatives(our_passes(CASES["sflckr_64x42_x4"]), QUICK)
    fresh = [p.new for p in few if p.batch == 4 and p.past == 0 and p.new > 1]
    assert len(fresh) == 3
    assert fresh == sorted(fresh, reverse=True)


def test_quick_passes_stand_for_the_tokens_of_all():
    for name in ("celebahq_b25", "drin_256", "sflckr_64x42_x4"):
        passes = our_passes(CASES[name])
        few = representatives(passes, QUICK)
        assert sum(few.values()) == pytest.approx(sum(passes.values()))
        assert token_passes(few) == pytest.approx(token_passes(passes), rel=1e-3)


def test_the_length_that_comes_most_often_is_timed():
    counts = dict.fromkeys(range(10, 60, 10), 1.0)
    assert knots(counts, 3) == [10, 30, 50]
    assert knots({**counts, 40: 9.0}, 3) == [10, 40, 50]
    assert knots({**counts, 10: 9.0}, 3) == [10, 30, 50]
    assert knots(counts, 2) == [10, 50]
    assert knots({10: 1.0, 20: 1.0, 90: 4.0}, 1) == [90]
    assert knots({7: 3.0}, 4) == [7]


def test_midpoints_are_exact_for_linear_costs():
    assert midpoints(256, 3) == [42, 128, 213]
    assert midpoints(2, 5) == [0, 1]
    for cells, count in [(256, 4), (256, 5), (100, 3)]:
        at = midpoints(cells, count)
        assert cells / count * sum(at) == pytest.approx(sum(range(cells)), rel=0.01)


def test_counts_are_shared_out_as_linear_interpolation_does():
    assert spread({0: 1, 5: 2, 10: 1}, [0, 10]) == {0: 2, 10: 2}
    assert spread({2: 4}, [0, 8]) == {0: 3, 8: 1}


def test_a_pass_says_what_it_is():
    assert Pass(8, 256, 16, 1) == (8, 256, 16, 1)


class Turns(Pair):
    """Sides that note whose turn it was and answer with given seconds."""

    def __init__(self, ours: list[float], original: list[float]) -> None:
        self.turns: list[str] = []
        answers = {"ours": iter(ours), "original": iter(original)}

        def side(name: str) -> Any:
            def answer(do: str) -> float:
                self.turns.append(name)
                return next(answers[name])

            return answer

        self.ours, self.original = side("ours"), side("original")


def test_sides_take_turns_and_three_calls_of_a_turn_do_not_count():
    pair = Turns([1.2, 1.0, 0.8, 0.78, 1.3, 1.2, 1.1, 1.0], [1.0, 0.9, 1.1, 0.8] * 2)
    times = pair.alternate({"do": "x"}, {"do": "y"}, 2, 12.0)
    assert pair.turns == [*["ours"] * 4, *["original"] * 4] * 2
    assert (times.ours, times.original) == ([0.78, 1.0], [0.8, 0.8])


def test_calls_count_after_six_seconds():
    pair = Turns([3.5, 2.6, 2.5], [7.0, 5.0])
    times = pair.alternate({"do": "x"}, {"do": "y"}, 1, 12.0)
    assert (times.ours, times.original) == ([2.5], [5.0])


def test_the_fastest_of_the_originals_calls_counts_where_it_is_asked_for():
    pair = Turns([0.9, 0.6, 1.1, 0.8], [0.9, 0.6, 1.1, 0.8])
    times = pair.alternate({"do": "x"}, {"do": "y"}, 1, 12.0, fastest=True)
    assert (times.ours, times.original) == ([0.8], [0.6])


def test_a_call_that_is_long_counts_at_once():
    pair = Turns([13.0], [20.0])
    times = pair.alternate({"do": "x"}, {"do": "y"}, 1, 12.0)
    assert (times.ours, times.original) == ([13.0], [20.0])


def test_a_call_of_two_seconds_counts_at_once_but_for_the_first_of_a_process():
    pair = Turns([4.9, 3.8, 2.5], [4.7, 3.6, 2.6])
    for expected in (3.8, 3.6), (2.5, 2.6):
        times = pair.alternate({"do": "x"}, {"do": "y"}, 1, 2.0)
        assert (times.ours, times.original) == ([expected[0]], [expected[1]])


def test_what_is_cheap_is_timed_more_often_and_a_side_alone_too():
    pair = Turns([0.5, 0.5, 0.5, 0.2, 0.1, 0.3, 3.0], [])
    times = pair.alternate({"do": "x"}, None, 1, 12.0)
    assert pair.turns == ["ours"] * 6
    assert (times.ours, times.original) == ([0.2], [])
    pair = Turns([0.0] * 100, [])
    pair.alternate({"do": "x"}, None, 1, 12.0)
    assert len(pair.turns) == 3 + 8


class Noted(Pair):
    """Notes in a common log what is done with it."""

    def __init__(self, log: list[str]) -> None:
        self.log, self.number = log, sum(line.startswith("start") for line in log)
        log.append(f"start {self.number}")

    def both(self, do: str, **arguments: Any) -> None:
        self.log.append(f"{do} {self.number}")

    def close(self) -> None:
        self.log.append(f"close {self.number}")


def test_the_next_processes_start_while_a_network_is_built_and_get_its_memory_warm():
    log: list[str] = []
    cases = ["reconstruct_256", "reconstruct_512", "gumbel_256", "drin_256"]
    for pair, name in pairs(Noted(log), lambda: Noted(log), cases):
        pair.build(name)
        log.append(name)
    first = ["start 0", "start 1", "build 0", "describe 1", "reconstruct_256"]
    same = ["build 0", "describe 1", "reconstruct_512"]
    second = ["describe 1", "close 0", "start 2", "build 1", "describe 2", "gumbel_256"]
    last = ["describe 2", "close 1", "build 2", "drin_256", "close 2"]
    assert log == first + same + second + last


def state(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/PID/stat")
def test_a_side_stands_still_between_its_commands():
    side = Side(Path(sys.executable), "ours.py")
    for _ in range(2):
        assert side("describe")
        end = time.monotonic() + 10
        while state(side._process.pid) != "T" and time.monotonic() < end:
            time.sleep(0.01)
        assert state(side._process.pid) == "T"
    side.close()
    assert side._process.returncode == -signal.SIGKILL


def test_the_spread_of_one_round_is_unknown():
    assert Times([1.0], [2.0]).spread is None
    assert Times([1.0, 1.0, 1.5], [2.0, 2.0, 2.0]).spread == 0.5


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_the_memory_that_gets_a_case_ready_is_left_out():
    worker = """
import numpy as np
from benchmarks.worker import serve
serve({name: lambda mb: int(np.ones(mb << 20, np.uint8)[0]) for name in ("build", "work")})
"""
    commands = [{"do": "reset_peak"}, {"do": "build", "mb": 400}, {"do": "peak_mb"},
                {"do": "work", "mb": 150}, {"do": "build", "mb": 400}, {"do": "peak_mb"},
                {"do": "reset_peak"}, {"do": "peak_mb"}]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", worker],
        input="".join(json.dumps(command) + "\n" for command in commands),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
        check=True, stdout=subprocess.PIPE, text=True, timeout=120,
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    before, after, forgotten = answers[2], answers[5], answers[7]
    assert 140 < after - before < 200
    assert forgotten < before + 20
