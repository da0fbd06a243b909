"""The page's runs on small networks: what they tell, and that their results can be made again."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace

import imageio.v3 as imageio
import numpy as np
import pytest
from PIL import Image

from official.multimodal.taming_transformer.conditional import ConditionalSampler
from tests.tiny_models import depth_map, label_map, tiny_model
from tools.web import runs
from tools.web.following import Done, Drawing, Loading, Progress
from tools.web.results import packed, sheet

HOW = Drawing("tiny", 1.0, 20, 0.9, seed=7, every=4)


class Shelf:
    """One small model, whatever is asked for."""

    def __init__(self, kind: str):
        self.model = tiny_model(kind)

    def get(self, name: str):
        return self.model, "0" * 64


def photo(height: int = 8, width: int = 12) -> np.ndarray:
    return np.random.RandomState(3).randint(0, 256, (height, width, 3)).astype(np.uint8)


def of_labels(how: Drawing = HOW):
    labels = label_map(8, 12)
    return list(runs.of_map(Shelf("segmentation"), how, "segmentation", labels, photo()))


def test_a_run_tells_what_it_does_and_shows_previews():
    first, *middle, last = of_labels()
    assert first == Loading("tiny")
    assert isinstance(last, Done)
    assert all(isinstance(event, Progress) for event in middle)
    shown = [event for event in middle if event.pictures]
    assert [event.number for event in shown] == [4, 8, 12, 16, 20]
    assert {event.total for event in middle} == {24}
    assert all(event.left >= 0 for event in middle)
    assert len(last.frames) == 6


def test_a_map_gives_what_the_library_gives_for_the_same_seed():
    done = of_labels()[-1]
    sampler = ConditionalSampler(tiny_model("segmentation"), 1.0, 20, 0.9, seed=7, progress=False)
    assert np.array_equal(done.pictures[0], sampler(label_map(8, 12)).picture)
    assert np.array_equal(done.before, photo())


def test_the_same_seed_gives_the_same_and_another_one_does_not():
    one, two, other = of_labels()[-1], of_labels()[-1], of_labels(replace(HOW, seed=8))[-1]
    assert np.array_equal(one.pictures[0], two.pictures[0])
    assert one.facts == two.facts
    assert one.facts["indices"] != other.facts["indices"]


def test_a_fresh_seed_is_told():
    done = of_labels(replace(HOW, seed=None))[-1]
    again = of_labels(replace(HOW, seed=done.facts["seed"]))[-1]
    assert done.facts["indices"] == again.facts["indices"]


def test_a_depth_map_is_drawn():
    depth = depth_map(8, 12)
    done = list(runs.of_map(Shelf("depth"), HOW, "depth", depth, photo()))[-1]
    sampler = ConditionalSampler(tiny_model("depth"), 1.0, 20, 0.9, seed=7, progress=False)
    assert np.array_equal(done.pictures[0], sampler(depth).picture)


@pytest.mark.parametrize(
    ("kind", "label", "size"),
    [("unconditional", None, (8, 8)), ("class", 5, (8, 10)), ("coordinates", None, (8, 12))],
)
def test_galleries_are_drawn(kind, label, size):
    how = replace(HOW, count=3)
    done = list(runs.gallery(Shelf(kind), how, label, size, "gallery"))[-1]
    assert [picture.shape for picture in done.pictures] == [(*size, 3)] * 3
    assert not np.array_equal(done.pictures[0], done.pictures[1])
    assert done.facts["label"] == label
    assert done.frames[0].shape == (size[0], 3 * size[1], 3)


def test_completion_keeps_the_photographs_own_pixels():
    mask = np.zeros((8, 12), bool)
    mask[5:, 3:7] = True
    done = list(runs.complete(Shelf("unconditional"), HOW, photo(), mask, None, True))[-1]
    assert done.facts["cells"] == 6  # of 2 x 2 pixels, all that the mask touches
    changed = (done.pictures[0] != photo()).any(axis=2)
    assert changed[4:, 2:8].any()
    changed[4:, 2:8] = False
    assert not changed.any()
    with pytest.raises(ValueError, match="the mask marks no cell"):
        list(runs.complete(Shelf("unconditional"), HOW, photo(), mask & False, None, True))


def test_a_reconstruction_has_its_code_map_and_figures():
    shelf = Shelf("unconditional")
    shelf.model = shelf.model.first_stage_model
    done = list(runs.reconstruct(shelf, "tiny", photo(9, 11)))[-1]
    assert done.pictures[0].shape == done.codes.shape == (9, 11, 3)
    codes = np.array(done.facts["indices"])
    assert codes.shape == (5, 6)  # padded to whole cells of 2 x 2 pixels
    assert done.facts["codes_used"] == len(np.unique(codes))
    error = (done.pictures[0].astype(float) - photo(9, 11)) ** 2
    assert done.facts["psnr"] == round(10 * np.log10(255**2 / error.mean()), 2)
    # cells of one code, and they alone, have one colour
    colours = done.codes[::2, ::2].reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) == done.facts["codes_used"]


def test_the_files_of_a_run():
    done = of_labels()[-1]
    files = packed(done)
    assert list(files) == ["segmentation_7.png", "segmentation_7.mp4", "segmentation_7.json"]
    with Image.open(io.BytesIO(files["segmentation_7.png"])) as picture:
        assert np.array_equal(np.asarray(picture), done.pictures[0])
        assert picture.text["seed"] == "7"
        assert json.loads(picture.text["parameters"])["top_k"] == 20
    record = json.loads(files["segmentation_7.json"])
    assert record["indices"] == done.facts["indices"]
    assert record["seed"] == 7
    frames = imageio.imread(files["segmentation_7.mp4"], extension=".mp4")
    assert len(frames) == 6 + 18
    # H.264 shares colours among pixels; brightness it keeps
    grey = (frames[-1] @ [0.299, 0.587, 0.114], done.pictures[0] @ [0.299, 0.587, 0.114])
    assert np.corrcoef(grey[0].ravel(), grey[1].ravel())[0, 1] > 0.95


def test_the_files_of_a_gallery():
    how = replace(HOW, count=3)
    done = list(runs.gallery(Shelf("class"), how, 2, (8, 8), "class"))[-1]
    files = packed(done)
    assert list(files) == ["class_7.png", "class_7.mp4", "class_7.json", "class_7.zip"]
    with zipfile.ZipFile(io.BytesIO(files["class_7.zip"])) as archive:
        names = [f"class_7_{number:03}.png" for number in range(3)]
        assert archive.namelist() == [*names, "class_7.json"]
        with Image.open(io.BytesIO(archive.read(names[1]))) as picture:
            assert np.array_equal(np.asarray(picture), done.pictures[1])


def test_a_sheet_of_pictures_is_nearly_square():
    made = sheet([np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 30)])
    assert made.shape == (4, 6, 3)
    assert made[0, 3, 0] == 20
    assert made[2, 0, 0] == 30
    assert made[2, 3, 0] == 255
