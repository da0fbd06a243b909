"""The transformer in PyTorch, with the names and shapes of the original's state dict.

Source: CompVis taming-transformers, taming/modules/transformer/mingpt.py; the causal mask is not
stored, and sampling keeps keys and values.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Past = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class GPTConfig:
    """Sizes of a transformer, named as in the original's YAML files."""

    vocab_size: int = 1920
    block_size: int = 512
    n_layer: int = 6
    n_head: int = 6
    n_embd: int = 192

    def as_dict(self) -> dict[str, int]:
        """Return plain values for a checkpoint."""
        return asdict(self)


class CausalSelfAttention(nn.Module):
    """Attention to what came before."""

    def __init__(self, c: GPTConfig, dropout: float) -> None:
        super().__init__()
        self.n_head = c.n_head
        self.key, self.query = nn.Linear(c.n_embd, c.n_embd), nn.Linear(c.n_embd, c.n_embd)
        self.value, self.proj = nn.Linear(c.n_embd, c.n_embd), nn.Linear(c.n_embd, c.n_embd)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, past: Past | None, layer: int) -> Tensor:
        """Return (B, T, n_embd) for the same; `past` grows by these places."""
        heads = (x.shape[0], x.shape[1], self.n_head, -1)
        q, k, v = (f(x).view(heads).transpose(1, 2) for f in (self.query, self.key, self.value))
        causal = x.shape[1] > 1
        if past is not None:
            if layer < len(past):
                k, v = torch.cat([past[layer][0], k], 2), torch.cat([past[layer][1], v], 2)
                past[layer] = (k, v)
            else:
                past.append((k, v))
        h = F.scaled_dot_product_attention(q, k, v, is_causal=causal)  # (B, heads, T, head size)
        return self.drop(self.proj(h.transpose(1, 2).reshape(x.shape)))


class Block(nn.Module):
    """Attention and a two-layer network, each beside a short cut."""

    def __init__(self, c: GPTConfig, dropout: float) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(c.n_embd), nn.LayerNorm(c.n_embd)
        self.attn = CausalSelfAttention(c, dropout)
        self.mlp = nn.Sequential(
            nn.Linear(c.n_embd, 4 * c.n_embd),
            nn.GELU(),
            nn.Linear(4 * c.n_embd, c.n_embd),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor, past: Past | None, layer: int) -> Tensor:
        """Return (B, T, n_embd) for the same; `past` grows by these places."""
        x = x + self.attn(self.ln1(x), past, layer)
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    """Tokens (B, T) to logits (B, T, vocab_size)."""

    def __init__(self, config: GPTConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.tok_emb = nn.Embedding(config.vocab_size, config.n_embd)
        self.pos_emb = nn.Parameter(torch.zeros(1, config.block_size, config.n_embd))
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(config, dropout) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.apply(self._start)
        nn.init.normal_(self.pos_emb, std=0.02)
        for block in self.blocks:  # deeper sums start as small as shallow ones
            for last in (block.attn.proj, block.mlp[2]):
                nn.init.normal_(last.weight, std=0.02 / (2 * config.n_layer) ** 0.5)

    @staticmethod
    def _start(module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, idx: Tensor, *, keep: int = 0, past: Past | None = None) -> Tensor:
        """Predict the next tokens.

        Args:
            idx: (B, T) tokens, those after `past` if that is given.
            keep: return logits of the last `keep` places only; 0 for all.
            past: keys and values of the tokens before, one pair a layer; grows in place.
        """
        start = past[0][0].shape[2] if past else 0
        x = self.drop(self.tok_emb(idx) + self.pos_emb[:, start : start + idx.shape[1]])
        for layer, block in enumerate(self.blocks):
            x = block(x, past, layer)
        return self.head(self.ln_f(x[:, -keep:] if keep else x))


@torch.no_grad()
def generate(
    model: GPT, cond: Tensor, count: int, *, temperature: float = 1.0, top_k: int = 0,
    top_p: float = 1.0, generator: torch.Generator | None = None,
) -> Tensor:  # fmt: skip
    """Draw `count` tokens after condition tokens (B, T); returns (B, count)."""
    past: Past = []
    out: list[Tensor] = []
    for _ in range(count):
        logits = model(out[-1] if out else cond, keep=1, past=past)
        scores = logits[:, -1].float() / temperature
        if top_k:
            scores[scores < scores.topk(min(top_k, scores.shape[1])).values[:, -1:]] = -torch.inf
        if top_p < 1.0:
            ranked, order = scores.softmax(1).sort(1, descending=True)
            drop = (ranked.cumsum(1) - ranked) > top_p
            scores[drop.scatter(1, order, drop)] = -torch.inf
        out.append(torch.multinomial(scores.softmax(1), 1, generator=generator))
    return torch.cat(out, 1)
