"""Runs of ConditionalSampler that are interrupted, killed, repeated or in each other's way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from official.multimodal.taming_transformer.drawing import Drawing
from tests.conditional_runs import CALLS, files_of, film_frames, sampler, save_labels
from tests.tiny_models import label_map


def _stop_after(monkeypatch, cells, error=KeyboardInterrupt):
    whole = Drawing.steps

    def steps(self, indices=None, done=0):
        for step in whole(self, indices, done):
            if step.number > cells:
                raise error
            yield step

    monkeypatch.setattr(Drawing, "steps", steps)


@pytest.mark.parametrize("kind", ["segmentation", "class"])
def test_an_interrupted_run_leaves_a_film_and_goes_on_to_the_same_bytes(
    tmp_path, monkeypatch, kind
):
    settings = {"animate": True, "update_every": 10}
    whole = CALLS[kind](sampler(kind, root=tmp_path / "whole", **settings), name="a", n_samples=2)
    with monkeypatch.context() as patch:
        _stop_after(patch, 27)
        with pytest.raises(KeyboardInterrupt):
            CALLS[kind](sampler(kind, root=tmp_path / "cut", **settings), name="a", n_samples=2)
    assert "a.partial.npz" in files_of(tmp_path / "cut")
    assert not {"a.json", "a_000.png"} & files_of(tmp_path / "cut")
    assert len(film_frames(tmp_path / "cut" / "a_sampling.mp4")[1]) == 3
    drawn = []
    with monkeypatch.context() as patch:
        steps = Drawing.steps
        patch.setattr(
            Drawing, "steps", lambda *a: (drawn.append(step.number) or step for step in steps(*a))
        )
        found = CALLS[kind](sampler(kind, root=tmp_path / "cut", **settings), name="a", n_samples=2)
    assert drawn[0] == 28
    np.testing.assert_array_equal(found.indices, whole.indices)
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "cut" / path.name).read_bytes(), path.name


def test_an_interrupted_run_keeps_the_seed_it_chose(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        _stop_after(patch, 11, MemoryError)
        with pytest.raises(MemoryError):
            sampler(seed=None, root=tmp_path)(label_map(), name="a")
    found = sampler(seed=None, root=tmp_path)(label_map(), name="a")
    again = sampler(seed=found.seed)(label_map())
    np.testing.assert_array_equal(found.indices, again.indices)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL] * 3 + [signal.SIGINT, signal.SIGTERM])
def test_a_run_stopped_by_a_signal_at_any_moment_goes_on(tmp_path, number):
    script = """
        import sys, time
        from official.multimodal.taming_transformer import previews
        from tests.conditional_runs import label_map, sampler
        from tests.test_conditional_stops import Drawing
        previews.SAVE_EVERY = 0.0
        steps = Drawing.steps
        def told(self, *rest):
            for step in steps(self, *rest):
                yield step
                print(step.number, flush=True)
                time.sleep(0.05)
        Drawing.steps = told
        sampler(root=sys.argv[1], update_every=5, animate=True)(label_map(), name="a")
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=Path(__file__).parent.parent,
        env={**os.environ, "MGE_DEFAULT_DEVICE": "cpu0"},
    )  # fmt: skip
    rng = random.Random(time.time_ns())
    last = rng.randint(1, 25)
    while int(process.stdout.readline()) < last:
        pass
    time.sleep(rng.uniform(0.0, 0.06))
    process.send_signal(number)
    assert process.wait() != 0
    assert "a.partial.npz" in files_of(tmp_path)
    if number == signal.SIGINT:
        assert len(film_frames(tmp_path / "a_sampling.mp4")[1]) >= 1 + last // 5
    found = sampler(root=tmp_path, update_every=5, animate=True)(label_map(), name="a")
    np.testing.assert_array_equal(found.indices, sampler()(label_map()).indices)
    assert len(film_frames(tmp_path / "a_sampling.mp4")[1]) == 7
    left = [name for name in files_of(tmp_path) if "partial" in name or name[0] == "."]
    assert not [name for name in left if not name.endswith(".mp4")]


def test_the_same_call_again_draws_nothing_and_changes_nothing(tmp_path, monkeypatch):
    first = sampler(root=tmp_path, update_every=20)(label_map(), name="a")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    _stop_after(monkeypatch, 0, AssertionError)
    second = sampler(root=tmp_path, update_every=20)(label_map(), name="a")
    np.testing.assert_array_equal(first.pictures, second.pictures)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_with_other_settings_is_refused_and_nothing_is_lost(tmp_path):
    sampler(root=tmp_path)(label_map(), name="a")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=r"top_k.*20.*10"):
        sampler(root=tmp_path, top_k=10)(label_map(), name="a")
    with pytest.raises(ValueError, match="seed is 7 there and 8 now"):
        sampler(root=tmp_path, seed=8)(label_map(), name="a")
    with pytest.raises(ValueError, match="condition_sha256"):
        sampler(root=tmp_path)(label_map()[::-1], name="a")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    found = sampler(root=tmp_path, seed=8, overwrite=True)(label_map(), name="a")
    assert found.seed == 8


def test_files_of_others_are_never_written_over(tmp_path):
    source = save_labels(tmp_path, "map.png")
    before = source.read_bytes()
    with pytest.raises(ValueError, match=r"map\.png"):
        sampler(root=tmp_path).sample_segmentation(source)
    with pytest.raises(ValueError, match="reads itself"):
        sampler(root=tmp_path, overwrite=True).sample_segmentation(source)
    assert source.read_bytes() == before
    assert files_of(tmp_path) == {"map.png"}


@pytest.mark.parametrize("damage", [b"", b"PK\x05\x06" + bytes(18), b"garbage"])
def test_a_damaged_half_way_file_is_told(tmp_path, damage):
    (tmp_path / "a.partial.npz").write_bytes(damage)
    with pytest.raises(ValueError, match=r"a\.partial\.npz"):
        sampler(root=tmp_path)(label_map(), name="a")


def test_two_processes_do_not_write_the_same_name(tmp_path):
    from official.multimodal.taming_transformer.files import locked

    with locked(tmp_path / ".a.lock"), pytest.raises(RuntimeError, match="another process"):
        sampler(root=tmp_path)(label_map(), name="a")
