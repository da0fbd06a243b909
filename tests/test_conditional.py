"""ConditionalSampler draws what the original draws: the numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from official.multimodal.taming_transformer.conditional import ConditionalSampler
from official.multimodal.taming_transformer.config import (
    DDConfig,
    GPTConfig,
    Net2NetConfig,
    VQModelConfig,
)
from official.multimodal.taming_transformer.filling import load_tensors, parameter_shapes
from official.multimodal.taming_transformer.maps import (
    coordinates,
    one_hot,
    read_depth,
    to_batch,
)
from official.multimodal.taming_transformer.net2net import Net2NetTransformer
from official.multimodal.taming_transformer.sampling import SamplingParams
from official.multimodal.taming_transformer.scene_layout import LayoutFormat
from official.multimodal.taming_transformer.window import fixed_condition, map_condition
from tests.conditional_runs import CALLS, sampler
from tests.reference import cases
from tests.reference.draw import draw_weights
from tests.reference.inputs import inputs
from tests.test_window import plain_sample
from tests.tiny import tokens
from tests.tiny_models import depth_map, label_map, tiny_model

GOLDEN = Path(__file__).parent / "golden"


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
