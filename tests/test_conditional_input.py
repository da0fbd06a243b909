"""What ConditionalSampler refuses, before any work."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from official.multimodal.taming_transformer import previews
from official.multimodal.taming_transformer.conditional import ConditionalSampler
from official.multimodal.taming_transformer.drawing import Drawing
from official.multimodal.taming_transformer.net2net import Net2NetTransformer
from tests.conditional_runs import files_of, sampler
from tests.tiny_models import depth_map, label_map, tiny_model


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"top_k": 41}, "top_k 41 exceeds the 40"),
        ({"top_k": 0}, "top_k"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"kernel_size": 5}, "together 49; the transformer sees at most 31.*<= 4"),
        ({"kernel_size": 3, "kernal_size": 4}, "kernal_size"),
        ({"update_every": 0}, "update_every"),
        ({"scale_factor": math.nan}, "scale_factor"),
        ({"fps": 0}, "fps"),
        ({"cache_memory": -1}, "cache_memory"),
        ({"animate": True}, "root"),
        ({"image_size": 2.5}, "image_size"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        sampler(**settings)


def test_the_first_ports_spelling_of_kernel_size_works():
    small = sampler(kernal_size=3).sample_segmentation(label_map())
    np.testing.assert_array_equal(
        small.indices, sampler(kernel_size=3).sample_segmentation(label_map()).indices
    )
    assert small.indices.tobytes() != sampler().sample_segmentation(label_map()).indices.tobytes()


def test_a_first_stage_alone_is_refused():
    with pytest.raises(TypeError, match="first stage"):
        ConditionalSampler(tiny_model("class").first_stage_model)


PHOTO = np.random.RandomState(0).randint(0, 256, (16, 16, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("kind", "call", "words"),
    [
        ("segmentation", lambda s: s(PHOTO), "channels"),
        ("segmentation", lambda s: s(np.full((8, 8), 9, np.uint8)), "9 .64 pixels.*row 0"),
        ("segmentation", lambda s: s(label_map(1, 40)), "at least 2x2"),
        ("segmentation", lambda s: s(None), "needs a segmentation map"),
        ("segmentation", lambda s: s(label_map(), h=3), "h and w"),
        ("segmentation", lambda s: s(label_map(), n_samples=0), "n_samples"),
        ("segmentation", lambda s: s(label_map(), start=-1), "start"),
        ("segmentation", lambda s: s.sample_depth(depth_map()), "not depth"),
        ("depth", lambda s: s(np.ones((8, 8), np.float32)), "everywhere"),
        ("depth", lambda s: s(np.full((8, 8), np.nan, np.float32)), "NaN"),
        ("depth", lambda s: s(np.zeros((0, 0), np.float32)), "empty"),
        ("coordinates", lambda s: s((0, 8)), "whole numbers of pixels"),
        ("coordinates", lambda s: s(10**6), "pixels"),
        ("class", lambda s: s(9), "class 9 is unknown"),
        ("class", lambda s: s(None), "needs its condition"),
        ("class", lambda s: s([1, 2], n_samples=3), "2 conditions for 3"),
        ("class", lambda s: s(1, h=0), "h is 0"),
        ("unconditional", lambda s: s(3), "unconditional"),
        ("unconditional", lambda s: s(h=10**6, w=10**6), "pixels"),
        ("scene_layout", lambda s: s(np.array([1, 2])), "shape"),
        ("scene_layout", lambda s: s(np.array([1, 2, 3, 4, 64])), "0..63"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_before_any_work(tmp_path, kind, call, words):
    draw = sampler(kind, root=tmp_path / "out")
    with pytest.raises(ValueError, match=words):
        call(draw)
    assert not (tmp_path / "out").exists()


def test_inputs_are_checked_without_weights_and_drawn_only_with_them():
    bare = Net2NetTransformer(tiny_model("segmentation").config)
    draw = ConditionalSampler(bare, top_k=20)
    draw.check(label_map())
    with pytest.raises(ValueError, match="out of range"):
        draw.check(np.full((8, 8), 99, np.uint8))
    for call in (draw, draw.steps):
        with pytest.raises(RuntimeError, match="no weights yet"):
            call(label_map())


def test_sizes_of_another_type_are_refused():
    with pytest.raises(TypeError, match="size"):
        sampler("coordinates").sample_coordinates("large")


@pytest.mark.parametrize("name", ["a/b", "..", "", "a\\b", "a\0b", "x" * 300])
def test_names_that_would_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="name"):
        sampler(root=tmp_path)(label_map(), name=name)
    assert not files_of(tmp_path)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write in the folder"):
        sampler(root=tmp_path / "file" / "out")(label_map(), name="a")


def test_a_full_disk_is_told_before_any_work(tmp_path, monkeypatch):
    from official.multimodal.taming_transformer import store

    monkeypatch.setattr(store, "free_space", lambda path: 1000)
    with pytest.raises(OSError, match="is full"):
        sampler(root=tmp_path)(label_map(), name="a")


def test_half_way_states_are_saved_as_time_goes_by(tmp_path, monkeypatch):
    monkeypatch.setattr(previews, "SAVE_EVERY", 0.0)
    seen = []
    steps = Drawing.steps

    def watch(self, *rest):
        for step in steps(self, *rest):
            yield step
            with np.load(tmp_path / "a.partial.npz") as arrays:
                seen.append(int(arrays["done"]))

    monkeypatch.setattr(Drawing, "steps", watch)
    began = time.monotonic()
    sampler(root=tmp_path)(label_map(8, 8), name="a")
    assert seen == list(range(1, 17))
    assert time.monotonic() - began < 60
