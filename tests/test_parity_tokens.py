"""Greedy tokens equal those of the original's own sampling loops (golden files)."""

from __future__ import annotations

import numpy as np
import pytest

from official.multimodal.taming_transformer.sampling import SamplingParams
from official.multimodal.taming_transformer.scene_layout import (
    LayoutFormat,
    ObjectBox,
    encode_layout,
    window_crop,
)
from official.multimodal.taming_transformer.window import (
    WindowLogits,
    fixed_condition,
    frame_at,
    map_condition,
    sample_window,
)
from tests.reference import golden, ours
from tests.reference.cases import GREEDY, GREEDY_SCENES
from tests.reference.ours import TOLERANCE

SIDE = 16
CASES = {case.name: case for case in GREEDY}


def load(name):
    """Return our transformer with the original's weights, the condition, tokens and margins."""
    expected, facts = golden.load(name)
    model, weights = ours.build(CASES[name])
    assert weights == facts["weights"]
    tokens, c = expected["tokens"].astype(np.int32), expected["c_indices"].astype(np.int32)
    if model.condition in ("unconditional", "class"):
        return model, fixed_condition(c), tokens, expected["margins"]
    return model, map_condition(c.reshape(tokens.shape)), tokens, expected["margins"]


def run(model, condition, shape, centre=None):
    """Draw greedily and return every sample's tokens."""
    steps = sample_window(
        model.transformer,
        condition,
        np.zeros(shape, np.int32),
        params=SamplingParams(top_k=1),
        seed=5,
        samples=range(shape[0]),
        n_embed=model.n_embed,
        centre=centre,
    )
    return list(steps)[-1].indices


def slowly(names, slow):
    """Mark the cases whose name has one of the texts ``slow``."""
    marks = [pytest.mark.slow] if slow else []
    return [pytest.param(n, marks=marks if any(s in n for s in slow) else []) for n in names]


@pytest.mark.parametrize("name", slowly(CASES, slow=("42x64", "18x23_b3")))
def test_free_running_greedy_tokens_equal_the_originals(name):
    """They are compared up to the first near tie; pictures of 16 by 16 have none."""
    model, condition, tokens, margins = load(name)
    found = run(model, condition, tokens.shape).reshape(tokens.shape[0], -1)
    certain = np.logical_and.accumulate(margins.reshape(found.shape) >= TOLERANCE, axis=1)
    if "16x16" in name:
        assert certain.all()
    assert certain.sum() > 200
    np.testing.assert_array_equal(found[certain], tokens.reshape(found.shape)[certain])


@pytest.mark.parametrize("name", slowly(CASES, slow=("42x64", "b3", "16x16", "coordinates")))
def test_every_token_follows_from_the_originals_tokens_before_it(name):
    """Given the original's tokens, the best next one is the original's, but for near ties."""
    model, condition, tokens, margins = load(name)
    batch, h, w = tokens.shape
    logits = WindowLogits(model.transformer, condition, batch, 2e9)
    found = np.empty_like(tokens)
    for i, j in np.ndindex(h, w):
        frame = frame_at(i, j, (h, w), SIDE, SIDE // 2)
        returns = i + 1 < h and frame_at(i + 1, j, (h, w), SIDE, SIDE // 2) == frame
        cells = (i - frame.top) * frame.width + j - frame.left
        found[:, i, j] = logits(frame, tokens, cells, returns).argmax(-1)
    certain = margins >= TOLERANCE
    assert certain.mean() > 0.99
    np.testing.assert_array_equal(found[certain], tokens[certain])


@pytest.mark.parametrize("name", [name for name in CASES if "16x16" in name])
def test_conditions_encode_to_the_originals_tokens(name):
    """The tokens that a run starts from come out of the picture, map or label as upstream."""
    from tests.reference.inputs import inputs

    expected, _ = golden.load(name)
    model, _ = ours.build(CASES[name])
    given = inputs(CASES[name])
    c = given.get("c", given["x"])
    if c.dtype == np.float32:
        from megengine import Tensor

        c = Tensor(c)
    found = model.encode_to_c(c)[1].numpy().reshape(expected["c_indices"].shape)
    assert (found == expected["c_indices"]).mean() > 0.99


@pytest.mark.parametrize("case", GREEDY_SCENES, ids=lambda case: case.name)
def test_scenes_painted_window_by_window_equal_the_originals(case):
    """Every window has its own layout tokens; tokens are compared up to the first near tie."""
    expected, facts = golden.load(case.name)
    model, weights = ours.build(case)
    assert weights == facts["weights"]
    objects = [ObjectBox(**{**item, "box": tuple(item["box"])}) for item in facts["objects"]]
    layout = LayoutFormat(20, no_tokens=256, no_max_objects=6)
    shape = expected["tokens"].shape

    def condition(frame):
        crop = window_crop(frame.top, frame.left, shape[1:])
        return encode_layout(objects, layout, crop=crop)[None]

    found = run(model, condition, shape, centre=7).reshape(shape[0], -1)
    margins = expected["margins"].reshape(found.shape)
    certain = np.logical_and.accumulate(margins >= TOLERANCE, axis=1)
    assert certain.sum() > 200
    np.testing.assert_array_equal(found[certain], expected["tokens"].reshape(found.shape)[certain])
