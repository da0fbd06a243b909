"""Many tokens at once: in parts, their keys and values in one block, beside one plain pass."""

import platform

import numpy as np
import pytest

from official.multimodal.taming_transformer import gpt as gpt_module
from official.multimodal.taming_transformer.kv_block import KVBlock
from tests.tiny import tiny_gpt, tokens
from tests.tuned import number_printed

TOLERANCE = 1e-5


def random_tokens(seed: int, batch: int, length: int) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 50, (batch, length))


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.abs(found - expected).max() < TOLERANCE * np.abs(expected).max())


def run(gpt, idx: np.ndarray, prefix: int, long: int) -> tuple:
    """Pass a prefix that all rows share, many tokens, and then some one by one."""
    cache, logits = gpt.new_cache(), []
    if prefix:
        gpt.next_logits(idx[:1, :prefix], cache)
        cache.freeze()
    cuts = [prefix, prefix + long, *range(prefix + long + 1, idx.shape[1] + 1)]
    for a, b in zip(cuts, cuts[1:]):
        logits.append(gpt.next_logits(idx[:, a:b], cache))
    return np.stack(logits), cache


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("prefix", [0, 9])
@pytest.mark.parametrize("columns", [1, 7, 24, 10**9])
def test_parts_and_block_change_nothing(monkeypatch, batch, prefix, columns):
    gpt, idx = tiny_gpt(), random_tokens(0, batch, 60)
    idx[:, :prefix] = idx[0, :prefix]
    monkeypatch.setattr(gpt_module, "LONG", 10**9)
    plain, loose = run(gpt, idx, prefix, 40)
    whole = gpt(tokens(idx)).numpy()
    assert close(plain[-1], whole[:, -1])
    monkeypatch.setattr(gpt_module, "LONG", 8)
    monkeypatch.setattr(gpt_module, "COLUMNS", columns)
    found, cache = run(gpt, idx, prefix, 40)
    assert close(found, plain)
    assert (cache.length, cache.nbytes) == (60, loose.nbytes)
    held = [segment.length for segment in cache._packed[0]]
    if batch > 1:
        assert (held[-1], sum(held[:-1])) == (40, prefix)  # one run, however many parts it came in
    else:
        assert held == []  # a single row's are few


def test_keys_and_values_of_a_layer_lie_together_and_are_what_was_computed(monkeypatch):
    monkeypatch.setattr(gpt_module, "LONG", 8)
    monkeypatch.setattr(gpt_module, "COLUMNS", 30)
    gpt, idx = tiny_gpt(), random_tokens(1, 2, 40)
    cache, plain = gpt.new_cache(), gpt.new_cache()
    gpt.next_logits(idx, cache)
    gpt(tokens(idx), plain)
    for layer in range(3):
        (block,), (loose,) = cache._segments(layer), plain._segments(layer)
        assert close(block.k.numpy(), loose.k.numpy())
        assert close(block.v.numpy(), loose.v.numpy())
        keys, values = (np.from_dlpack(a).ctypes.data for a in (block.k, block.v))
        assert values - keys == block.nbytes // 2


def test_runs_that_may_still_be_joined_get_no_block(monkeypatch):
    monkeypatch.setattr(gpt_module, "LONG", 8)
    gpt, idx = tiny_gpt(), random_tokens(2, 3, 40)
    cache = gpt.new_cache()
    for a, b in ((0, 2), (2, 20), (20, 21), (21, 40)):
        found = gpt.next_logits(idx[:, a:b], cache)
    assert cache._packed == [()] * 3
    assert close(found, gpt(tokens(idx)).numpy()[:, -1])


def test_tokens_that_see_each_other_are_not_parted(monkeypatch):
    monkeypatch.setattr(gpt_module, "LONG", 8)
    monkeypatch.setattr(gpt_module, "COLUMNS", 6)
    gpt, idx = tiny_gpt(n_unmasked=10), random_tokens(3, 2, 30)
    found, _ = run(gpt, idx, 0, 20)
    assert close(found[-1], gpt(tokens(idx)).numpy()[:, -1])


def test_a_sequence_too_long_is_refused_before_any_part_is_passed(monkeypatch):
    monkeypatch.setattr(gpt_module, "LONG", 8)
    monkeypatch.setattr(gpt_module, "COLUMNS", 16)
    gpt = tiny_gpt()
    cache = gpt.new_cache()
    with pytest.raises(ValueError, match="0 \\+ 65 tokens exceed block_size 64"):
        gpt.next_logits(random_tokens(4, 2, 65), cache)
    assert cache.length == 0
    gpt.next_logits(random_tokens(4, 2, 64), cache)
    assert cache.length == 64


@pytest.mark.parametrize(
    ("batch", "length", "parts"),
    [(4, 248, [124, 124]), (4, 136, [136]), (1, 512, [512]), (25, 60, [20, 20, 20]),
     (3, 200, [100, 100]), (600, 2, [1, 1]), (600, 1, [1])],
)  # fmt: skip
def test_parts_are_as_equal_as_can_be(batch, length, parts):
    cut = tiny_gpt()._parts(np.zeros((batch, length), int), 0)
    assert [part.shape for part in cut] == [(batch, part) for part in parts]


def test_a_block_shows_what_it_holds_so_far():
    stream, block = np.random.default_rng(0), KVBlock(2, (3, 4, 8, 10), "cpu0")
    k = stream.random((3, 4, 8, 10), np.float32)
    v = stream.random((3, 4, 10, 8), np.float32)
    assert block.holds(1) == 0
    for a, b in ((0, 6), (6, 10)):
        for layer in range(2):
            assert not block.is_full
            block.add(layer, tokens(0) + k[..., a:b], tokens(0) + v[:, :, a:b])
            held = [t.numpy() for t in block.tensors(layer)]
            assert block.holds(layer) == b
            assert np.array_equal(held[0], k[..., :b])
            assert np.array_equal(held[1], v[:, :, :b])
    assert block.is_full


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_a_long_pass_takes_little_beside_its_keys_and_values():
    program = """
import numpy as np
from benchmarks.worker import status_mb
from official.multimodal.taming_transformer.runtime import release_memory, tune_cpu
from tests.tiny import tiny_gpt
tune_cpu()
gpt = tiny_gpt(50, 256, n_layer=16, n_embd=256)
gpt.next_logits(np.zeros((8, 2), int), gpt.new_cache())
release_memory()
before, cache = status_mb("VmRSS"), gpt.new_cache()
gpt.next_logits(np.zeros((8, 240), int), cache)
print((status_mb("VmHWM") - before) / cache.nbytes * 1e6)
"""
    assert 1.0 < number_printed(program) < 2.5  # at once, without a block: 3.7
