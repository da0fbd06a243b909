"""Winograd's convolution beside the plain one, and the products it is made of."""

import megengine.functional as F
import numpy as np
import pytest
from megengine import Tensor

from official.multimodal.taming_transformer import winograd
from official.multimodal.taming_transformer.host import writable
from official.multimodal.taming_transformer.layers import Conv2d
from tests.tiny import filled


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def test_four_results_of_three_taps_take_six_products():
    to_products, to_kernels, to_rows = winograd.matrices()
    numbers, taps = drawn(0, 6).astype(np.float64), drawn(1, 3).astype(np.float64)
    found = to_rows @ ((to_kernels @ taps) * (to_products @ numbers))
    np.testing.assert_allclose(found, [numbers[i : i + 3] @ taps for i in range(4)], atol=1e-6)


@pytest.mark.parametrize(("channels", "out"), [(5, 5), (3, 8), (8, 3)])
@pytest.mark.parametrize(("h", "w"), [(4, 5), (8, 3), (12, 16), (40, 7)])
@pytest.mark.parametrize("strips", [1, 3, 100])  # mixed at once
@pytest.mark.parametrize("device", ["cpu0", "multithread3"])
def test_it_gives_what_plain_convolution_gives(monkeypatch, channels, out, h, w, strips, device):
    monkeypatch.setattr(winograd, "MIXED", strips * 6 * max(channels, out) * w)
    x, weight = drawn(2, 1, channels, h, w), drawn(3, out, channels, 3, 3)
    padded = np.pad(x[0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    expected = np.einsum("chwij,ocij->ohw", windows, weight.astype(np.float64))
    found = winograd.convolve(Tensor(x, device=device), Tensor(weight, device=device))
    assert found.shape == (1, out, h, w)
    assert np.abs(found.numpy()[0] - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("h", [16, 18])  # not a multiple of four: the plain way
def test_layers_use_up_their_input_only_where_they_may(monkeypatch, h):
    monkeypatch.setattr(winograd, "CHANNELS", 1)
    monkeypatch.setattr(winograd, "NUMBERS", 1)
    layer, x = filled(Conv2d(6, 6, 3, padding=1)), Tensor(drawn(4, 1, 6, h, 10))
    before = x.numpy().copy()
    expected = F.conv2d(x, layer.weight, layer.bias.reshape(1, -1, 1, 1), padding=1).numpy()
    plain = layer(x)
    np.testing.assert_allclose(plain.numpy(), expected, atol=1e-4)
    np.testing.assert_array_equal((x + 0).numpy(), before)
    products = layer.products(x)
    np.testing.assert_allclose(layer.shift(products).numpy(), expected, atol=1e-4)
    assert ((products + 0).numpy() == (x + 0).numpy()).all() == (h == 16)


def test_it_is_for_large_pictures_one_at_a_time():
    weight = Tensor(np.zeros((128, 128, 3, 3), np.float32))

    def fits(*shape: int, dtype: str = "float32", weight: Tensor = weight) -> bool:
        return winograd.fits(F.zeros(shape, dtype=dtype), weight)

    assert fits(1, 128, 128, 128)
    assert not fits(2, 128, 128, 128)
    assert not fits(1, 128, 126, 128)
    assert not fits(1, 128, 32, 32)
    assert not fits(1, 128, 128, 128, dtype="float16")
    assert not fits(1, 128, 128, 128, weight=Tensor(np.zeros((128, 128, 1, 1), np.float32)))
    assert not fits(1, 128, 128, 128, weight=Tensor(np.zeros((3, 128, 3, 3), np.float32)))


def test_memory_of_another_type_is_refused():
    with pytest.raises(ValueError, match="expected contiguous float32, got int32"):
        writable(Tensor(np.zeros(3, np.int32)))
