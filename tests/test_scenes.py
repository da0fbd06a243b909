"""The renderer of made-up landscapes: what it draws, and that it draws it again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools" / "train"))

import scenes

SKY = [scenes.LABELS.index(name) for name in ("sky", "cloud", "sun_moon")]
WATER = scenes.LABELS.index("water")


@pytest.fixture(scope="module")
def some() -> list[scenes.Scene]:
    return [scenes.render(3, index, 64, 96, smooth=1) for index in range(24)]


def test_the_same_seed_and_index_give_the_same_scene() -> None:
    first, again = scenes.render(5, 7, 48, 48), scenes.render(5, 7, 48, 48)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.labels, again.labels)
    np.testing.assert_array_equal(first.depth, again.depth)
    assert first.kind == again.kind


def test_a_scene_does_not_depend_on_the_global_random_state() -> None:
    np.random.seed(0)
    first = scenes.render(5, 8, 32, 32).image
    before = np.random.get_state()[1].copy()
    np.random.seed(1)
    np.testing.assert_array_equal(first, scenes.render(5, 8, 32, 32).image)
    np.random.seed(0)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


@pytest.mark.parametrize("other", [(5, 8), (6, 7)])
def test_another_seed_or_index_gives_another_scene(other: tuple[int, int]) -> None:
    first, second = scenes.render(5, 7, 48, 48), scenes.render(*other, 48, 48)
    assert np.abs(first.image.astype(int) - second.image).mean() > 5


@pytest.mark.parametrize("size", [(8, 8), (33, 57), (64, 256), (96, 40)])
def test_any_size_and_aspect(size: tuple[int, int]) -> None:
    scene = scenes.render(1, 2, *size)
    assert scene.image.shape == (*size, 3)
    assert scene.image.dtype == np.uint8
    assert scene.labels.shape == size
    assert scene.labels.dtype == np.uint8
    assert scene.depth.shape == size
    assert scene.depth.dtype == np.float32


def test_a_larger_picture_shows_the_same_scene() -> None:
    small = scenes.render(2, 4, 64, 64)
    large = scenes.render(2, 4, 128, 128)
    shrunk = large.image.reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(small.image - shrunk).mean() < 8
    assert (small.labels == large.labels[::2, ::2]).mean() > 0.85


def test_a_panorama_has_the_square_picture_in_its_middle() -> None:
    square = scenes.render(2, 4, 64, 64, smooth=1)
    wide = scenes.render(2, 4, 64, 192, smooth=1)
    assert (square.labels == wide.labels[:, 64:128]).mean() > 0.97


def test_depth_is_far_exactly_where_the_labels_show_the_sky(some: list[scenes.Scene]) -> None:
    for scene in some:
        np.testing.assert_array_equal(np.isin(scene.labels, SKY), scene.depth >= scenes.FAR)
        assert scene.depth.min() > 0


def test_water_is_a_level_plane(some: list[scenes.Scene]) -> None:
    """On a plane below the eye, row - horizon is proportional to 1 / distance."""
    seen = 0
    for scene in some:
        rows, columns = np.nonzero((scene.labels == WATER) & (scene.depth < 60.0))
        if len(rows) < 50 or np.ptp(rows) < 8:
            continue
        seen += 1
        inverse = 1.0 / scene.depth[rows, columns]
        fit = np.polyfit(rows, inverse, 1)
        assert np.abs(np.polyval(fit, rows) - inverse).mean() < 0.004
        assert fit[0] > 0
    assert seen >= 5


def test_a_collection_shows_every_class_and_every_label(some: list[scenes.Scene]) -> None:
    assert {scene.kind for scene in some} == set(range(len(scenes.CLASSES)))
    found = set(np.unique(np.stack([scene.labels for scene in some])).tolist())
    assert found == set(range(len(scenes.LABELS)))


def test_a_class_may_be_asked_for_and_keeps_the_land() -> None:
    day = scenes.render(4, 1, 48, 48, kind="day")
    night = scenes.render(4, 1, 48, 48, kind="night")
    assert scenes.CLASSES[day.kind] == "day"
    assert scenes.CLASSES[night.kind] == "night"
    ground = ~np.isin(day.labels, SKY) & ~np.isin(night.labels, SKY)
    near = np.isclose(day.depth[ground], night.depth[ground], rtol=0.05)
    assert near.mean() > 0.9
    assert day.image.mean() > night.image.mean() + 40


def test_nearness_orders_distances_and_ends_at_the_sky() -> None:
    near = scenes.nearness(np.array([scenes.FAR * 2, scenes.FAR, 50.0, 5.0, 0.1], np.float32))
    assert near[0] == near[1] == 0.0
    assert near[-1] == 1.0
    assert (np.diff(near[1:]) > 0).all()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"seed": 0, "index": 0, "height": 7}, "8x8"),
        ({"seed": -1, "index": 0}, "seed -1"),
        ({"seed": 0, "index": 0, "kind": "spring"}, "sunset"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        scenes.render(**arguments)
