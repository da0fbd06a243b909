"""The transformer: one forward pass for cached and uncached use.

Source: taming/modules/transformer/mingpt.py of CompVis/taming-transformers @3ba01b2.
"""

from __future__ import annotations

import math
from typing import Any

import megengine.module as M
import numpy as np
from megengine import Tensor

from . import one_token
from .attention import attend
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
from .host import is_gpu
from .kv_cache import KVCache, Segment
from .layers import Embedding, Network, cast, gelu, settle
from .norms import LayerNorm
from .parameters import Declared, Stack, declare, joined

# Columns from which on a pass is long. That of several samples takes memory sparingly: it waits for
# tensors of so many numbers and more (2 MB), and has a block for its keys and values. This costs
# 3 % of its time, and saves 200 MB of four samples' 2 GB.
LONG, LARGE = 256, 1 << 19
# Columns that ``next_logits`` passes at once: more are not faster, and their tensors take more.
COLUMNS = 576


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
        self,
        x: Tensor,
        batch: int,
        mask: Tensor | None,
        cache: KVCache,
        layer: int,
        *,
        last: bool = False,
        least: float = math.inf,
    ) -> Tensor:
        """Map the columns of B*T newest tokens to the same shape; the cache grows by T.

        With ``last`` only the last position of each sample is mapped. From ``least`` numbers on,
        tensors are waited for, so that few are held.
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
        y = attend(swap(q, 2) * (c // self.n_head) ** -0.5, segments, mask, least)
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
        *,
        last: bool = False,
        least: float = math.inf,
    ) -> Tensor:
        """Map the columns of B*T tokens to the same; ``last`` and ``least`` as in attention."""
        gathered = self.attn(self.ln1(x), batch, mask, cache, layer, last=last, least=least)
        x = (last_columns(x, batch) if last else x) + gathered
        return x + self._mlp(self.ln2(x), least)

    def _mlp(self, h: Tensor, least: float) -> Tensor:
        expand, activate, contract = self.mlp
        h = settle(h, LONG * h.shape[1])  # what attention took is free again
        y: Tensor = contract(activate(expand(h), least))
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
        cache = self.new_cache() if cache is None else cache
        past = cache.length
        self._check(tuple(idx.shape), past)
        batch, t = idx.shape
        x = to_columns(self.tok_emb(idx) + self.pos_emb[:, past : past + t])
        mask = self._mask(past, t)
        least = LARGE if cache.is_filling else math.inf
        for i, block in enumerate(self.blocks):
            # of the last block, nothing but keys and values of the other positions is needed
            at_end = last and i == len(self.blocks) - 1
            x = block(x, batch, mask, cache, i, last=at_end, least=least)
            # convolutions take buffers as large as their weights; waiting costs a step most
            if batch * t >= CONV_TOKENS and (t > 1 or i % 3 == 2):
                x = settle(x)
        return cast(from_columns(self.head(self.ln_f(x)), batch), np.float32)

    def next_logits(self, tokens: np.ndarray, cache: KVCache) -> np.ndarray:
        """Return the logits of what follows the last token of each sample, the fastest way.

        One token of one sample on a CPU passes through ``one_token``, the rest through ``forward``.

        Args:
            tokens: Integers (B, T) in 0 .. vocab_size - 1, following those of the cache.
            cache: Keys and values of the tokens before; grows by T.

        Returns:
            float32 (B, vocab_size).

        Raises:
            ValueError: As ``forward``.
        """
        if tokens.size == 1 and one_token.fits(self.device, self.dtype):
            self._check(tokens.shape, cache.length)
            return one_token.logits(self, tokens.item(), cache)[None]
        self._check(tokens.shape, cache.length)
        batch, t = tokens.shape
        if batch > 1 and t > 1 and batch * t >= LONG and not is_gpu(self.device):
            heads = self.config.n_head
            cache.reserve((batch, heads, self.config.n_embd // heads, t), self.device)
        for part in self._parts(tokens, cache.length):
            idx = Tensor(np.ascontiguousarray(part), dtype="int32", device=self.device)
            logits: np.ndarray = self(idx, cache, last=True).numpy()[:, 0]
        return logits

    def _parts(self, tokens: np.ndarray, past: int) -> list[np.ndarray]:
        """Cut tokens (B, T) into passes of at most ``COLUMNS`` columns, as equal as can be."""
        count = min(-(-tokens.size // COLUMNS), tokens.shape[1])
        if past < self.config.n_unmasked:
            count = 1  # they see each other
        return np.array_split(tokens, count, axis=1)

    def _check(self, shape: tuple[int, ...], past: int) -> None:
        """Refuse tokens that cannot follow so long a past."""
        size, unmasked = self.config.block_size, self.config.n_unmasked
        if len(shape) != 2:
            raise ValueError(f"got tokens of shape {shape}, expected (B, T)")
        if past + shape[1] > size:
            raise ValueError(f"{past} + {shape[1]} tokens exceed block_size {size}")
        if 0 < past < unmasked:
            raise ValueError(f"the first {unmasked} tokens see each other: pass them in one call")

    def _mask(self, past: int, t: int) -> Tensor | None:
        """Scores to add among t new tokens: -inf where one would see its future."""
        if t == 1:
            return None
        future = np.triu(np.full((t, t), -np.inf, np.float32), 1)
        if past == 0:
            future[: self.config.n_unmasked, : self.config.n_unmasked] = 0
        return Tensor(future, dtype=self.dtype, device=self.device)
