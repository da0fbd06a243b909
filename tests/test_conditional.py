import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from official.multimodal.taming_transformer import previews
from official.multimodal.taming_transformer.conditional import ConditionalSampler
from official.multimodal.taming_transformer.config import (
    DDConfig,
    GPTConfig,
    Net2NetConfig,
    VQModelConfig,
)
from official.multimodal.taming_transformer.drawing import Drawing
from official.multimodal.taming_transformer.filling import load_tensors, parameter_shapes
from official.multimodal.taming_transformer.maps import (
    coordinates,
    one_hot,
    read_depth,
    to_batch,
)
from official.multimodal.taming_transformer.net2net import Net2NetTransformer
from official.multimodal.taming_transformer.previews import PreviewClock
from official.multimodal.taming_transformer.sampling import SamplingParams
from official.multimodal.taming_transformer.scene_layout import LayoutFormat
from official.multimodal.taming_transformer.window import fixed_condition, map_condition
from tests.reference import cases
from tests.reference.draw import draw_weights
from tests.reference.inputs import inputs
from tests.test_window import plain_sample
from tests.tiny import tokens
from tests.tiny_models import depth_map, label_map, tiny_model

GOLDEN = Path(__file__).parent / "golden"


def sampler(kind="segmentation", **settings):
    return ConditionalSampler(tiny_model(kind), **{"top_k": 20, "seed": 7, **settings})


def save_labels(folder, name="map.png", labels=None):
    path = folder / name
    Image.fromarray(label_map() if labels is None else labels).save(path)
    return path


def files_of(folder):
    return {path.name for path in Path(folder).iterdir()}


def film_frames(path):
    reader = imageio_ffmpeg.read_frames(str(path))
    facts = next(reader)
    width, height = facts["size"]
    frames = [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader]
    return facts, frames


# --- the numbers ------------------------------------------------------------------------------


def _golden_model(config, kind):
    def stage(part):
        dd = DDConfig(**{**part["ddconfig"]})
        return VQModelConfig(dd, part["n_embed"], part["embed_dim"])

    cond = config["cond_stage"]
    name = {"sos": "unconditional"}.get(kind, kind)
    long = kind in ("segmentation", "depth", "coordinates")
    return Net2NetTransformer(
        Net2NetConfig(
            name,
            stage(config["first_stage"]),
            GPTConfig(**config["transformer"]),
            stage(cond) if kind in ("segmentation", "depth") else None,
            n_classes=cond.get("n_classes", 0),
            cond_length=256 if long else 1,
        )
    )


GOLDEN_CASES = [
    "class_16x16_b3",
    pytest.param("segmentation_18x23_b1", marks=pytest.mark.slow),
    pytest.param("coordinates_18x23_b1", marks=pytest.mark.slow),
    pytest.param("segmentation_42x64_b1", marks=pytest.mark.slow),
    pytest.param("sos_16x16_b1", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name", GOLDEN_CASES)
def test_greedy_tokens_are_those_of_the_original(name):
    case = next(case for case in cases.GREEDY if case.name == f"greedy_{name}")
    kind = case.config["cond_stage"]["kind"]
    model = _golden_model(case.config, kind)
    load_tensors(model, draw_weights(parameter_shapes(model), case.seed))
    golden = np.load(GOLDEN / f"greedy_{name}.npz")
    given = inputs(case)
    draw = ConditionalSampler(model, top_k=1, seed=0)
    if kind == "segmentation":
        found = draw.sample_segmentation(given["c"][0].argmax(0))
    elif kind == "coordinates":
        found = draw.sample_coordinates(given["x"].shape[2:])
    elif kind == "class":
        found = draw.sample_class([int(label) for label in given["c"]])
    else:
        found = draw.sample_unconditional()
    close = golden["margins"].reshape(-1) < 1e-4
    until = int(np.argmax(close)) if close.any() else close.size
    assert until > 100
    expected = golden["tokens"].reshape(golden["tokens"].shape[0], -1)
    np.testing.assert_array_equal(found.indices.reshape(expected.shape)[:, :until],
                                  expected[:, :until])  # fmt: skip


def _oracle_condition(kind, model):
    if kind == "segmentation":
        tensor = one_hot(label_map().astype(np.int32), 7)
    elif kind == "depth":
        tensor = to_batch(read_depth(depth_map()))
    elif kind == "coordinates":
        tensor = to_batch(coordinates(10, 12))
    else:
        return fixed_condition(np.array([[4 if kind == "class" else 0]]))
    if kind == "coordinates":
        return map_condition(model.encode_to_c(tensor)[1].numpy())
    from megengine import Tensor

    return map_condition(model.encode_to_c(Tensor(tensor))[1].numpy())


CALLS = {
    "segmentation": lambda s, **kw: s.sample_segmentation(label_map(), **kw),
    "depth": lambda s, **kw: s.sample_depth(depth_map(), **kw),
    "coordinates": lambda s, **kw: s.sample_coordinates((10, 12), **kw),
    "class": lambda s, **kw: s.sample_class(4, h=5, w=6, **kw),
    "unconditional": lambda s, **kw: s.sample_unconditional(h=5, w=6, **kw),
}


@pytest.mark.parametrize("kind", CALLS)
def test_pictures_of_any_size_equal_the_plain_window_sampler(kind):
    model = tiny_model(kind)
    expected = plain_sample(
        model.transformer,
        _oracle_condition(kind, model),
        np.zeros((2, 5, 6), int),
        params=SamplingParams(0.9, 20, 0.95),
        seed=7,
        samples=[3, 4],
        side=4,
        centre=2,
        mask=np.ones((5, 6), bool),
    )
    found = CALLS[kind](sampler(kind, temperature=0.9, top_p=0.95), n_samples=2, start=3)
    np.testing.assert_array_equal(found.indices, expected)
    picture = model.decode_to_img(tokens(expected[1:])).numpy()[0]
    np.testing.assert_array_equal(
        found.pictures[1], np.rint((picture.clip(-1, 1) + 1) * 127.5).transpose(1, 2, 0)
    )


def test_sides_that_the_factor_does_not_divide_are_floored_by_the_encoder():
    labels = label_map(11, 13)
    model = tiny_model("segmentation")
    found = sampler(top_k=1).sample_segmentation(labels)
    assert found.picture.shape == (10, 12, 3)
    stage = model.cond_stage_model
    from megengine import Tensor

    z = stage.quant_conv(stage.encoder(Tensor(one_hot(labels.astype(np.int32), 7))))
    assert z.shape[2:] == (5, 6)
    expected = plain_sample(
        model.transformer,
        map_condition(stage.quantize(z)[1].numpy()),
        np.zeros((1, 5, 6), int),
        params=SamplingParams(top_k=1),
        seed=0,
        samples=[0],
        side=4,
        centre=2,
        mask=np.ones((5, 6), bool),
    )
    np.testing.assert_array_equal(found.indices, expected)


def test_every_window_of_a_scene_gets_its_own_crop_and_its_own_rule():
    model = tiny_model("scene_layout")
    layout = np.array([5, 6, 7, 1, 2])
    places = LayoutFormat(no_classes=1, no_tokens=64)

    def crop(frame):
        box = (frame.left / 7, frame.top / 5, frame.width / 7, frame.height / 5)
        return np.array([[5, 6, 7, *places.corners(box)]])

    expected = plain_sample(
        model.transformer, crop, np.zeros((1, 5, 7), int),
        params=SamplingParams(top_k=20), seed=7, samples=[0], side=4, centre=1,
        mask=np.ones((5, 7), bool),
    )  # fmt: skip
    np.testing.assert_array_equal(
        sampler("scene_layout").sample_layout(layout, h=5, w=7).indices, expected
    )
    small = plain_sample(
        model.transformer, fixed_condition(layout[None]), np.zeros((1, 4, 3), int),
        params=SamplingParams(top_k=20), seed=7, samples=[0], side=4, centre=1,
        mask=np.ones((4, 3), bool),
    )  # fmt: skip
    np.testing.assert_array_equal(
        sampler("scene_layout").sample_layout(layout, h=4, w=3).indices, small
    )


def test_scale_factor_repeats_labels_and_image_size_cuts_the_middle():
    big = np.kron(label_map(5, 6), np.ones((2, 2), int)).astype(np.uint8)
    scaled = sampler(scale_factor=2.0).sample_segmentation(label_map(5, 6))
    np.testing.assert_array_equal(scaled.indices, sampler().sample_segmentation(big).indices)
    cut = sampler(image_size=10).sample_segmentation(label_map())
    middle = sampler().sample_segmentation(np.ascontiguousarray(label_map()[:, 1:11]))
    np.testing.assert_array_equal(cut.indices, middle.indices)


def test_inverted_depth_is_the_depth_of_the_negative_map():
    inverted = sampler("depth", invert=True).sample_depth(depth_map())
    negative = sampler("depth").sample_depth(-depth_map())
    np.testing.assert_array_equal(inverted.indices, negative.indices)


def test_sample_k_of_a_run_is_made_again_alone():
    many = sampler().sample_segmentation(label_map(), n_samples=5)
    alone = sampler().sample_segmentation(label_map(), start=3)
    np.testing.assert_array_equal(alone.indices[0], many.indices[3])
    assert len({codes.tobytes() for codes in many.indices}) == 5


def test_a_seed_is_chosen_reported_and_makes_the_picture_again():
    first = sampler(seed=None).sample_segmentation(label_map())
    again = sampler(seed=first.seed).sample_segmentation(label_map())
    np.testing.assert_array_equal(first.pictures, again.pictures)
    other = sampler(seed=None).sample_segmentation(label_map())
    assert other.seed != first.seed
    assert other.indices.tobytes() != first.indices.tobytes()


# --- files ------------------------------------------------------------------------------------


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


# --- interruption -----------------------------------------------------------------------------


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
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_run_stopped_by_a_signal_goes_on(tmp_path, number):
    script = """
        import sys, time
        from official.multimodal.taming_transformer import previews
        from tests.test_conditional import Drawing, label_map, sampler
        previews.SAVE_EVERY = 0.0
        steps = Drawing.steps
        def slow(self, *rest):
            for step in steps(self, *rest):
                yield step
                if step.number == 20:
                    print("here", flush=True)
                    time.sleep(60)
        Drawing.steps = slow
        sampler(root=sys.argv[1], update_every=5, animate=True)(label_map(), name="a")
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=Path(__file__).parent.parent,
        env={**os.environ, "MGE_DEFAULT_DEVICE": "cpu0"},
    )  # fmt: skip
    assert process.stdout.readline().strip() == b"here"
    process.send_signal(number)
    assert process.wait() != 0
    assert "a.partial.npz" in files_of(tmp_path)
    if number == signal.SIGINT:
        assert len(film_frames(tmp_path / "a_sampling.mp4")[1]) == 5
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


# --- streams and previews ---------------------------------------------------------------------


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


# --- bad input --------------------------------------------------------------------------------


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
