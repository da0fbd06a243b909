"""Normalisation, swish and sums of large pictures, block by block, beside their formulas."""

import numpy as np
import pytest
from megengine import Tensor

from official.multimodal.taming_transformer import in_cache
from official.multimodal.taming_transformer.blocks import Head, ResnetBlock
from official.multimodal.taming_transformer.host import on_host
from official.multimodal.taming_transformer.layers import Conv2d
from official.multimodal.taming_transformer.norms import GroupNorm
from tests.tiny import filled

# of whole rows of 1024, of several blocks, and of numbers that nothing divides
SHAPES = [(2, 3, 32, 64), (1, 70, 64, 64), (3, 5, 7, 9)]


def drawn(seed: int, *shape: int, offset: float = 0.0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal(shape) * np.linspace(0.1, 3, shape[-1])
    return (x + offset).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("offset", [0.0, 300.0])
@pytest.mark.parametrize("device", ["cpu0", "multithread3"])
def test_moments_are_those_of_the_channels(shape, offset, device):
    x = drawn(0, *shape, offset=offset)
    mean, variance = in_cache.moments(Tensor(x, device=device))
    np.testing.assert_allclose(mean, x.mean((2, 3), dtype=np.float64), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(variance, x.var((2, 3), dtype=np.float64), rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spare", [False, True])
@pytest.mark.parametrize("device", ["cpu0", "multithread3"])
def test_swish_is_its_formula_and_takes_spare_memory_only(shape, spare, device):
    x = drawn(0, *shape)
    scale, shift = (np.random.default_rng(n).normal(0, 4, shape[:2]) for n in (1, 2))
    y = x * scale[:, :, None, None] + shift[:, :, None, None]
    given = Tensor(x, device=device)
    found = in_cache.swish(given, scale, shift, spare)
    np.testing.assert_allclose(found.numpy(), y / (1 + np.exp(-y)), rtol=1e-6, atol=1e-5)
    assert np.array_equal(on_host(given), x) != spare


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_take_the_memory_of_the_first(shape):
    x, y, channels = drawn(0, *shape), drawn(1, *shape), drawn(2, shape[1])
    given, other = Tensor(x), Tensor(y)
    expected = x + channels[:, None, None] + y
    np.testing.assert_allclose(in_cache.add(given, channels, other).numpy(), expected, atol=1e-5)
    np.testing.assert_array_equal(on_host(other), y)


@pytest.mark.parametrize("out", [32, 64])
def test_blocks_give_the_same_either_way_and_leave_their_input(monkeypatch, out):
    block = filled(ResnetBlock(32, out))
    head = Head(filled(GroupNorm(out)), filled(Conv2d(out, 3, 3, padding=1)))
    x = drawn(0, 2, 32, 12, 10, offset=2.0)
    found = []
    for usable in (False, True):
        monkeypatch.setattr(in_cache, "usable", lambda x, answer=usable: answer)
        given = Tensor(x)
        y = block(given)
        found.append((y.numpy(), head(y).numpy()))
        np.testing.assert_array_equal(on_host(given), x)
    for plain, other in zip(*found):
        np.testing.assert_allclose(other, plain, atol=1e-5 * np.abs(plain).max())


def test_normalisation_by_known_moments_is_that_by_its_own(monkeypatch):
    norm, x, shift = filled(GroupNorm(64)), Tensor(drawn(0, 2, 64, 6, 5)), Tensor(drawn(1, 64))
    expected = norm(x + shift.reshape(1, -1, 1, 1)).numpy()
    for usable in (False, True):
        monkeypatch.setattr(in_cache, "usable", lambda x, answer=usable: answer)
        scale, shifts = norm.affine(*norm.moments(x, shift), shift)
        found = x.numpy() * scale[:, :, None, None] + shifts[:, :, None, None]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_it_is_for_many_float32_numbers(monkeypatch):
    monkeypatch.setattr(in_cache, "MAPPED", 24)
    assert in_cache.usable(Tensor(drawn(0, 1, 2, 3, 4)))
    assert not in_cache.usable(Tensor(drawn(0, 1, 2, 3, 3)))
    assert not in_cache.usable(Tensor(drawn(0, 1, 2, 3, 4)).astype("float16"))
