"""One token of one sample on a CPU: the pass of ``gpt.GPT`` in NumPy, on the same memory.

Such a pass reads every weight once and does little else. MegEngine's product of a matrix and a
vector reads them with one thread, NumPy's with all (the BLAS that its wheels carry; the number is
``OPENBLAS_NUM_THREADS``, or else that of the cores), and between the products NumPy's operators
cost a fraction of MegEngine's on so few numbers. Measured on 2 cores (Zen 4), 1664 -> 6656, ms a
layer: MegEngine 3.5, NumPy 2.4 (benchmarks/linear.py); a whole token in benchmarks/step.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .host import is_gpu, values
from .kv_cache import KVCache, Segment
from .layers import GELU
from .parameters import joined

Array = np.ndarray


def fits(device: str, dtype: np.dtype) -> bool:
    """Tell whether a transformer of this device and dtype can pass a token here."""
    return not is_gpu(device) and dtype == np.float32


def logits(gpt: Any, token: int, cache: KVCache) -> Array:
    """Return the logits of what follows one token; the cache grows by it.

    Args:
        gpt: A ``GPT`` in float32 on a CPU.
        token: In 0 .. vocab_size - 1, following those of the cache.
        cache: Keys and values of the tokens before.

    Returns:
        float32 (vocab_size,).

    Source: as ``gpt.GPT``; tests compare the two.
    """
    x = values(gpt.tok_emb.weight)[token] + values(gpt.pos_emb)[0, cache.length]
    for layer, block in enumerate(gpt.blocks):
        x = x + _attend(block.attn, _normalise(block.ln1, x), cache, layer)
        expand, _, contract = block.mlp
        x = x + _linear(contract, gelu(_linear(expand, _normalise(block.ln2, x))))
    return _linear(gpt.head, _normalise(gpt.ln_f, x))


def _attend(attention: Any, x: Array, cache: KVCache, layer: int) -> Array:
    """Map the newest token (C,) by the past; the cache grows by its key and value."""
    weight, bias = (values(joined(parts)) for parts in attention.stacked())
    k, v, q = (weight @ x + bias).reshape(3, attention.n_head, -1)  # each (n_head, head_dim)
    segments = cache.extend(layer, Segment(k[None, :, :, None], v[None, :, None]))
    q = q * np.float32(q.shape[1] ** -0.5)
    # NumPy's own loops: products so small are not worth waking the BLAS's threads for
    # (benchmarks/products.py)
    scores = [np.einsum("hd,hdt->ht", q, segment.k[0]) for segment in segments]
    weights = _softmax(np.concatenate(scores, axis=1))
    ends = np.cumsum([segment.length for segment in segments])[:-1]
    parts = zip(np.split(weights, ends, axis=1), segments)
    gathered = sum(np.einsum("ht,htd->hd", part, segment.v[0]) for part, segment in parts)
    return _linear(attention.proj, gathered.reshape(-1))


def _softmax(x: Array) -> Array:
    weights = np.exp(x - x.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def _linear(layer: Any, x: Array) -> Array:
    y = values(layer.weight) @ x
    return y if layer.bias is None else y + values(layer.bias)


def _normalise(norm: Any, x: Array) -> Array:
    """Normalise one token (C,), eps 1e-5, with scale and shift."""
    x = x - x.mean()
    deviation = np.sqrt(x @ x / np.float32(x.size) + np.float32(1e-5))
    return x / deviation * values(norm.weight) + values(norm.bias)


def gelu(x: Array) -> Array:
    """Return ``x * Phi(x)`` within 3e-6, float32, as ``layers.gelu`` does for many numbers."""
    square = np.minimum(x * x, np.float32(81))  # GELU is fitted so far; beyond, the gate is 0 or 1
    last, *rest = GELU[::-1]
    p = np.full_like(x, last)
    for coefficient in rest:
        p = p * square + np.float32(coefficient)
    return x * (np.float32(0.5) + np.float32(0.5) * np.tanh(np.float32(0.5) * x * p))
