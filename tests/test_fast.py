import os
import random
import signal
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from official.multimodal.taming_transformer import fast_options, fast_run
from official.multimodal.taming_transformer.fast import FastSampler
from official.multimodal.taming_transformer.net2net import Net2NetTransformer
from official.multimodal.taming_transformer.sampling import SamplingParams
from official.multimodal.taming_transformer.window import fixed_condition, sample_window
from tests.fast_runs import CLASSES, start, tiny_sampler, tiny_transformer
from tests.tiny import tiny_vqgan

SIZE = {"h": 3, "w": 3}


@pytest.fixture(scope="module")
def faces():
    return tiny_transformer()


@pytest.fixture(scope="module")
def classes():
    return tiny_transformer("class")


@pytest.fixture(scope="module")
def whole(faces, tmp_path_factory):
    """Folder of an uninterrupted run of 13 pictures in batches of 2."""
    root = tmp_path_factory.mktemp("whole")
    tiny_sampler(faces, root=root)(**SIZE)
    return root


@pytest.fixture(scope="module")
def expected(faces):
    """The same run in memory."""
    return tiny_sampler(faces)(**SIZE)


def files_of(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    found = (p for p in folder.rglob(pattern) if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


# what is drawn


def test_tokens_are_those_of_the_window_sampler_for_the_same_samples(faces, expected):
    *_, last = sample_window(
        faces.transformer,
        fixed_condition(np.zeros((1, 1), np.int32)),
        np.zeros((13, 3, 3), np.int32),
        params=SamplingParams(2.0, 30, 0.95),
        seed=2022,
        samples=range(13),
        n_embed=40,
        side=3,
    )
    np.testing.assert_array_equal(expected.indices, last.indices)
    assert len({p.tobytes() for p in expected.pictures}) == 13


def test_class_tokens_are_those_of_their_class_and_sample(classes):
    result = tiny_sampler(classes, class_labels=[3, 1], num_samples=2)(**SIZE)
    assert result.labels.tolist() == [3, 3, 1, 1]
    for row, (label, number) in enumerate(product([3, 1], range(2))):
        *_, last = sample_window(
            classes.transformer,
            fixed_condition(np.array([[label]], np.int32)),
            np.zeros((1, 3, 3), np.int32),
            params=SamplingParams(2.0, 30, 0.95),
            seed=2022,
            samples=[label * 2**32 + number],
            n_embed=40,
            side=3,
        )
        np.testing.assert_array_equal(result.indices[row], last.indices[0])


@pytest.mark.parametrize("batch_size", [1, 8, 25])
def test_other_batch_sizes_give_the_same_tokens(faces, expected, batch_size):
    result = tiny_sampler(faces, batch_size=batch_size)(**SIZE)
    np.testing.assert_array_equal(result.indices, expected.indices)
    assert np.abs(result.pictures.astype(int) - expected.pictures).max() <= 1


def test_one_picture_can_be_made_again_alone(faces, expected):
    sampler = tiny_sampler(faces, num_samples=1)
    for number in (12, 0, 7):
        np.testing.assert_array_equal(sampler.sample(number, **SIZE), expected.pictures[number])


def test_a_class_keeps_its_pictures_whatever_else_is_asked_for(classes):
    several = tiny_sampler(classes, class_labels=[4, 0, 2], num_samples=3)(**SIZE)
    one = tiny_sampler(classes, class_labels=2, num_samples=2)(**SIZE)
    np.testing.assert_array_equal(one.pictures, several.pictures[6:8])
    sampler = tiny_sampler(classes)
    np.testing.assert_array_equal(sampler.sample(2, 2, **SIZE), several.pictures[8])


def test_latents_of_any_size_are_drawn(faces):
    result = tiny_sampler(faces, steps=None, num_samples=2)(h=3, w=7)
    assert result.pictures.shape == (2, 6, 14, 3)
    assert result.indices.shape == (2, 3, 7)


def test_greedy_needs_no_seed(faces):
    one, two = (tiny_sampler(faces, top_k=1, seed=s, num_samples=1)(**SIZE) for s in (None, 5))
    np.testing.assert_array_equal(one.indices, two.indices)


def test_without_a_seed_every_call_draws_anew_and_says_its_seed(faces):
    sampler = tiny_sampler(faces, seed=None, num_samples=1)
    one, two = sampler(**SIZE), sampler(**SIZE)
    assert one.seed != two.seed
    again = tiny_sampler(faces, seed=one.seed, num_samples=1)(**SIZE)
    np.testing.assert_array_equal(again.pictures, one.pictures)


def test_global_generators_stay_where_they_are(faces):
    before = random.getstate(), np.random.get_state()[1].copy()
    tiny_sampler(faces, seed=None, num_samples=1)(**SIZE)
    assert random.getstate() == before[0]
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


# generators


def test_batches_can_be_taken_one_by_one(faces, expected):
    stream = tiny_sampler(faces).batches(**SIZE)
    for first, drawn in zip((0, 2, 4), stream):
        rows = slice(first, first + 2)
        np.testing.assert_array_equal(drawn.pictures, expected.pictures[rows])
        np.testing.assert_array_equal(drawn.indices, expected.indices[rows])
    stream.close()
    *_, last = tiny_sampler(faces, shard=(6, 7)).batches(**SIZE)
    assert list(last.batch.numbers) == [12]
    np.testing.assert_array_equal(last.pictures, expected.pictures[12:])


def test_steps_show_a_batch_grow(faces, expected):
    sampler = tiny_sampler(faces)
    batch = next(sampler.schedule.batches())
    numbers = []
    for step in sampler.steps(batch, **SIZE):
        numbers.append(step.number)
        done = step.indices.reshape(2, -1)[:, : step.number]
        np.testing.assert_array_equal(done, expected.indices[:2].reshape(2, -1)[:, : step.number])
    assert numbers == list(range(1, 10))
    np.testing.assert_array_equal(sampler.decode(step.indices), expected.pictures[:2])


# files


def test_files_are_laid_out_as_the_original_does(whole, expected):
    assert sorted(files_of(whole, "*.png")) == [f"{i:06}.png" for i in range(13)]
    for number in range(13):
        np.testing.assert_array_equal(read(whole / f"{number:06}.png"), expected.pictures[number])
    others = {p.name for p in whole.iterdir() if p.suffix != ".png"}
    assert others == {"run.json", "run.0-of-1.sha256"}


def test_classes_have_folders_and_names_stand_before_numbers(classes, tmp_path):
    sampler = tiny_sampler(
        classes,
        class_labels=["kite", 0],
        class_names=["tench", "goldfish", "shark", "kite", "crane"],
        num_samples=3,
        root=tmp_path / "new",
    )
    result = sampler(dim_z=4, **SIZE, name="test")
    names = [f"{c}/test_{i:06}.png" for c in (3, 0) for i in range(3)]
    assert [p.relative_to(tmp_path / "new").as_posix() for p in result.files] == names
    assert all(path.is_file() for path in result.files)
    assert (result.count, result.drawn, result.pictures) == (6, 6, None)
    in_memory = tiny_sampler(classes, class_labels=[3, 0], num_samples=3)(**SIZE)
    for path, picture in zip(result.files, in_memory.pictures):
        np.testing.assert_array_equal(read(path), picture)
    assert (tmp_path / "new" / "test_run.json").is_file()


def test_all_classes_are_drawn_by_default(classes):
    result = tiny_sampler(classes, num_samples=1)(**SIZE)
    assert result.labels.tolist() == list(range(CLASSES))


def test_shards_in_any_order_make_the_same_files(faces, whole, tmp_path):
    for k in (5, 2, 0, 6, 1, 3, 4):
        result = tiny_sampler(faces, root=tmp_path, shard=(k, 7))(**SIZE)
        assert all(path.read_bytes() == (whole / path.name).read_bytes() for path in result.files)
    assert files_of(tmp_path, "*.png") == files_of(whole, "*.png")


def test_a_run_can_go_on_with_another_number_of_shards(faces, whole, tmp_path):
    assert tiny_sampler(faces, root=tmp_path, shard=(2, 7))(**SIZE).drawn == 2
    assert tiny_sampler(faces, root=tmp_path)(**SIZE).drawn == 11
    assert files_of(tmp_path, "*.png") == files_of(whole, "*.png")


def test_finishing_twice_changes_and_draws_nothing(faces, tmp_path):
    sampler = tiny_sampler(faces, root=tmp_path, npz=True, num_samples=3)
    first = sampler(**SIZE)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    second = sampler(**SIZE)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == before
    assert (second.count, second.drawn, second.files) == (3, 0, first.files)
    assert second.npz == first.npz == tmp_path / "samples.npz"


def test_only_missing_and_damaged_pictures_are_made_again(faces, whole, tmp_path):
    sampler = tiny_sampler(faces, root=tmp_path)
    sampler(**SIZE)
    (tmp_path / "000004.png").unlink()
    (tmp_path / "000008.png").write_bytes((tmp_path / "000008.png").read_bytes()[:-20])
    (tmp_path / "000012.png").write_bytes((tmp_path / "000011.png").read_bytes())
    times = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.png")}
    assert sampler(**SIZE).drawn == 2 + 2 + 1
    assert files_of(tmp_path, "*.png") == files_of(whole, "*.png")
    changed = {p.name for p in tmp_path.glob("*.png") if times.get(p) != p.stat().st_mtime_ns}
    assert changed == {"000004.png", "000008.png", "000012.png"}


def test_a_run_without_a_seed_goes_on_with_its_own(faces, tmp_path):
    options = {"root": tmp_path, "seed": None}
    one = tiny_sampler(faces, shard=(0, 2), **options)(**SIZE)
    two = tiny_sampler(faces, shard=(1, 2), **options)(**SIZE)
    assert one.seed == two.seed
    in_memory = tiny_sampler(faces, seed=one.seed)(**SIZE)
    for path in (*one.files, *two.files):
        np.testing.assert_array_equal(read(path), in_memory.pictures[int(path.stem)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_k": 29}, "top_k was 30, now 29;"),
        ({"seed": 7}, "seed was 2022, now 7;"),
        ({"temperature": 1.5, "top_p": 1.0}, r"temperature was 2\.0, now 1\.5, top_p was 0\.95"),
        ({"num_samples": 14}, "num_samples was 13, now 14;"),
        ({"batch_size": 4}, "batch_size was 2, now 4;"),
    ],
)
def test_a_run_with_other_settings_is_refused(faces, whole, change, message):
    before = files_of(whole)
    with pytest.raises(ValueError, match=message):
        tiny_sampler(faces, root=whole, **change)(**SIZE)
    assert files_of(whole) == before


def test_a_run_with_other_weights_or_model_is_refused(faces, classes, whole):
    other = tiny_transformer()
    bias = other.transformer.ln_f.bias
    other.transformer.ln_f.bias._reset(bias + 1)
    with pytest.raises(ValueError, match="weights_sha256 was "):
        tiny_sampler(other, root=whole)(**SIZE)
    with pytest.raises(ValueError, match=r'model\.condition was "unconditional", now "class"'):
        tiny_sampler(classes, root=whole)(**SIZE)


def test_npz_equals_the_pictures(classes, tmp_path):
    sampler = tiny_sampler(classes, class_labels=[4, 1], num_samples=3, root=tmp_path, npz=True)
    result = sampler(**SIZE, name="cin")
    assert result.npz == tmp_path / "cin_samples.npz"
    with np.load(result.npz) as packed:
        assert packed["arr_1"].tolist() == [4] * 3 + [1] * 3
        assert packed["arr_0"].dtype == np.uint8
        np.testing.assert_array_equal(packed["arr_0"], [read(path) for path in result.files])


def test_npz_is_packed_by_the_shard_that_is_last(faces, whole, tmp_path):
    results = [
        tiny_sampler(faces, root=tmp_path, shard=(k, 3), npz=True)(**SIZE).npz for k in (1, 2, 0)
    ]
    assert results == [None, None, tmp_path / "samples.npz"]
    with np.load(results[2]) as packed:
        assert sorted(packed) == ["arr_0"]
        pictures = [read(whole / f"{i:06}.png") for i in range(13)]
        np.testing.assert_array_equal(packed["arr_0"], pictures)


# interruptions


def kill_soon(process, folder: Path, pictures: int, rng: random.Random) -> bool:
    """Kill a run a little after so many pictures are there; tell whether it came to that."""
    while process.poll() is None and len(list(folder.rglob("*.png"))) < pictures:
        time.sleep(0.002)
    time.sleep(rng.random() * 0.1)
    killed = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return killed


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_run_is_continued_to_the_same_bytes(faces, whole, tmp_path):
    rng = random.Random(time.time_ns())
    roots = [tmp_path / str(attempt) for attempt in range(5)]
    root = next(root for root in roots if kill_soon(start(root=str(root)), root, 3, rng))
    assert 0 < tiny_sampler(faces, root=root)(**SIZE).drawn <= 11
    assert files_of(root) == files_of(whole)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_many_kills_of_many_shards_end_in_the_same_bytes(classes, tmp_path):
    options = {"num_samples": 40, "class_labels": [2, 0], "npz": True}
    tiny_sampler(classes, root=tmp_path / "whole", **options)(**SIZE, name="k")
    rng = random.Random(time.time_ns())
    root, kills = tmp_path / "killed", 0
    for attempt in range(40):
        shards = [(0, 1)] if attempt % 3 == 2 else [(0, 2), (1, 2)]
        running = [
            start(root=str(root), shard=s, condition="class", name="k", **options) for s in shards
        ]
        there = len(list(root.rglob("*.png"))) if root.exists() else 0
        killed = [kill_soon(p, root, there + rng.randint(0, 9), rng) for p in running]
        kills += sum(killed)
        if len(list(root.rglob("*.png"))) == 80:
            break
    assert kills >= 5
    result = tiny_sampler(classes, root=root, **options)(**SIZE, name="k")
    assert result.npz == root / "k_samples.npz"
    ours, theirs = files_of(root), files_of(tmp_path / "whole")
    assert {n: b for n, b in ours.items() if not n.endswith(".sha256")} == {
        n: b for n, b in theirs.items() if not n.endswith(".sha256")
    }


@pytest.mark.skipif(os.name != "posix", reason="needs SIGINT")
def test_ctrl_c_leaves_a_run_that_goes_on(faces, whole, tmp_path):
    sampler = tiny_sampler(faces, root=tmp_path)
    drawn = []

    def interrupt(picture):
        drawn.append(picture)
        if len(drawn) == 8:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        return encode(picture)

    encode = fast_run.png_bytes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_run, "png_bytes", interrupt)
        with pytest.raises(KeyboardInterrupt):
            sampler(**SIZE)
    assert not list(tmp_path.glob(".*"))
    assert not list(tmp_path.glob("*.lock"))
    assert sampler(**SIZE).drawn == 7
    assert files_of(tmp_path) == files_of(whole)


# progress


def test_the_library_is_silent_where_there_is_no_terminal(faces, tmp_path, capfd):
    tiny_sampler(faces, root=tmp_path, num_samples=2)(**SIZE)
    assert capfd.readouterr() == ("", "")


def test_a_bar_counts_pictures_with_rate_and_time(faces, tmp_path, capfd):
    tiny_sampler(faces, root=tmp_path, shard=(0, 2))(**SIZE)
    tiny_sampler(faces, root=tmp_path, progress=True, update_every=4)(**SIZE)
    out, err = capfd.readouterr()
    assert out == ""
    assert " 7/13 [" in err.split("\r")[1]
    assert " 13/13 [" in err.split("\r")[-1]
    assert "picture" in err


# bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; expected a whole number >= 1"),
        ({"batch_size": 2.5}, r"batch_size is 2\.5"),
        ({"num_samples": -1}, "num_samples is -1"),
        ({"num_samples": True}, "num_samples is True"),
        ({"update_every": 0}, "update_every is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"temperature": 0}, "temperature must be"),
        ({"temperature": float("nan")}, "temperature must be"),
        ({"top_k": 41}, "top_k 41 exceeds the 40 tokens"),
        ({"top_p": 0}, r"top_p must be in \(0, 1\]"),
        ({"seed": -1}, r"seed must be in 0\.\.2\*\*64-1"),
        ({"seed": 2**64}, "seed must be in"),
        ({"shard": (2, 2)}, "shard"),
        ({"npz": True}, "npz=True writes a file: give root="),
        ({"class_labels": [1]}, "the model is unconditional"),
    ],
)
def test_bad_settings_are_refused_before_any_work(faces, change, message):
    with pytest.raises(ValueError, match=message):
        tiny_sampler(faces, **change)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"dim_z": 256, **SIZE}, "dim_z is 256, but the model's codes have 4 numbers"),
        ({"h": 16, "w": 16}, r"steps is 9, but a latent of h=16 x w=16 has 256 tokens"),
        ({"h": 0, "w": 4}, "h is 0"),
        ({**SIZE, "name": "a/b"}, "name is 'a/b'"),
        ({**SIZE, "name": ""}, "name is ''"),
        ({**SIZE, "name": ".."}, r"name is '\.\.'"),
        ({**SIZE, "name": 5}, "name is 5"),
    ],
)
def test_bad_calls_are_refused_before_any_work(faces, tmp_path, call, message):
    with pytest.raises(ValueError, match=message):
        tiny_sampler(faces, root=tmp_path)(**call)
    assert not list(tmp_path.iterdir())


def test_an_unknown_class_is_refused(classes):
    with pytest.raises(ValueError, match=r"class 5 is unknown: classes are 0\.\.4"):
        tiny_sampler(classes, class_labels=5)
    with pytest.raises(ValueError, match=r"class 5 is unknown"):
        tiny_sampler(classes).sample(0, 5, **SIZE)


def test_other_models_are_refused(classes):
    with pytest.raises(TypeError, match="got VQModel; expected an unconditional"):
        FastSampler(tiny_vqgan(), 3)
    with pytest.raises(ValueError, match=r"conditioned on coordinates; .* ConditionalSampler"):
        FastSampler(tiny_transformer("coordinates"), 3)


def test_a_call_is_checked_before_weights_are_there(classes, tmp_path):
    sampler = tiny_sampler(Net2NetTransformer(classes.config), root=tmp_path)
    sampler.check(dim_z=4, **SIZE, name="test")
    with pytest.raises(ValueError, match="steps is 9"):
        sampler.check(h=16, w=16)
    with pytest.raises(ValueError, match="name is 'a/b'"):
        sampler.check(**SIZE, name="a/b")
    for work in (sampler, sampler.batches):
        with pytest.raises(RuntimeError, match="the model has no weights yet"):
            work(**SIZE)
    assert not list(tmp_path.iterdir())
    huge = tiny_sampler(Net2NetTransformer(classes.config), num_samples=10**7, batch_size=10**5)
    with pytest.raises(ValueError, match="50000000 pictures take"):
        huge.check(**SIZE)


def test_a_root_that_is_no_folder_is_refused(faces, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"cannot write in .*file"):
        tiny_sampler(faces, root=tmp_path / "file")(**SIZE)
    with pytest.raises(TypeError, match="root is int"):
        tiny_sampler(faces, root=5)


def test_a_disk_that_is_too_small_is_refused_before_any_work(faces, tmp_path, monkeypatch):
    monkeypatch.setattr(fast_run, "free_space", lambda path: 13 * 54 + 13 * 108 - 1)
    with pytest.raises(OSError, match=r"13 pictures need about .* free some") as error:
        tiny_sampler(faces, root=tmp_path, npz=True)(**SIZE)
    assert error.value.errno == 28
    assert not list(tmp_path.glob("*.png"))
    tiny_sampler(faces, root=tmp_path, npz=False, shard=(0, 2))(**SIZE)


def test_more_pictures_than_memory_holds_are_refused(faces, monkeypatch):
    monkeypatch.setattr(fast_options, "MEMORY_LIMIT", 13 * 108 - 1)
    with pytest.raises(ValueError, match=r"13 pictures take .* give root="):
        tiny_sampler(faces)(**SIZE)
    tiny_sampler(faces, shard=(0, 7))(**SIZE)


def test_pictures_of_somebody_else_are_not_overwritten(faces, tmp_path):
    (tmp_path / "000007.png").write_bytes(b"precious")
    with pytest.raises(ValueError, match=r"000007\.png' exists"):
        tiny_sampler(faces, root=tmp_path)(**SIZE)
    assert files_of(tmp_path) == {"000007.png": b"precious"}


def test_again_alone_needs_the_seed_and_the_class(faces, classes):
    with pytest.raises(ValueError, match="was given no seed"):
        tiny_sampler(faces, seed=None).sample(0, **SIZE)
    for model, label in ((faces, 0), (classes, None)):
        with pytest.raises(ValueError, match="label is"):
            tiny_sampler(model).sample(0, label, **SIZE)
    with pytest.raises(ValueError, match="number is -1"):
        tiny_sampler(faces).sample(-1, **SIZE)


def test_the_documented_call_of_the_first_port_is_understood(faces, tmp_path):
    sampler = FastSampler(
        faces, batch_size=2, temperature=1.0, top_k=25, top_p=1.0, num_samples=3,
        class_labels=None, steps=9, root=str(tmp_path / "celebahq"), seed=2022,
    )  # fmt: skip
    result = sampler(dim_z=4, **SIZE, name="test")
    assert [p.name for p in result.files] == [f"test_{i:06}.png" for i in range(3)]
