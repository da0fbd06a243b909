"""Scene layouts: equal to the original's tokens, and refusing what is no scene."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from official.multimodal.taming_transformer.scene_layout import (
    COCO_FLAGS,
    FLAGS,
    LayoutFormat,
    ObjectBox,
    decode_layout,
    encode_layout,
    number_categories,
    window_crop,
)

GOLDEN = json.loads((Path(__file__).parent / "golden" / "scene_layout.json").read_text())
COCO = LayoutFormat(171)
OPEN_IMAGES = LayoutFormat(342, flags=FLAGS)


def _format(case):
    group, additional = case["flags"]
    shape = case["format"]
    return LayoutFormat(
        shape["classes"],
        no_tokens=shape["tokens"],
        no_max_objects=shape["slots"],
        encode_crop=shape["crop"],
        centre_points=shape["points"],
        flags=FLAGS[: group + 3 * additional],
    )


def _objects(case):
    return [ObjectBox(**{**item, "box": tuple(item["box"])}) for item in case["objects"]]


@pytest.mark.parametrize("number", range(len(GOLDEN)))
def test_tokens_equal_the_originals(number):
    case = GOLDEN[number]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tokens = encode_layout(_objects(case), _format(case), crop=tuple(case["crop"]))
    assert tokens.dtype == np.int64
    assert tokens.tolist() == case["tokens"]


@pytest.mark.parametrize("number", range(len(GOLDEN)))
def test_reading_equals_the_originals(number):
    case, layout = GOLDEN[number], _format(GOLDEN[number])
    scene = decode_layout(case["tokens"], layout)
    places = [item.box[:2] if layout.centre_points else item.box for item in scene.objects]
    assert [layout.representation(item) for item in scene.objects] == [r for r, _ in case["read"]]
    assert [list(place) for place in places] == [place for _, place in case["read"]]
    assert scene.crop == (tuple(case["read_crop"]) if case["read_crop"] else None)


def test_golden_layouts_cover_the_cases():
    """Every format has cut, filtered, empty and full layouts among its golden ones."""
    counts = [len(case["objects"]) - case["format"]["slots"] for case in GOLDEN]
    lost = [len(case["objects"]) > len(case["read"]) for case in GOLDEN]
    assert max(counts) > 0
    assert 0 in counts
    assert any(not case["objects"] for case in GOLDEN)
    assert sum(lost) > 10


def test_released_models_read_92_tokens():
    tokens = encode_layout([ObjectBox(3, (0.0, 0.0, 1.0, 1.0))], COCO)
    assert tokens.shape == (92,)
    assert tokens[:3].tolist() == [3, 0, 90 * 90 - 1]
    assert set(tokens[3:90].tolist()) == {8191}
    assert tokens[90:].tolist() == [0, 90 * 90 - 1]


def test_centre_points_take_62_tokens():
    layout = LayoutFormat(171, centre_points=True)
    tokens = encode_layout([ObjectBox(3, (0.0, 0.5, 1.0, 0.5))], layout)
    assert tokens.shape == (62,)
    assert tokens[1] == round(0.75 * 89) * 90 + round(0.5 * 89)


def test_each_flag_has_its_bit():
    for bit, flag in enumerate(FLAGS):
        item = ObjectBox(7, (0.1, 0.1, 0.2, 0.2), **{flag: True})
        assert encode_layout([item], OPEN_IMAGES)[0] == 7 + 342 * 2**bit


def test_flags_that_the_model_does_not_know_are_ignored():
    item = ObjectBox(7, (0.1, 0.1, 0.2, 0.2), is_occluded=True, is_group_of=True)
    assert encode_layout([item], COCO)[0] == 7 + 171


def test_the_callers_order_is_kept_and_no_random_number_is_drawn():
    items = [ObjectBox(k, (0.1, 0.1, 0.5, 0.5)) for k in (5, 3, 9, 1)]
    state = np.random.get_state()[1].tolist()
    assert encode_layout(items, COCO)[:12:3].tolist() == [5, 3, 9, 1]
    assert np.random.get_state()[1].tolist() == state


def test_objects_outside_the_crop_are_left_out():
    items = [ObjectBox(1, (0.0, 0.0, 0.4, 0.4)), ObjectBox(2, (0.5, 0.5, 0.5, 0.5))]
    tokens = encode_layout(items, COCO, crop=(0.5, 0.5, 0.5, 0.5))
    assert tokens[0] == 2
    assert tokens[3] == COCO.empty


def test_too_many_objects_warn():
    items = [ObjectBox(k, (0.1, 0.1, 0.5, 0.5)) for k in range(31)]
    with pytest.warns(UserWarning, match="31 objects"):
        tokens = encode_layout(items, COCO)
    assert tokens[:90:3].tolist() == list(range(30))


# Whole thousandths: MegEngine turns subnormal numbers off, without which hypothesis has no floats.
start, extent = st.integers(0, 900), st.integers(10, 1000)
boxes = st.tuples(start, start, extent, extent).map(
    lambda b: (b[0] / 1e3, b[1] / 1e3, min(b[2], 1000 - b[0]) / 1e3, min(b[3], 1000 - b[1]) / 1e3)
)
flag_sets = st.tuples(*[st.booleans()] * len(FLAGS))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 341), boxes, st.tuples(*[st.booleans()] * 4)), max_size=30)
)
def test_reading_gives_back_what_was_written_within_a_cell(drawn):
    items = [ObjectBox(c, box, *flags) for c, box, flags in drawn]
    scene = decode_layout(encode_layout(items, OPEN_IMAGES), OPEN_IMAGES)
    assert len(scene.objects) == len(items)
    for before, after in zip(items, scene.objects):
        assert after.category == before.category
        assert all(getattr(after, flag) == getattr(before, flag) for flag in FLAGS)
        assert np.allclose(after.box, before.box, atol=1.01 / 89)


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ((0.5, 0.5, 0.6, 0.1), "inside"),
        ((-0.1, 0.0, 0.5, 0.5), "inside"),
        ((0.1, 0.1, 0.0, 0.5), "positive area"),
        ((10, 10, 200, 100), "fractions"),
        ((0.1, math.nan, 0.5, 0.5), "4 numbers"),
        ((0.1, 0.1, 0.5), "4 numbers"),
    ],
)
def test_boxes_that_are_none_are_refused(box, says):
    with pytest.raises(ValueError, match=says):
        encode_layout([ObjectBox(1, box)], COCO)
    with pytest.raises(ValueError, match="crop"):
        encode_layout([], COCO, crop=box)


def test_an_unknown_category_is_refused():
    for category in (-1, 171):
        with pytest.raises(ValueError, match=r"0\.\.170"):
            encode_layout([ObjectBox(category, (0.0, 0.0, 1.0, 1.0))], COCO)


def test_something_else_than_an_object_is_a_type_error():
    with pytest.raises(TypeError, match="tuple"):
        encode_layout([(1, (0.0, 0.0, 1.0, 1.0))], COCO)


def test_a_format_without_room_for_its_classes_is_refused():
    with pytest.raises(ValueError, match="fewer classes"):
        LayoutFormat(600, flags=FLAGS)
    with pytest.raises(ValueError, match="is_blurred"):
        LayoutFormat(10, flags=("is_blurred",))
    with pytest.raises(ValueError, match="no_max_objects"):
        LayoutFormat(10, no_max_objects=0)


@pytest.mark.parametrize(
    "tokens", [np.zeros(91, int), np.zeros(92), np.full(92, 8192), np.full(92, -1)]
)
def test_sequences_that_are_no_layout_are_refused(tokens):
    with pytest.raises(ValueError, match="expected"):
        decode_layout(tokens, COCO)


def test_windows_of_latent_cells_become_crops():
    assert window_crop(0, 0, (16, 16)) == (0, 0, 1, 1)
    assert window_crop(4, 8, (20, 32)) == (8 / 32, 4 / 20, 0.5, 16 / 20)


def test_categories_are_numbered_as_text():
    assert number_categories(["2", "10", "1"]) == {"1": 0, "10": 1, "2": 2}
    ids = ["/m/z", "/m/01s55n", "/m/a"]
    assert number_categories(ids, last=["/m/01s55n"]) == {"/m/a": 0, "/m/z": 1, "/m/01s55n": 2}
    assert COCO_FLAGS == ("is_group_of",)
