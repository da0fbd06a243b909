import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import islice, repeat
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import pytest

from benchmarks.cases import CASES
from benchmarks.compare import (
    by_turns,
    far_off,
    in_part,
    measure,
    of_same_run,
    parts_of,
    passes,
    some_parts,
    whole_run,
)
from benchmarks.pair import Pair, Side, Times, pairs
from benchmarks.plan import (
    QUICK,
    TURN,
    USUAL,
    Part,
    Pass,
    halves,
    knots,
    our_passes,
    parts,
    representatives,
    spread,
    turns,
)
from official.multimodal.taming_transformer.window import map_condition, sample_window
from tests.reference_env import run_reference
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


def test_parts_lie_in_the_middle_of_equal_parts_and_stand_for_all():
    assert parts(256, 4, 8) == [(28, 8, 64), (92, 8, 64), (156, 8, 64), (220, 8, 64)]
    assert parts(2, 2, 8) == [(0, 1, 1), (1, 1, 1)]
    for cells, count in [(256, 4), (256, 3), (100, 7)]:
        found = parts(cells, count, 5)
        assert sum(part.cells for part in found) == cells
        # exact for costs that grow evenly with the past
        cost = sum(sum(range(s, s + n)) * of / n for s, n, of in found)
        assert cost == pytest.approx(sum(range(cells)), rel=0.01)


@pytest.mark.parametrize("cells", [1, 63, 64, 65, 256, 2688])
def test_turns_are_all_of_a_run(cells):
    found = turns(cells)
    assert sum(found) == cells
    assert max(found) <= TURN
    assert max(found) - min(found) <= 1


class Clock(Pair):
    """Sides that note what is asked of them; ours takes a second for a token, the other one two."""

    def __init__(self) -> None:
        self.ours = self._side("ours", 1.0)
        self.original = self._side("original", 2.0)
        self.log: list[tuple[Any, ...]] = []

    def both(self, do: str, **arguments: Any) -> None:
        self.ours(do, **arguments), self.original(do, **arguments)

    def renew(self) -> None:
        pass

    def _side(self, name: str, each: float) -> Any:
        def answer(do: str, case: str = "", past: int = 0, count: int = 0) -> list[float] | None:
            self.log.append((name, do, count if do == "advance" else past))
            return count * [each] if do == "advance" else None

        return answer


PARTS = [Part(0, 4, 10), Part(20, 5, 50), Part(60, 5, 40)]
LONGER = [Part(0, 8, 10), Part(18, 10, 50), Part(58, 10, 40)]


def turn(side: str, past: int, warming: int, count: int) -> list[tuple[Any, ...]]:
    ready = "begin" if side == "ours" else "prepare"
    return [(side, ready, past), (side, "advance", warming), (side, "advance", count)]


def test_each_side_begins_every_other_part():
    pair = Clock()
    figures = some_parts(pair, "celebahq_b1", 3, LONGER, PARTS)
    assert figures == {"ours_s": 100.0, "original_s": 200.0, "spread": 0.0}
    assert pair.log == 3 * [
        *turn("ours", 0, 0, 8), *turn("original", 0, 0, 4),
        *turn("original", 17, 3, 5), *turn("ours", 17, 1, 10),
        *turn("ours", 57, 1, 10), *turn("original", 57, 3, 5),
    ]  # fmt: skip


def test_all_tokens_of_a_part_count_but_those_that_warm_up(monkeypatch):
    pair = Clock()
    seconds = iter([50.0, 1.0, 1.0, 1.0, 6.0, 1.0])  # one warms up, five count
    monkeypatch.setattr(pair, "ours", lambda do, count=0, **_: list(islice(seconds, count)))
    assert some_parts(pair, "celebahq_b1", 1, PARTS[1:2], PARTS[1:2])["ours_s"] == 100.0


def test_a_run_of_several_samples_begins_in_processes_that_have_made_none(monkeypatch):
    pair, starts = Clock(), []
    monkeypatch.setattr(pair, "renew", lambda: starts.append(len(pair.log)))
    some_parts(pair, "celebahq_b1", 2, PARTS[:1], PARTS[:1])
    some_parts(pair, "celebahq_b8", 1, PARTS[:1], PARTS[:1])
    assert not starts
    some_parts(pair, "celebahq_b25", 2, PARTS[:1], PARTS[:1])
    assert [pair.log[start : start + 4] for start in starts] == 2 * [
        [("ours", "build", 0), ("original", "build", 0),
         ("ours", "reset_peak", 0), ("original", "reset_peak", 0)]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "ours", "original"), [(10.0, 5, 5), (9.9, 5, 4), (4.9, 4, 3), (0.1, 3, 3)]
)
def test_long_parts_end_sooner(seconds, ours, original):
    pair = Clock()
    figures = some_parts(pair, "celebahq_b8", 1, PARTS, PARTS, (seconds, seconds))
    assert figures == {"ours_s": 100.0, "original_s": 200.0, "spread": None}
    advanced = {
        name: [count for side, do, count in pair.log if (side, do) == (name, "advance")]
        for name in ("ours", "original")
    }
    assert advanced == {"ours": [0, 4, 1, ours, 1, ours],
                        "original": [0, 4, 3, original, 3, original]}  # fmt: skip


def test_short_tokens_of_ours_are_more():
    timed = {name: [part[0].timed for part in parts_of(CASES[name], 256, QUICK)]
             for name in ("celebahq_b1", "celebahq_b8", "celebahq_b25")}  # fmt: skip
    assert timed == {"celebahq_b1": [32, 8], "celebahq_b8": [8, 8], "celebahq_b25": [8, 8]}


def test_a_whole_run_of_the_originals_comes_between_the_halves_of_ours():
    pair = Clock()
    figures = whole_run(pair, "celebahq_b8", 1, 101)
    seconds = {"ours_s": 101.0, "original_s": 202.0, "spread": None}
    assert figures == {**seconds, **{f"parts_{key}": value for key, value in seconds.items()}}
    assert pair.log == [
        ("ours", "begin", 0), ("original", "prepare", 0), ("ours", "advance", 50),
        ("original", "advance", 0), ("original", "advance", 101), ("ours", "advance", 51),
    ]  # fmt: skip


class Growing(Clock):
    """Sides of which each token takes longer than the one before it, and some much longer."""

    def _side(self, name: str, each: float) -> Any:
        place = 0

        def answer(do: str, past: int = 0, count: int = 0, **_: Any) -> list[float]:
            nonlocal place
            place = past if do in ("begin", "prepare") else place + count
            tokens = range(place - count, place) if do == "advance" else ()
            return [each * (1 + k / 100 + 9 * (k % 7 == 0)) for k in tokens]

        return answer


@pytest.mark.parametrize("cells", [1, 3, 101, 256])
@pytest.mark.parametrize("case", ["celebahq_b1", "celebahq_b8", "celebahq_b25"])
def test_what_quick_makes_of_a_whole_run_is_what_it_finds_itself(case, cells):
    whole = whole_run(Growing(), case, 1, cells)
    quick = in_part(Growing(), case, 1, cells, QUICK)
    assert {key: whole[f"parts_{key}"] for key in quick} == quick
    for side, each in (("ours_s", 1), ("original_s", 2)):
        usual = [each * (1 + k / 100 + 9 * (k % 7 == 0)) for k in range(cells)]
        assert whole[side] == pytest.approx(sum(usual))


def test_parts_of_a_run_stand_for_all_of_it():
    seconds = [1 + k / 100 for k in range(256)]
    for timed in parts_of(CASES["celebahq_b1"], 256, QUICK):
        assert of_same_run(seconds, timed, 1e9) == pytest.approx(sum(seconds), rel=0.005)
        assert of_same_run(seconds, timed, 0.0) == pytest.approx(sum(seconds), rel=0.15)


def test_how_far_off_quick_is():
    row = {"ratio": 2.0, "ours_s": 50.0, "original_s": 100.0}
    row.update(parts_ours_s=50.0, parts_original_s=95.0, parts_spread=None)
    parts = "  by --quick's parts of the same run: 50.00 and 95.00 s, ratio 1.90 (-5%)"
    assert far_off(row) == [parts]
    row.update(quick_ours_s=50.0, quick_original_s=103.0, quick_spread=0.071)
    turns = "  by --quick, by turns with it: 50.00 and 103.00 s, ratio 2.06 (+3%), spread 7%"
    assert far_off(row) == [parts, turns]


@pytest.mark.parametrize(("case", "cells"), [("celebahq_b1", 101), ("drin_256", 20)])
def test_whole_runs_and_quick_take_turns_in_fresh_processes(monkeypatch, capsys, case, cells):
    calls: list[tuple[str, bool]] = []

    def timed(way: str, seconds: list[tuple[float, float]]) -> Any:
        def once(pair: Pair, name: str, rounds: int, most: int, *count: Any) -> dict[str, Any]:
            assert (name, rounds, most) == (case, 1, cells)
            assert list(count) == ([QUICK] if way == "quick" else [7])
            calls.append((way, pair.stirred))
            ours, original = seconds.pop(0)
            return {"ours_s": ours, "original_s": original, "spread": None}

        return once

    whole = [(1.0, 4.0), (3.0, 3.0), (2.0, 5.0)]
    quick = [(7.0, 7.0), (9.0, 9.0), (8.0, 9.0), (8.0, 9.9), (6.0, 9.0), (9.0, 9.0)]
    monkeypatch.setattr("benchmarks.compare.whole_run", timed("whole", whole))
    monkeypatch.setattr("benchmarks.compare.in_part", timed("quick", quick))
    figures = by_turns(Clock(), case, 3, cells, 7)
    ways = 3 * ["quick", "whole", "quick"]
    assert calls == [(way, number > 0) for number, way in enumerate(ways)]
    assert figures == {
        "ours_s": 2.0, "original_s": 4.0, "spread": 1.0,
        "quick_ours_s": 8.0, "quick_original_s": 9.0, "quick_spread": 3.0 / 8.0,
    }  # fmt: skip
    assert f"{case}: 3.00 and 3.00 s whole\n" in capsys.readouterr().err


@pytest.mark.parametrize(("case", "cells"), [("celebahq_b8", 101), ("drin_256", 20)])
def test_by_turns_both_ways_find_what_each_finds_alone(monkeypatch, case, cells):
    pair, renewed = Steady(), []
    monkeypatch.setattr(pair, "renew", lambda: renewed.append(case))
    figures = by_turns(pair, case, 2, cells)
    assert renewed == 5 * [case]
    for key, value in whole_run(Steady(), case, 1, cells).items():
        assert figures[key] == (0.0 if key.endswith("spread") else pytest.approx(value))
    for key, value in in_part(Steady(), case, 1, cells, QUICK).items():
        assert figures[f"quick_{key}"] == (0.0 if key == "spread" else pytest.approx(value))


def test_a_row_of_a_picture_cut_short_says_of_how_many_cells(monkeypatch):
    asked = []

    def once(pair: Pair, name: str, rounds: int, cells: int, thin: int) -> dict[str, Any]:
        assert thin == 7
        asked.append(cells)
        return {"ours_s": 1.0, "original_s": 2.0, "spread": None}

    monkeypatch.setattr("benchmarks.compare.whole_run", once)
    sizes = 20, 255, 256, 10**6, None
    rows = [measure(Clock(), "drin_256", 1, True, most, thin=7) for most in sizes]
    assert asked == [20, 255, 256, 256, 256]
    assert [row.get("cells") for row in rows] == [20, 255, None, None, None]
    assert {row["thin"] for row in rows} == {7}
    assert "thin" not in measure(Clock(), "celebahq_b8", 1, True, thin=7)  # has no windows
    assert {row["ratio"] for row in rows} == {2.0}


class Steady(Clock):
    """Sides whose tokens and passes all take the same."""

    def _side(self, name: str, each: float) -> Any:
        def answer(do: str, count: int = 0, **_: Any) -> Any:
            return each if do == "one_pass" else count * [each]

        return answer


def test_the_first_window_of_a_turn_does_not_count():
    pair = Clock()
    figures = whole_run(pair, "sflckr_64x42", 1, 257)
    assert figures == {"ours_s": 257.0, "original_s": 514.0, "spread": None}
    advanced = [(side, count) for side, do, count in pair.log if do == "advance"]
    assert advanced == [
        ("ours", 64), ("original", 1), ("original", 128), ("ours", 64),
        ("ours", 64), ("original", 1), ("original", 129), ("ours", 65),
    ]  # fmt: skip


def test_a_window_stands_for_many_where_a_run_is_thin():
    pair, seconds = Clock(), iter([9.0, 1.0, 2.0, 9.0, 3.0, 4.0, 5.0])
    log = []

    def original(do: str, count: int = 0, **_: Any) -> list[float]:
        log.append((do, count))
        return list(islice(seconds, count))

    pair.original = original
    figures = whole_run(pair, "sflckr_64x42", 1, 257, 64)
    assert log == [("prepare", 0), *[("advance", count) for count in (1, 2, 1, 3)]]
    # of 128 tokens two are timed, of 129 three; each turn's first warms up
    assert figures["original_s"] == pytest.approx(128 * 1.5 + 129 * (3.0 + 4.0 + 5.0) / 3)


def tiny_side(monkeypatch, **case) -> Any:
    """Return our side with a small transformer for the case "tiny"."""
    from dataclasses import replace

    from benchmarks.ours import Ours

    shape = {"vocab_size": 1024, "block_size": 512, "n_layer": 1, "n_head": 1, "n_embd": 8}
    monkeypatch.setitem(
        CASES, "tiny", replace(CASES["sflckr_64x42"], gpt=shape, top_k=None, **case)
    )
    monkeypatch.setattr("benchmarks.ours.tune_cpu", lambda: None)
    side = Ours()
    side.model = tiny_gpt(1024, 512, n_layer=1, n_head=1, n_embd=8)
    return side


def runs(side: Any) -> list[int]:
    return [run.length for run in side._past._segments(0)]


@pytest.mark.parametrize("batch", [1, 3])
def test_a_part_of_our_run_is_that_of_one_from_the_beginning(monkeypatch, batch):
    monkeypatch.setattr("official.multimodal.taming_transformer.kv_cache.SMALL", 1 << 12)
    late = tiny_side(monkeypatch, cond=1, batch=batch, shape=(16, 16))
    made: list[Pass] = []
    next_logits = type(late.model).next_logits

    def counted(self: Any, tokens: Any, cache: Any) -> Any:
        shared = cache._segments(0)[0].length if batch > 1 and cache.length else 0
        made.append(Pass(len(tokens), shared, cache.length - shared, tokens.shape[1]))
        return next_logits(self, tokens, cache)

    monkeypatch.setattr(type(late.model), "next_logits", counted)
    early = tiny_side(monkeypatch, cond=1, batch=batch, shape=(16, 16))
    early.begin("tiny", past=1)
    early.advance(99)
    expected = list(our_passes(CASES["tiny"]))
    assert made == expected[1:100]
    for past, count in [(10, 20), (40, 3), (43, 57), (50, 50)]:  # the last one begins anew
        made.clear()
        late.begin("tiny", past=past)
        assert min(late.advance(count)) > 0
        assert made == expected[past : past + count]
    assert runs(late) == runs(early)


def test_our_whole_run_is_that_of_the_sampler(monkeypatch):
    import benchmarks.ours

    numbers: list[int] = []
    side = tiny_side(monkeypatch, cond=256, shape=(18, 21))
    sampler = benchmarks.ours._sample

    def counted(gpt: Any, case: Any) -> Any:
        for number, _ in enumerate(sampler(gpt, case)):
            numbers.append(number)
            yield

    monkeypatch.setattr("benchmarks.ours._sample", counted)
    side.begin("tiny")
    for count in turns(18 * 21):
        side.advance(count)
    assert numbers == list(range(18 * 21))
    with pytest.raises(StopIteration):  # there are no more
        side.advance(1)


@pytest.mark.slow
def test_the_originals_steps_are_those_of_its_own_loop():
    drawn = json.loads(run_reference(Path(__file__).parent / "reference" / "steps.py"))
    assert [len(row) for row in drawn["benchmark"]] == [40, 40]
    assert len({tuple(row) for row in drawn["benchmark"]}) == 2
    assert drawn["benchmark"] == drawn["sample_with_past"]
    assert drawn["shapes after a made-up past"] == [[2, 2, 2, 2, 1, 8]] * 7
    assert drawn["layers passed"] == [[8, 8, 0], [1, 1, 1]]  # settling, and a window after it


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


class Windows(Pair):
    """Sides that take given times, and a log of what the original's does between our lengths."""

    def __init__(self, ours: Iterator[float], original: Iterator[float]) -> None:
        self.log: list[str] = []
        self._ours, self._original = ours, original

    def ours(self, do: str, **_: Any) -> float | None:
        if do == "prepare":
            self.log.append("length")
        return next(self._ours) if do == "one_pass" else None

    def original(self, do: str, count: int = 0, **_: Any) -> list[float]:
        self.log.append(f"{do} {count}")
        return list(islice(self._original, count))


def test_windows_of_the_original_are_timed_for_seven_seconds_between_our_passes():
    pair = Windows(repeat(1.0), iter([2.2, 2.5, 9.0, 2.0]))
    figures = passes(pair, "sflckr_64x42", 1, 2688, QUICK)
    assert figures["original_s"] == pytest.approx(2688 * 2.5)  # the median of the last three
    ours = our_passes(CASES["sflckr_64x42"])
    assert figures["ours_s"] == pytest.approx(sum(ours.values()))
    assert figures["spread"] is None
    before, after = (len(half) * ["length"] for half in halves(representatives(ours, QUICK)))
    assert pair.log == [*before, "prepare 0", "settle 0", "advance 1", "advance 3", *after]


@pytest.mark.parametrize("count", [QUICK, USUAL])
@pytest.mark.parametrize(
    ("case", "most"),
    [
        ("sflckr_64x42", {Pass(1, 0, 0, 392)}),
        ("sflckr_64x42_x4", {Pass(1, 0, 0, 256), Pass(4, 256, 0, 136)}),
    ],
)
def test_passes_that_make_up_most_of_a_map_are_timed_three_times(case, most, count):
    weights = representatives(our_passes(CASES[case]), count)
    before, after = halves(weights)
    times = Counter([*before, *after])
    assert times == {p: 3 if p in most else 1 for p in weights}
    assert most <= {*before} & {*after}


def test_the_median_of_three_times_of_a_pass_counts():
    case, heavy = "sflckr_64x42", Pass(1, 0, 0, 392)
    weights = representatives(our_passes(CASES[case]), QUICK)
    before, after = halves(weights)
    slow = iter([1.0, 5.0, 3.0])
    seconds = [next(slow) if shape == heavy else 1.0 for shape in [*before, *after]]
    ours = (call for each in seconds for call in (0.1, each))  # the first of a turn warms up
    figures = passes(Windows(ours, repeat(7.0)), case, 1, 2688, QUICK)
    assert figures["ours_s"] == pytest.approx(sum(weights.values()) + 2.0 * weights[heavy])


def test_few_lengths_are_timed_before_and_after_the_windows():
    # Each pass of ours first warms up, then is timed: a second before the windows, two after them.
    once = [0.0, 1.0] * 4 + [0.0, 2.0] * 4
    pair = Windows(iter(once + [2 * each for each in once]), iter([3.0, 6.0, 8.0, 15.0, 17.0]))
    figures = passes(pair, "drin_256", 2, 256, QUICK)
    ours = sum(our_passes(CASES["drin_256"]).values())
    assert figures["ours_s"] == pytest.approx(ours * (1.5 + 3.0) / 2)
    assert figures["original_s"] == pytest.approx(256 * (7.0 + 16.0) / 2)
    assert figures["spread"] == pytest.approx(9.0 / 11.5)
    four = 4 * ["length"]
    assert pair.log == [
        *four, "prepare 0", "settle 0", "advance 1", "advance 2", *four,
        *four, "prepare 0", "advance 1", "advance 1", *four,  # one as long as all of them counts
    ]  # fmt: skip


def test_the_heap_is_settled_for_each_number_of_samples_and_two_long_windows_count():
    pair = Windows(repeat(1.0), iter([3.0, 5.0, 5.0, 7.0, 9.0, 6.9, 21.0]))
    for case, seconds in zip(["drin_256", *2 * ["sflckr_64x42_x4"]], [5.0, 8.0, 21.0]):
        cells = CASES[case].shape[0] * CASES[case].shape[1]
        figures = passes(pair, case, 1, cells, QUICK)
        assert figures["original_s"] == cells * seconds
    assert [entry for entry in pair.log if entry != "length"] == [
        "prepare 0", "settle 0", "advance 1", "advance 2",
        "prepare 0", "settle 0", "advance 1", "advance 1",
        "prepare 0", "advance 1", "advance 1",  # less than seven seconds: it warms up
    ]  # fmt: skip


def test_calls_count_after_six_seconds():
    pair = Turns([3.5, 2.6, 2.5], [7.0, 5.0])
    times = pair.alternate({"do": "x"}, {"do": "y"}, 1, 12.0)
    assert (times.ours, times.original) == ([2.5], [5.0])


def test_a_long_call_counts_at_once_but_the_first_of_a_process():
    pair = Turns([16.0, 13.0, 14.0], [26.0, 20.0, 21.0])
    times = pair.alternate({"do": "x"}, {"do": "y"}, 2, 12.0)
    assert (times.ours, times.original) == ([13.0, 14.0], [20.0, 21.0])


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


def test_fresh_processes_have_not_been_timed(monkeypatch):
    log: list[str] = []
    pair = Noted(log)
    monkeypatch.setattr(pair, "_start", lambda: log.append("start"))
    pair.timed = True
    pair.renew()
    assert not pair.timed
    assert log == ["start 0", "close 0", "start", "describe 0"]


def test_fresh_processes_are_those_that_wait_for_the_next_network(monkeypatch):
    log: list[str] = []
    pair, following = Noted(log), Noted(log)
    pair.following = following
    following.ours, following.original = waiting = object(), object()
    monkeypatch.setattr(following, "_start", lambda: log.append("start again"))
    pair.renew()
    assert (pair.ours, pair.original) == waiting
    assert log == ["start 0", "start 1", "close 0", "start again", "describe 0"]


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


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/PID/stat")
def test_a_side_ends_with_a_benchmark_that_is_killed():
    program = """
import sys, time
from pathlib import Path
from benchmarks.pair import Side
side = Side(Path(sys.executable), "ours.py")
side("describe")
print(side._process.pid, flush=True)
time.sleep(60)
"""
    root = str(Path(__file__).resolve().parent.parent)
    benchmark = subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert benchmark.stdout is not None
    side = int(benchmark.stdout.readline())
    benchmark.kill()
    benchmark.communicate()
    end = time.monotonic() + 10
    while Path(f"/proc/{side}").exists() and state(side) != "Z" and time.monotonic() < end:
        time.sleep(0.01)
    assert not Path(f"/proc/{side}").exists() or state(side) == "Z"


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


BENCHMARKS = sorted((Path(__file__).resolve().parent.parent / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", [p for p in BENCHMARKS if "def main" in p.read_text("utf-8")],
                         ids=lambda path: path.name)  # fmt: skip
def test_a_benchmark_says_what_it_is_and_does_not_start(script):
    done = subprocess.run(
        [sys.executable, str(script), "--help"], check=True, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.stdout.startswith(f"usage: {script.name}")
