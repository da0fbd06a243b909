"""The transformer: one forward pass for cached and uncached use.

Source: taming/modules/transformer/mingpt.py of CompVis/taming-transformers @3ba01b2.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any, Iterable

import megengine.functional as F
import megengine.module as M
import numpy as np
from megengine import Tensor

from .columns import (
    CONV_TOKENS,
    Linear,
    from_columns,
    last_columns,
    linear,
    swap,
    to_columns,
)
from .config import GPTConfig
from .kv_cache import KVCache, Segment
from .layers import BIG, Embedding, Network, cast, gelu, settle, softmax
from .norms import LayerNorm
from .parameters import Declared, Stack, declare, joined

# From so many matrices, or so many rows in each, on, `product` is faster as a convolution.
# Measured on 2 cores (Zen 5), microseconds of matmul / convolution (benchmarks/products.py), q k:
# 16 matrices: 128 rows 337 / 351, 256 rows 726 / 513; 64 matrices of 1 row: 160 / 253;
# 128: 214 / 114 (16 keys), 290 / 222 (128 keys); 400: 508 / 298, 845 / 573.
GROUPS, QUERIES = 128, 128


def product(a: Tensor, b: Tensor) -> Tensor:
    """Multiply matrices (B, n_head, M, K) by (B or 1, n_head, K, N): (B, n_head, M, N).

    As a convolution of one group for each matrix where that is faster: MegEngine runs it on all
    threads, its batched product on one.
    """
    (rows, heads, m, k), (shared, _, _, n) = a.shape, b.shape
    if shared != rows:  # one past for all rows: the batch becomes queries
        joint = a.transpose(1, 0, 2, 3).reshape(1, heads, rows * m, k)
        return product(joint, b).reshape(heads, rows, m, -1).transpose(1, 0, 2, 3)
    groups = rows * heads
    if (groups < GROUPS and m < QUERIES) or str(a.device).startswith("gpu"):
        return F.matmul(a, b)
    filters = a.reshape(groups, m, k, 1, 1)
    return F.conv2d(b.reshape(1, groups * k, n, 1), filters, groups=groups).reshape(
        rows, heads, m, n
    )


def attend(q: Tensor, segments: tuple[Segment, ...], mask: Tensor | None) -> Tensor:
    """Attend over segments without joining them.

    Args:
        q: Scaled queries (B, n_head, T, head_dim) of the newest T tokens.
        segments: Oldest first; with a mask, the last is the T tokens and nothing else.
        mask: Added to the scores of the newest T tokens (T, T), or ``None`` where every query
            sees every key.

    Returns:
        (B, n_head, T, head_dim).
    """
    scores = [product(q, s.k) for s in segments]
    if q.shape[2] == 1:
        return _attend_one(scores, segments)
    if mask is not None:
        scores[-1] = scores[-1] + mask
    largest = scores[0].max(axis=-1, keepdims=True)
    for part in scores[1:]:
        largest = F.maximum(largest, part.max(axis=-1, keepdims=True))
    weights = [F.exp(part - largest) for part in scores]
    total = _added(part.sum(axis=-1, keepdims=True) for part in weights)
    return _added(product(w, s.v) for w, s in zip(weights, segments)) / total


def _attend_one(scores: list[Tensor], segments: tuple[Segment, ...]) -> Tensor:
    """Attend with one query: few numbers, so that fewer operators are faster than fewer copies."""
    if len(scores) == 1:
        return product(softmax(scores[0]), segments[0].v)
    weights = softmax(F.concat(scores, axis=-1))
    ends = np.cumsum([segment.length for segment in segments])
    starts = ends - [segment.length for segment in segments]
    return _added(
        product(weights[..., int(start) : int(end)], segment.v)
        for start, end, segment in zip(starts, ends, segments)
    )


def _added(parts: Iterable[Tensor]) -> Tensor:
    return reduce(add, parts)  # `sum` would add the first to a zero


class CausalSelfAttention(Stack):
    """Multi-head attention over the past; keys, values and queries are one product."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.n_head = config.n_head
        self.key = Linear(config.n_embd, config.n_embd)
        self.query = Linear(config.n_embd, config.n_embd)
        self.value = Linear(config.n_embd, config.n_embd)
        self.proj = Linear(config.n_embd, config.n_embd)

    def stacked(self) -> list[list[Declared]]:
        """Return the weights of key, value and query, the rows of one product, and the biases."""
        parts = [self.key, self.value, self.query]
        return [[part.weight for part in parts], [part.bias for part in parts]]

    def forward(
        self, x: Tensor, batch: int, mask: Tensor | None, cache: KVCache, layer: int, last: bool
    ) -> Tensor:
        """Map the columns of B*T newest tokens to the same shape; the cache grows by T.

        With ``last`` only the last position of each sample is mapped.
        """
        c, t = x.shape[1], 1 if x.ndim == 2 else x.shape[2] // batch
        weight, bias = map(joined, self.stacked())
        if last and t > 1:
            k, v = self._heads(x, batch, weight[: 2 * c], bias[: 2 * c])
            (q,) = self._heads(last_columns(x, batch), batch, weight[2 * c :], bias[2 * c :])
            t, mask = 1, None  # the last token sees everything
        else:
            k, v, q = self._heads(x, batch, weight, bias)
        segments = cache.extend(layer, Segment(k, swap(v, 2)))
        y = attend(swap(q, 2) * (c // self.n_head) ** -0.5, segments, mask)
        y = swap(y, 3)  # (B, n_head, head_dim, T)
        if batch * t < CONV_TOKENS:
            return self.proj(y.reshape(1, c))
        return self.proj(y.reshape(batch, c, t).transpose(1, 0, 2).reshape(1, c, batch * t, 1))

    def _heads(self, x: Tensor, batch: int, weight: Tensor, bias: Tensor) -> list[Tensor]:
        """Map columns by the weights of n layers (n * C, C): n (B, n_head, head_dim, T)."""
        c = x.shape[1]
        if x.ndim == 2:  # few numbers, so that fewer operators are faster
            y = linear(x, weight, bias).reshape(-1, self.n_head, c // self.n_head, 1)
            return [y[i : i + 1] for i in range(y.shape[0])]
        y = linear(x, weight, None).reshape(-1, c, x.shape[2])
        shift = bias.reshape(-1, c, 1)
        # the sums take memory of their own: a cache that keeps keys shall not keep queries alive
        each = [y[i] + shift[i] for i in range(y.shape[0])]
        split = (self.n_head, c // self.n_head, batch, -1)
        return [h.reshape(split).transpose(2, 0, 1, 3) for h in each]


class Block(M.Module):
    """Attention and an MLP, each behind a LayerNorm and beside a shortcut."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.ln1 = LayerNorm(config.n_embd)
        self.ln2 = LayerNorm(config.n_embd)
        self.attn = CausalSelfAttention(config)
        self.mlp: list[Any] = [
            Linear(config.n_embd, 4 * config.n_embd),
            gelu,
            Linear(4 * config.n_embd, config.n_embd),
        ]

    def forward(
        self,
        x: Tensor,
        batch: int,
        mask: Tensor | None,
        cache: KVCache,
        layer: int,
        last: bool = False,
    ) -> Tensor:
        """Map the columns of B*T tokens to the same; with ``last``, the last of each sample."""
        gathered = self.attn(self.ln1(x), batch, mask, cache, layer, last)
        x = (last_columns(x, batch) if last else x) + gathered
        return x + self._mlp(self.ln2(x))

    def _mlp(self, h: Tensor) -> Tensor:
        expand, activate, contract = self.mlp
        wide = settle(expand(h), BIG)  # what attention took is free again
        y: Tensor = contract(activate(wide))
        return y


class GPT(Network):
    """A decoder-only transformer over the codes of condition and picture.

    Args:
        config: Its shapes.
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        self.tok_emb = Embedding(config.vocab_size, config.n_embd)
        self.pos_emb = declare(1, config.block_size, config.n_embd)
        self.blocks = [Block(config) for _ in range(config.n_layer)]
        self.ln_f = LayerNorm(config.n_embd)
        self.head = Linear(config.n_embd, config.vocab_size, bias=False)

    def new_cache(self) -> KVCache:
        """Return an empty cache for this transformer."""
        return KVCache(self.config.n_layer)

    def forward(self, idx: Tensor, cache: KVCache | None = None, *, last: bool = False) -> Tensor:
        """Return the logits of what follows each token.

        Args:
            idx: Integer tokens (B, T) in 0 .. vocab_size - 1, following those of the cache.
            cache: Keys and values of the tokens before; grows by T. ``None``: there are none.
            last: Compute the logits of the last position only.

        Returns:
            float32 logits (B, T, vocab_size), or (B, 1, vocab_size) with ``last``.

        Raises:
            ValueError: idx is not (B, T) or the sequence would exceed ``block_size``.
        """
        if idx.ndim != 2:
            raise ValueError(f"got tokens of shape {tuple(idx.shape)}, expected (B, T)")
        cache = self.new_cache() if cache is None else cache
        past, t = cache.length, idx.shape[1]
        if past + t > self.config.block_size:
            raise ValueError(f"{past} + {t} tokens exceed block_size {self.config.block_size}")
        batch = idx.shape[0]
        x = to_columns(self.tok_emb(idx) + self.pos_emb[:, past : past + t])
        mask = self._mask(past, t)
        for i, block in enumerate(self.blocks):
            # of the last block, nothing but keys and values of the other positions is needed
            x = block(x, batch, mask, cache, i, last and i == len(self.blocks) - 1)
            # convolutions take buffers as large as their weights; waiting costs a step most
            if batch * t >= CONV_TOKENS and (t > 1 or i % 3 == 2):
                x = settle(x)
        return cast(from_columns(self.head(self.ln_f(x)), batch), np.float32)

    def _mask(self, past: int, t: int) -> Tensor | None:
        """Scores to add among t new tokens: -inf where one would see its future."""
        unmasked = self.config.n_unmasked
        if 0 < past < unmasked:
            raise ValueError(f"the first {unmasked} tokens see each other: pass them in one call")
        if t == 1:
            return None
        future = np.triu(np.full((t, t), -np.inf, np.float32), 1)
        if past == 0:
            future[:unmasked, :unmasked] = 0
        return Tensor(future, dtype=self.dtype, device=self.device)
