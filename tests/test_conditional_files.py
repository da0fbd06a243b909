"""Files of ConditionalSampler, streams and previews."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from official.multimodal.taming_transformer.conditional import ConditionalSampler
from official.multimodal.taming_transformer.previews import PreviewClock
from tests.conditional_runs import CALLS, files_of, film_frames, sampler, save_labels
from tests.tiny_models import label_map, tiny_model


def test_the_documented_call_writes_the_documented_files(tmp_path):
    source = save_labels(tmp_path, "segmentation.png")
    draw = ConditionalSampler(
        tiny_model("segmentation"), temperature=1.0, top_k=20, update_every=25, scale_factor=1.0,
        animate=True, root=tmp_path / "test", seed=2022, kernel_size=4, fps=15,
        segmentation_save=True,
    )  # fmt: skip
    result = draw.sample_segmentation(str(source), name="norway")
    expected = {"norway.png", "norway.json", "norway_segmentation.png", "norway_first_sample.png"}
    expected |= {"norway_sample_25.png", "norway_sampling.mp4"}
    assert files_of(tmp_path / "test") == expected
    assert {path.name for path in result.files} == expected
    with Image.open(tmp_path / "test" / "norway.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), result.picture)
        assert picture.text["seed"] == "2022"
        assert json.loads(picture.text["parameters"])["top_k"] == 20
    record = json.loads((tmp_path / "test" / "norway.json").read_text())
    assert record["seed"] == 2022
    assert record["indices"] == result.indices.tolist()
    assert len(record["weights_sha256"]) == 64
    assert record["parameters"]["temperature"] == 1.0
    assert set(record["files"]) == expected


def test_the_film_shows_start_previews_and_end_in_h264(tmp_path):
    labels = label_map(7, 9)
    result = sampler(root=tmp_path, animate=True, update_every=20, scale_factor=1.5)(
        labels, name="film"
    )
    facts, frames = film_frames(tmp_path / "film_sampling.mp4")
    assert facts["codec"] == "h264"
    assert facts["pix_fmt"].startswith("yuv420p")
    height, width = result.picture.shape[:2]
    assert facts["size"] == (width + width % 2, height + height % 2)
    assert len(frames) == 2 + result.indices[0].size // 20
    luma = np.array([0.2126, 0.7152, 0.0722])  # colours are shared among 2x2 pixels
    error = (frames[-1][:height, :width] - result.picture.astype(float)) @ luma
    assert np.abs(error).mean() < 15
    start = (frames[0][:height, :width] - result.picture.astype(float)) @ luma
    assert np.abs(start).mean() > 40


def test_a_picture_beside_the_map_gives_its_reconstruction(tmp_path):
    photo = np.random.RandomState(1).randint(0, 256, (11, 12, 3)).astype(np.uint8)
    sampler(root=tmp_path)(label_map(11, 12), photo, "p")
    with Image.open(tmp_path / "p_reconstruction.png") as picture:
        assert picture.size == (12, 10)
        found = np.asarray(picture)
    stage = tiny_model("segmentation").first_stage_model
    from megengine import Tensor

    x = np.array((photo / 127.5 - 1).transpose(2, 0, 1)[None], np.float32, order="C")
    codes = stage.quantize(stage.quant_conv(stage.encoder(Tensor(x))))[1]
    np.testing.assert_array_equal(found, sampler().decode(codes.numpy())[0])


@pytest.mark.parametrize("kind", ["depth", "class"])
def test_other_conditions_have_their_own_files(tmp_path, kind):
    CALLS[kind](sampler(kind, root=tmp_path, update_every=15), name="a", n_samples=2)
    expected = {"a_000.png", "a_001.png", "a.json", "a_first_sample.png"}
    expected |= {"a_sample_15.png", "a_sample_30.png"}
    assert files_of(tmp_path) == expected | ({"a_depth.png"} if kind == "depth" else set())


def test_a_folder_of_maps_gives_a_folder_of_pictures(tmp_path):
    (tmp_path / "maps").mkdir()
    save_labels(tmp_path / "maps", "one.png")
    np.save(tmp_path / "maps" / "two.npy", label_map(8, 8))
    (tmp_path / "maps" / "notes.txt").write_text("not a map")
    results = sampler(root=tmp_path / "out", segmentation_save=False)(str(tmp_path / "maps"))
    assert [result.picture.shape for result in results] == [(10, 12, 3), (8, 8, 3)]
    assert {"one.png", "one.json", "two.png", "two.json"} <= files_of(tmp_path / "out")
    alone = sampler().sample_segmentation(label_map(8, 8))
    np.testing.assert_array_equal(results[1].indices, alone.indices)


def test_a_wrong_map_in_a_folder_is_told_before_any_picture(tmp_path):
    (tmp_path / "maps").mkdir()
    save_labels(tmp_path / "maps", "a.png")
    save_labels(tmp_path / "maps", "b.png", np.full((8, 8), 200, np.uint8))
    with pytest.raises(ValueError, match=r"b\.png.*200"):
        sampler(root=tmp_path / "out")(tmp_path / "maps")
    assert not (tmp_path / "out").exists()


def test_results_show_themselves_in_a_notebook():
    result = sampler().sample_segmentation(label_map(), n_samples=2)
    assert result._repr_png_().startswith(b"\x89PNG")
    assert result.files == ()


def test_steps_stream_every_token_and_can_be_cancelled():
    draw = sampler()
    stream = draw.steps(label_map(), n_samples=2)
    first = next(stream)
    assert (first.number, first.total, first.row, first.column) == (1, 30, 0, 0)
    assert draw.decode(first.indices).shape == (2, 10, 12, 3)
    stream.close()
    last = list(draw.steps(label_map(), n_samples=2))[-1]
    np.testing.assert_array_equal(
        last.indices, draw.sample_segmentation(label_map(), n_samples=2).indices
    )
    with pytest.raises(ValueError, match="out of range"):
        draw.steps(np.full((8, 8), 99, np.uint8))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def _previews_by(clock, watch, tokens, token_seconds, preview_seconds):
    shown = []
    for number in range(tokens + 1):
        if number:
            watch.now += token_seconds
        if number == 0 or clock.due(number):
            shown.append(number)
            with clock.preview():
                watch.now += preview_seconds
    return shown


@pytest.mark.parametrize(("preview_seconds", "least"), [(0.001, 50), (0.5, 9), (3.0, 1)])
def test_previews_take_no_more_than_a_tenth_of_the_sampling_time(preview_seconds, least):
    watch = Clock()
    clock = PreviewClock(None, 1000, watch)
    shown = _previews_by(clock, watch, 1000, 0.05, preview_seconds)
    assert least <= len(shown) <= 61
    assert len(shown) * preview_seconds <= 0.1 * 1000 * 0.05 + 1e-9


def test_update_every_is_obeyed_whatever_it_costs():
    watch = Clock()
    shown = _previews_by(PreviewClock(7, 50, watch), watch, 50, 0.01, 10.0)
    assert shown == [0, 7, 14, 21, 28, 35, 42, 49]


def test_a_bar_is_drawn_when_asked_and_not_in_a_file(capfd):
    sampler(progress=True)(label_map())
    shown = capfd.readouterr().err
    assert "30/30" in shown
    assert "token/s" in shown
    sampler()(label_map())
    assert capfd.readouterr() == ("", "")
