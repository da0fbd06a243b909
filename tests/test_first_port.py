"""The benchmark beside the first port: everything but the first port, which is not here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import first_port
from benchmarks.agreement import codes, difference, picture, tokens
from benchmarks.cases import CASES
from benchmarks.compare import REST
from benchmarks.first_port import (
    MEASURED,
    Beside,
    CrashError,
    Port,
    beside,
    commit,
    line,
    loading,
)
from benchmarks.pair import Side
from tools import readme

ROOT = Path(__file__).resolve().parent.parent
RECORDED = json.loads((ROOT / "benchmarks" / "first_port.json").read_text(encoding="utf-8"))


def saved(folder: Path, name: str, **arrays: np.ndarray) -> Path:
    path = folder / f"{name}.npz"
    np.savez(path, **arrays)
    return path


def test_the_difference_is_measured_in_magnitudes_of_the_other_side(tmp_path):
    a = saved(tmp_path, "a", x=np.array([1.0, -4.0]), y=np.array([[2.0]]))
    b = saved(tmp_path, "b", x=np.array([1.5, -4.0]), y=np.array([[2.0]]))
    assert difference(a, b) == {"x": 0.125, "y": 0.0}


def test_what_cannot_be_compared_is_refused(tmp_path):
    a = saved(tmp_path, "a", x=np.zeros(2))
    with pytest.raises(ValueError, match=r"\['x'\] on one side, \['y'\]"):
        difference(a, saved(tmp_path, "b", y=np.zeros(2)))
    with pytest.raises(ValueError, match=r"x is \(2,\) on one side, \(3,\)"):
        difference(a, saved(tmp_path, "c", x=np.zeros(3)))


def test_inputs_fit_every_model_and_are_always_the_same():
    case = CASES["gumbel_256"]
    assert picture(case).shape == (1, 3, 256, 256)
    assert picture(case).dtype == np.float32
    assert np.abs(picture(case)).max() <= 1
    vocabulary = min(c.gpt["vocab_size"] for c in CASES.values() if c.gpt)
    for drawn in (codes(32, 16), tokens()):
        assert drawn.dtype == np.int32
        assert 0 <= drawn.min() < drawn.max() < vocabulary
    assert codes(32, 16).shape == (1, 32, 16)
    np.testing.assert_array_equal(picture(case), picture(case))
    np.testing.assert_array_equal(tokens(), tokens())


class Answering:
    """A side that takes its given seconds, and whose given command fails."""

    def __init__(self, seconds: float, failing: str = "") -> None:
        self.seconds, self.failing, self.asked = seconds, failing, []

    def __call__(self, do: str, **arguments):
        self.asked.append(do)
        if do == self.failing:
            raise CrashError("ValueError: no")
        if do == "output":
            np.savez(arguments["path"], x=np.array([self.seconds]))
        if do == "advance":
            return arguments["count"] * [self.seconds]
        return None if do == "attempt" else self.seconds


def pair_of(ours: Answering, port: Answering) -> Beside:
    pair = Beside.__new__(Beside)
    pair.ours, pair.original = ours, port
    return pair


def test_a_case_that_runs_has_both_times(tmp_path):
    row = beside(pair_of(Answering(2.0), Answering(8.0)), "reconstruct_256", 1)
    assert (row["ours_s"], row["first_port_s"], row["ratio"]) == (2, 8, 4)
    assert (row["ours_peak_mb"], row["first_port_peak_mb"]) == (2, 8)
    assert (row["crash"], row["agreement"]) == (None, {"x": 0.75})
    assert line(row) == "| reconstruct_256 | 2.00 | 8.00 | 4.0 | 2 | 8 |  |"


@pytest.mark.parametrize("failing", ["build", "reconstruct"])
def test_where_the_first_port_crashes_ours_is_timed_alone(failing):
    port = Answering(8.0, failing)
    pair = pair_of(Answering(2.0), port)
    row = beside(pair, "reconstruct_256", 1)
    assert (row["ours_s"], row["ours_peak_mb"]) == (2, 2)
    assert [row[key] for key in ("first_port_s", "ratio", "first_port_peak_mb")] == [None] * 3
    assert row["crash"] == "when timed: ValueError: no"
    assert line(row).endswith("|  |  | 2 |  | when timed: ValueError: no |")
    assert pair.original is port
    assert port.asked[-1] == failing


def test_a_call_that_ends_the_process_leaves_the_times():
    row = beside(pair_of(Answering(2.0), Answering(8.0, "attempt")), "drin_256", 1)
    assert row["ratio"] == 256 * 8 / row["ours_s"]
    assert row["crash"] == "at the call: ValueError: no"
    assert row["agreement"] == {"x": 0.75}


@pytest.mark.parametrize("crash", [False, True])
def test_loading_runs_each_side_by_itself(monkeypatch, crash):
    running: list[str] = []

    class Process:
        def __init__(self, name, seconds):
            self.name, self.seconds = name, seconds
            running.append(name)

        def __call__(self, do, **arguments):
            assert running == [self.name]
            if do == "load" and self.name == "port" and crash:
                raise CrashError("port.py ended with status -9")
            return self.seconds

        def close(self):
            running.remove(self.name)

    rests: list[float] = []
    monkeypatch.setattr(first_port.time, "sleep", rests.append)
    monkeypatch.setattr(first_port, "ours", lambda: Process("ours", 2.0))
    monkeypatch.setattr(first_port, "Port", lambda folder: Process("port", 8.0))
    row, said = loading(Path("folder"), "load_celebahq")
    assert running == []
    assert rests == [REST] * (first_port.LOADS + 1 if crash else 2 * first_port.LOADS)
    assert (row["ours_s"], row["ours_peak_mb"]) == (2, 2)
    assert said == ("when timed: port.py ended with status -9" if crash else None)
    theirs = [row[key] for key in ("first_port_s", "ratio", "first_port_peak_mb")]
    assert theirs == ([None] * 3 if crash else [8, 4, 8])


def test_an_answer_that_is_a_crash_or_none_is_an_error(monkeypatch):
    port = Port.__new__(Port)
    monkeypatch.setattr(Side, "__call__", lambda self, do: {"crash": f"{do} failed"})
    with pytest.raises(CrashError, match="load failed"):
        port("load")

    def ended(self, do):
        raise SystemExit("port.py ended with status -11")

    monkeypatch.setattr(Side, "__call__", ended)
    with pytest.raises(CrashError, match="status -11"):
        port("load")


def test_only_a_checkout_is_taken(tmp_path):
    with pytest.raises(ValueError, match="no checkout of MegEngine/Models"):
        commit(tmp_path)
    (tmp_path / "official" / "multimodal" / "taming_transformer").mkdir(parents=True)
    with pytest.raises(ValueError, match="no git checkout"):
        commit(tmp_path)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "a"], check=True)
    assert re.fullmatch(r"[0-9a-f]{40}", commit(tmp_path))


def test_a_wrong_folder_ends_the_call_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["first_port.py", "--port", str(tmp_path)])
    assert first_port.main() == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_record_is_whole_and_of_equal_networks():
    assert [case["case"] for case in RECORDED["cases"]] == list(MEASURED)
    assert re.search(r"at [0-9a-f]{40}$", RECORDED["machine"]["first_port"][0])
    for case in RECORDED["cases"]:
        if case["ratio"] is not None:
            assert case["ratio"] == pytest.approx(case["first_port_s"] / case["ours_s"])
        assert all(far < 1e-4 for far in (case["agreement"] or {}).values())


def test_the_table_has_a_line_for_every_case():
    lines = readme.first_port().splitlines()[2:]
    assert len(lines) == len(RECORDED["cases"])
    for text, case in zip(lines, RECORDED["cases"]):
        assert text.startswith(f"| `{case['case']}` | {case['ours_s']:.1f} |")
        assert text.endswith(f"| crashes {case['crash']} |" if case["crash"] else "|  |")
