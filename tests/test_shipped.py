"""The models that ship: complete, small, without a network, equal to their PyTorch twins."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
from megengine import Tensor
from safetensors import safe_open

from official.multimodal import taming_transformer as taming
from official.multimodal.taming_transformer.pretrained import SHIPPED
from official.multimodal.taming_transformer.registry import expected_shapes

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "assets" / "weights"
GOLDEN = ROOT / "tests" / "golden"


@pytest.fixture(scope="module", autouse=True)
def no_network():
    """Let nothing of this file reach a network."""
    patch = pytest.MonkeyPatch()

    def refuse(*_: object) -> None:
        raise AssertionError("asked for a network")

    patch.setattr(socket.socket, "connect", refuse)
    patch.setattr(socket, "getaddrinfo", refuse)
    yield
    patch.undo()


def test_the_files_are_those_of_the_table_and_small():
    files = {path.stem: path.stat().st_size for path in WEIGHTS.glob("*.safetensors")}
    assert set(files) == set(SHIPPED.values())
    assert sum(files.values()) <= 56e6


@pytest.mark.parametrize("name", SHIPPED)
def test_every_tensor_is_there_in_half_precision(name):
    with safe_open(WEIGHTS / f"{SHIPPED[name]}.safetensors", "np") as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        assert {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118 == {"F16"}
    assert shapes == expected_shapes(name)


@pytest.mark.parametrize("name", SHIPPED)
def test_builders_need_no_network(name):
    model = getattr(taming, name)(pretrained=True)
    assert not model.training


def test_reconstruction_is_that_of_the_twin():
    with np.load(GOLDEN / "scenes_vqgan.npz") as twin:
        picture, indices, y = twin["picture"], twin["indices"], twin["y"].astype(np.float32)
    model = taming.scenes_vqgan(pretrained=True)
    unit = picture.astype(np.float32) / 127.5 - 1.0
    x = Tensor(np.ascontiguousarray(unit.transpose(2, 0, 1)[None]))
    z, found = model.encode(x)
    assert (found.numpy() == indices).mean() > 0.98  # rounded weights move a few over an edge
    assert np.abs(model.decode(z).numpy() - y).mean() / 2.0 < 1.0 / 255.0


@pytest.mark.parametrize("name", sorted(set(SHIPPED.values()) - {"scenes_vqgan"}))
def test_logits_are_those_of_the_twin(name):
    with np.load(GOLDEN / f"{name}.npz") as twin:
        c, z, expected = twin["c"], twin["z"], twin["logits"].astype(np.float32)
    model = getattr(taming, name)(pretrained=True)
    tokens = Tensor(np.concatenate([c, z[:, :-1]], axis=1).astype(np.int32))
    found = model.transformer(tokens).numpy()[0, ::17]
    assert np.abs(found - expected).max() <= 2e-3 * np.abs(expected).max()


def test_classes_are_known_by_their_names():
    model = taming.scenes_class_transformer(pretrained=True)
    sampler = taming.FastSampler(model, batch_size=2, num_samples=1, class_labels=["sunset", "any"])
    assert sampler.schedule.labels == (2, 0)
    with pytest.raises(ValueError, match=r"'spring' is unknown.*class_names"):
        taming.FastSampler(model, batch_size=2, num_samples=1, class_labels=["spring"])


def test_a_class_is_drawn_in_its_colours():
    """Nights are dark and winters are bright, whatever else the pictures show."""
    model = taming.scenes_class_transformer(pretrained=True)
    sampler = taming.FastSampler(model, batch_size=8, top_k=100, top_p=0.95, num_samples=4,
                                 class_labels=["night", "winter"], seed=0)  # fmt: skip
    pictures = sampler().pictures.reshape(2, 4, -1)
    night, winter = pictures.mean(axis=-1)
    assert night.max() < 80 < 150 < winter.min()
