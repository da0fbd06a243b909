import numpy as np
import pytest
from megengine import Tensor

from official.multimodal.taming_transformer import attention
from official.multimodal.taming_transformer.kv_cache import KVCache, Segment
from tests.tiny import filled, tiny_gpt, tokens

TOLERANCE = 1e-5


def random_tokens(seed: int, batch: int, length: int) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 50, (batch, length))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "cuts",
    [
        [0, 6, 8, 11],
        [0, 2, 5, 60],
        [0, 20, 23, 26, 40, 60],
        list(range(61)),
        [0, 16, 32, 48, 64],
        [0, 7, *range(8, 30), 50, 60],
    ],
)
def test_cached_logits_equal_uncached_however_the_sequence_is_cut(batch, cuts):
    gpt = tiny_gpt()
    idx = random_tokens(0, batch, cuts[-1])
    whole = gpt(tokens(idx)).numpy()
    cache = gpt.new_cache()
    parts = [gpt(tokens(idx[:, a:b]), cache).numpy() for a, b in zip(cuts, cuts[1:])]
    assert cache.length == cuts[-1]
    assert np.abs(np.concatenate(parts, 1) - whole).max() < TOLERANCE * np.abs(whole).max()


def test_shared_prefix_serves_every_row_of_a_batch():
    gpt = tiny_gpt()
    idx = random_tokens(1, 3, 60)
    idx[:, :20] = idx[0, :20]
    whole = gpt(tokens(idx)).numpy()
    prefix = gpt.new_cache()
    gpt(tokens(idx[:1, :20]), prefix)
    prefix.freeze()
    cache = prefix.fork()
    parts = [gpt(tokens(idx[:, a:b]), cache).numpy() for a, b in zip(range(20, 60), range(21, 61))]
    assert np.abs(np.concatenate(parts, 1) - whole[:, 20:]).max() < TOLERANCE * np.abs(whole).max()
    assert (prefix.length, cache.length) == (20, 60)


def test_forks_go_their_own_way():
    gpt = tiny_gpt()
    a, b = random_tokens(2, 1, 30), random_tokens(3, 1, 30)
    b[:, :12] = a[:, :12]
    first = gpt.new_cache()
    gpt(tokens(a[:, :12]), first)
    second = first.fork()
    for t in range(12, 30):
        from_a = gpt(tokens(a[:, t : t + 1]), first).numpy()
        from_b = gpt(tokens(b[:, t : t + 1]), second).numpy()
    whole_a, whole_b = gpt(tokens(a)).numpy(), gpt(tokens(b)).numpy()
    assert np.abs(from_a[:, -1] - whole_a[:, -1]).max() < TOLERANCE * np.abs(whole_a).max()
    assert np.abs(from_b[:, -1] - whole_b[:, -1]).max() < TOLERANCE * np.abs(whole_b).max()


def test_later_tokens_do_not_change_earlier_logits():
    gpt = tiny_gpt()
    idx = random_tokens(4, 1, 40)
    changed = idx.copy()
    changed[:, 25:] = (changed[:, 25:] + 1) % 50
    before, after = gpt(tokens(idx)).numpy(), gpt(tokens(changed)).numpy()
    assert np.abs(before[:, :25] - after[:, :25]).max() < TOLERANCE * np.abs(before).max()
    assert np.abs(before[:, 25:] - after[:, 25:]).max() > 0.1


def test_last_returns_the_last_position_only():
    gpt = tiny_gpt()
    idx = tokens(random_tokens(5, 2, 9))
    whole, last = gpt(idx).numpy(), gpt(idx, last=True).numpy()
    assert last.shape == (2, 1, 50)
    assert np.abs(whole[:, -1:] - last).max() < TOLERANCE * np.abs(whole).max()


def test_unmasked_prefix_sees_itself_both_ways():
    masked, unmasked = tiny_gpt(), tiny_gpt(n_unmasked=10)
    idx = random_tokens(6, 1, 20)
    changed = idx.copy()
    changed[:, 9] = (changed[:, 9] + 1) % 50
    for gpt, sees in ((masked, False), (unmasked, True)):
        moved = np.abs(gpt(tokens(idx)).numpy() - gpt(tokens(changed)).numpy())[0, 3].max()
        assert (moved > 1e-3) == sees
    cache = unmasked.new_cache()
    unmasked(tokens(idx[:, :5]), cache)
    with pytest.raises(ValueError, match="pass them in one call"):
        unmasked(tokens(idx[:, 5:]), cache)


def test_too_long_a_sequence_is_refused():
    gpt = tiny_gpt(block_size=8)
    cache = gpt.new_cache()
    gpt(tokens(random_tokens(7, 1, 8)), cache)
    with pytest.raises(ValueError, match=r"8 \+ 1 tokens exceed block_size 8"):
        gpt(tokens([[1]]), cache)
    with pytest.raises(ValueError, match="expected \\(B, T\\)"):
        gpt(tokens([1, 2]))


def test_float16_parameters_give_nearly_the_same_logits():
    """What a GPU is given; MegEngine's slow CPU kernels stand in for it."""
    gpt = tiny_gpt(gain=1.0)
    idx = random_tokens(8, 2, 20)
    expected = gpt(tokens(idx)).numpy()
    for parameter in gpt.parameters():
        parameter._reset(parameter.astype("float16"))
    cache = gpt.new_cache()
    gpt(tokens(idx[:, :12]), cache)
    found = gpt(tokens(idx[:, 12:]), cache)
    assert found.dtype == np.float32
    assert np.abs(found.numpy() - expected[:, 12:]).max() < 0.03 * np.abs(expected).max()


def test_gelu_is_exact_within_its_promise():
    from math import erf

    from official.multimodal.taming_transformer.layers import gelu

    x = np.linspace(-12, 12, 1 << 18, dtype=np.float32)
    expected = [v * 0.5 * (1 + erf(v / 2**0.5)) for v in x.astype(np.float64)[::64]]
    assert np.abs(gelu(Tensor(x)).numpy()[::64] - expected).max() < 4e-6
    assert np.abs(gelu(Tensor(x[::64])).numpy() - expected).max() < 4e-6
    far = np.array([-1e6, -300, 300, 1e6], np.float32).repeat(1 << 16)
    np.testing.assert_allclose(gelu(Tensor(far)).numpy()[:: 1 << 16], [0, 0, 300, 1e6], atol=1e-6)


@pytest.mark.parametrize("tokens_", [1, 3, 700])  # MegEngine's own operator, and the cheap ones
def test_layer_norm_is_that_of_numpy(tokens_):
    from official.multimodal.taming_transformer.columns import from_columns, to_columns
    from official.multimodal.taming_transformer.norms import LayerNorm

    norm = filled(LayerNorm(96))
    stream = np.random.default_rng(5)
    for scale, shift in ((1, 0), (1e-3, 0.5), (1e3, -4e3), (0, 2)):
        x = (stream.normal(size=(1, tokens_, 96)) * scale + shift).astype(np.float32)
        exact = x.astype(np.float64)
        centred = exact - exact.mean(-1, keepdims=True)
        expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        expected = expected * norm.weight.numpy() + norm.bias.numpy()
        found = from_columns(norm(to_columns(Tensor(x))), 1).numpy()
        assert (found.shape, found.dtype) == (x.shape, np.float32)
        assert np.abs(found - expected).max() < 2e-5 * max(1, abs(shift / scale) if scale else 1)


@pytest.mark.parametrize("rows", [1, 2, 5, 40])
def test_linear_layers_give_the_same_in_both_forms(rows):
    from official.multimodal.taming_transformer.columns import Linear, from_columns, to_columns

    layer = filled(Linear(24, 56))
    x = np.random.RandomState(rows).standard_normal((1, rows, 24)).astype(np.float32)
    expected = x @ layer.weight.numpy().T + layer.bias.numpy()
    found = from_columns(layer(to_columns(Tensor(x))), 1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("shape", "narrow"), [((3, 2, 5, 1), 2), ((2, 3, 4, 7), 2),
    ((1, 16, 32, 130), 2), ((2, 16, 130, 32), 3)])  # fmt: skip
def test_swapped_axes_are_the_same_numbers(shape, narrow):
    from official.multimodal.taming_transformer.columns import swap

    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    np.testing.assert_array_equal(swap(Tensor(x), narrow).numpy(), x.swapaxes(2, 3))


@pytest.mark.parametrize("offset", [-1000.0, -100.0, 0.0, 100.0, 1000.0])
def test_softmax_holds_wherever_the_numbers_lie(offset):
    from official.multimodal.taming_transformer.layers import softmax

    x = np.random.RandomState(0).standard_normal((3, 1, 7)).astype(np.float32) + np.float32(offset)
    weights = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
    expected = weights / weights.sum(-1, keepdims=True)
    np.testing.assert_allclose(softmax(Tensor(x)).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("groups", [1, 10**9])
@pytest.mark.parametrize(("rows", "queries"), [(1, 1), (1, 130), (8, 1), (3, 5)])
@pytest.mark.parametrize("shared", [False, True])
def test_products_are_those_of_matrices_in_both_forms(monkeypatch, groups, rows, queries, shared):
    monkeypatch.setattr(attention, "GROUPS", groups)
    monkeypatch.setattr(attention, "ROWS", groups)
    stream = np.random.default_rng(0)
    a = stream.standard_normal((rows, 16, queries, 8), np.float32)
    b = stream.standard_normal((1 if shared else rows, 16, 8, 37), np.float32)
    found = attention.product(Tensor(a), Tensor(b)).numpy()
    assert np.abs(found - a @ b).max() < 1e-5


@pytest.mark.parametrize(("batch", "lengths"), [(1, [256 + 32, 8]), (2, [256, 32, 8])])
def test_a_prefix_is_joined_by_tokens_of_its_own_batch_only(batch, lengths):
    def ones(rows: int, length: int) -> Segment:
        values = Tensor(np.ones((rows, 2, length, 4), np.float32))
        return Segment(values.transpose(0, 1, 3, 2), values + 1)

    cache = KVCache(1)
    cache.extend(0, ones(1, 256))
    cache.freeze()
    for _ in range(40):
        segments = cache.extend(0, ones(batch, 1))
    assert [segment.length for segment in segments] == lengths
    assert [segment.batch for segment in segments] == [1] + [batch] * (len(lengths) - 1)
    assert all((s.k.numpy() == 1).all() and (s.v.numpy() == 2).all() for s in segments)
