"""One token at a time in NumPy, beside MegEngine's pass over the same tokens."""

from math import erf

import numpy as np
import pytest
from megengine import Tensor

from official.multimodal.taming_transformer import one_token
from official.multimodal.taming_transformer.host import on_host, values
from official.multimodal.taming_transformer.kv_cache import KVCache, Segment
from tests.tiny import tiny_gpt, tokens

TOLERANCE = 1e-5


def random_tokens(seed: int, batch: int, length: int) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 50, (batch, length))


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.abs(found - expected).max() < TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "cuts",
    [
        list(range(65)),  # from nothing
        [0, 9, *range(10, 65)],  # after a prefix
        [0, 20, *range(21, 45), 50, *range(51, 55), 64],  # to and fro between host and device
    ],
)
def test_next_logits_equal_the_whole_pass_however_the_sequence_is_cut(batch, cuts):
    gpt, idx = tiny_gpt(), random_tokens(0, batch, 64)
    whole = gpt(tokens(idx)).numpy()
    cache = gpt.new_cache()
    for a, b in zip(cuts, cuts[1:]):
        found = gpt.next_logits(idx[:, a:b], cache)
        assert (found.shape, found.dtype) == ((batch, 50), np.float32)
        assert close(found, whole[:, b - 1])
        assert {s.on_host for s in cache._segments(0)} == {(batch, b - a) == (1, 1)}
    assert cache.length == 64


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("packed", [9, 20, 21, 37])  # tokens held by then
def test_a_packed_cache_goes_on_as_it_would_have(batch, packed):
    gpt, idx = tiny_gpt(), random_tokens(4, batch, 64)
    whole = gpt(tokens(idx)).numpy()
    cache, cuts = gpt.new_cache(), [0, 9, 20, *range(21, 38), 50, *range(51, 54), 64]
    for a, b in zip(cuts, cuts[1:]):
        assert close(gpt.next_logits(idx[:, a:b], cache), whole[:, b - 1])
        size = cache.nbytes
        if b >= packed:
            cache.pack()
        assert (cache.length, cache.nbytes) == (b, size)
        fork = cache.fork()
    assert (fork.length, fork.nbytes) == (64, size)
    assert sum(s.length for s in fork._packed[0]) == packed


def test_an_empty_cache_packs_nothing():
    cache = KVCache(3)
    cache.pack()
    assert (cache.length, cache.nbytes) == (0, 0)


def test_forks_on_the_host_go_their_own_way():
    gpt, a, b = tiny_gpt(), random_tokens(2, 1, 40), random_tokens(3, 1, 40)
    b[:, :12] = a[:, :12]
    first = gpt.new_cache()
    gpt.next_logits(a[:, :12], first)
    second = first.fork()
    for t in range(12, 40):
        from_a = gpt.next_logits(a[:, t : t + 1], first)
        from_b = gpt.next_logits(b[:, t : t + 1], second)
    assert close(from_a, gpt(tokens(a)).numpy()[:, -1])
    assert close(from_b, gpt(tokens(b)).numpy()[:, -1])


def test_what_cannot_follow_is_refused():
    gpt, cache = tiny_gpt(block_size=8), KVCache(3)
    gpt.next_logits(random_tokens(7, 1, 8), cache)
    with pytest.raises(ValueError, match=r"8 \+ 1 tokens exceed block_size 8"):
        gpt.next_logits(np.array([[1]]), cache)
    unmasked = tiny_gpt(n_unmasked=10)
    cache = unmasked.new_cache()
    unmasked.next_logits(random_tokens(6, 1, 5), cache)
    with pytest.raises(ValueError, match="pass them in one call"):
        unmasked.next_logits(np.array([[1]]), cache)


def test_only_float32_on_a_cpu_fits():
    assert one_token.fits("cpu0", np.dtype("float32"))
    assert one_token.fits("multithread2:0", np.dtype("float32"))
    assert not one_token.fits("gpu0", np.dtype("float32"))
    assert not one_token.fits("cpu0", np.dtype("float16"))


def test_weights_are_read_where_they_lie_and_cannot_be_written():
    gpt = tiny_gpt()
    gpt.next_logits(np.array([[1]]), gpt.new_cache())
    weight = gpt.blocks[0].mlp[0].weight
    assert np.shares_memory(values(weight), on_host(weight))
    with pytest.raises(ValueError, match="read-only"):
        values(weight)[0] = 0
    whole = gpt.blocks[0].attn.key.weight.whole
    assert np.shares_memory(whole.view, on_host(gpt.blocks[0].attn.query.weight))


def test_keys_and_values_move_and_stay_the_same():
    v = np.random.default_rng(0).standard_normal((1, 2, 5, 4), np.float32)
    on_device = Segment(Tensor(v).transpose(0, 1, 3, 2), Tensor(v))
    there = on_device.beside(Segment(v[:, :, :, :1], v))
    back = there.beside(on_device)
    assert (there.on_host, back.on_host) == (True, False)
    assert there.nbytes == on_device.nbytes == back.nbytes
    for segment in (there, Segment(back.k.numpy(), back.v.numpy())):
        np.testing.assert_array_equal(segment.k, v.swapaxes(2, 3))
        np.testing.assert_array_equal(segment.v, v)


def test_gelu_is_exact_within_its_promise():
    x = np.concatenate([np.linspace(-12, 12, 4097), [-1e6, -300, 300, 1e6]]).astype(np.float32)
    expected = [v * 0.5 * (1 + erf(v / 2**0.5)) for v in x.astype(np.float64)]
    found = one_token.gelu(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=4e-6)
