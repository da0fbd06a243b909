import inspect
import math

import numpy as np
import pytest

from official.multimodal.taming_transformer import zoo
from official.multimodal.taming_transformer.checkpoint import write_safetensors
from official.multimodal.taming_transformer.errors import CheckpointError
from official.multimodal.taming_transformer.pretrained import SHIPPED
from official.multimodal.taming_transformer.registry import MODELS

# Counted from the original's configurations, independently of this code.
FIRST_STAGES = {
    "vqgan_imagenet_f16_1024": 72_141_699,
    "vqgan_imagenet_f16_16384": 76_073_859,
    "vqgan_gumbel_f8": 68_995_971,
    "vqgan_openimages_f8_256": 67_652_783,
    "vqgan_openimages_f8_16384": 67_717_295,
    "vqgan_openimages_f4_8192": 55_322_782,
    "vqgan_openimages_f16_16384": 69_593_371,
    "vqgan_faceshq": 72_141_699,
    "vqgan_imagenet_depth": 72_137_089,
    "vqgan_coco_scenes": 73_976_707,
    "vqgan_coco_openimages_scenes": 73_976_707,
}
TRANSFORMERS = {
    "s_flckr_transformer": (304_932_864, 72_141_699, 72_554_294),
    "drin_transformer": (304_932_864, 72_141_699, 72_137_089),
    "faceshq_transformer": (304_932_864, 72_141_699, 0),
    "ade20k_transformer": (361_609_216, 72_928_131, 72_482_839),
    "coco_transformer": (651_307_520, 73_976_707, 72_556_599),
    "celebahq_transformer": (801_798_400, 72_141_699, 0),
    "ffhq_transformer": (801_798_400, 72_141_699, 0),
    "cin_transformer": (1_410_640_896, 76_073_859, 0),
    "coco_scene_transformer": (975_876_352, 73_976_707, 0),
    "open_images_scene_transformer": (1_045_638_144, 73_976_707, 0),
}


@pytest.mark.parametrize(("name", "parameters"), FIRST_STAGES.items())
def test_first_stages_have_the_published_size(name, parameters):
    assert MODELS[name].parameters == parameters


@pytest.mark.parametrize(("name", "parts"), TRANSFORMERS.items())
def test_transformers_have_the_published_size(name, parts):
    sizes = {"transformer": 0, "first_stage_model": 0, "cond_stage_model": 0}
    for key, shape in zoo.expected_shapes(name).items():
        sizes[key.split(".")[0]] += math.prod(shape)
    assert tuple(sizes.values()) == parts


@pytest.mark.parametrize("name", MODELS)
def test_every_row_builds_and_says_what_it_is(name):
    row, builder = MODELS[name], getattr(zoo, name)
    assert builder.__name__ == row.name == name
    assert row.doc in builder.__doc__
    assert list(inspect.signature(builder).parameters) == ["pretrained", "weights"]
    assert row.licence
    assert row.sources or name in SHIPPED
    if row.task == "class":
        assert len(row.config.class_names) in (0, row.config.n_classes)
    if row.task == "segmentation":
        assert len(row.config.label_names) in (0, row.config.cond_stage.ddconfig.in_channels)
    assert (row.sampling is None) == (row.task == "reconstruction")
    assert set(zoo.expected_shapes(name)) == set(zoo.skeleton(name).state_dict())


@pytest.mark.parametrize("name", MODELS)
def test_pretrained_and_weights_exclude_each_other(name):
    with pytest.raises(ValueError, match="not both"):
        getattr(zoo, name)(pretrained=True, weights="x.ckpt")


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no model 'vqgan'.*vqgan_imagenet_f16_1024, "):
        zoo.model_row("vqgan")


def test_the_list_has_every_model_in_order():
    assert [row.name for row in zoo.list_models()] == list(MODELS)
    assert {row.task for row in zoo.list_models()} >= {
        "reconstruction",
        "segmentation",
        "depth",
        "coordinates",
        "class",
        "unconditional",
        "scene_layout",
    }


def random_weights(name: str) -> dict:
    stream = np.random.default_rng(0)
    shapes = zoo.expected_shapes(name)
    return {key: stream.standard_normal(s, np.float32) * 0.02 for key, s in shapes.items()}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_builders_load_a_file(tmp_path, dtype):
    tensors = random_weights("vqgan_openimages_f4_8192_noattn")
    stored = {name: values.astype(dtype) for name, values in tensors.items()}
    write_safetensors(tmp_path / "w.safetensors", stored)
    model = zoo.vqgan_openimages_f4_8192_noattn(weights=tmp_path / "w.safetensors")
    assert not model.training
    state = model.state_dict()
    assert set(state) == set(stored)
    for name, values in stored.items():
        assert state[name].dtype == np.float32
        np.testing.assert_array_equal(state[name], values.astype(np.float32))


def test_weights_of_another_model_are_refused_with_its_name(tmp_path):
    path = tmp_path / "w.safetensors"
    write_safetensors(path, random_weights("vqgan_openimages_f4_8192_noattn"))
    with pytest.raises(CheckpointError, match="vqgan_openimages_f4_8192_noattn") as caught:
        zoo.vqgan_openimages_f8_256(weights=path)
    assert "\n" not in str(caught.value)


def test_without_weights_a_model_is_random_but_the_same_each_time():
    first = zoo.vqgan_openimages_f4_8192_noattn()
    second = zoo.vqgan_openimages_f4_8192_noattn()
    for name, values in first.state_dict().items():
        np.testing.assert_array_equal(values, second.state_dict()[name])
    assert first.state_dict()["decoder.conv_in.weight"].std() > 0


def test_the_package_exports_every_builder():
    import official.multimodal.taming_transformer as package

    assert set(MODELS) <= set(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)
    assert all(getattr(package, name) is getattr(zoo, name) for name in MODELS)
