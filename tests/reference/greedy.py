"""Run the original's own sampling loops with ``top_k=1`` (needs torch).

The sliding window follows the rule of the original's ``scripts/sample_conditional.py``, with the
original's network called once for every token; class and unconditional models run the original's
own ``sample_with_past`` as ``scripts/sample_fast.py`` does.
"""

from __future__ import annotations

import numpy as np
import torch

from .cases import Case
from .inputs import inputs
from .networks import sample_with_past
from .stages import margins

WINDOW = 16


def local_position(position: int, length: int) -> int:
    """Return where ``position`` lies in its window, along an axis of ``length``."""
    if position <= WINDOW // 2:
        return position
    if length - position < WINDOW // 2:
        return WINDOW - (length - position)
    return WINDOW // 2


def sliding_window(
    model: torch.nn.Module, c: torch.Tensor, shape: tuple[int, int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the greedy tokens and their margins, both (B, h, w), for the condition's tokens."""
    _, h, w = shape
    c = c.reshape(shape)
    tokens = torch.zeros(shape, dtype=torch.int64)
    gaps = torch.zeros(shape)
    for i in range(h):
        for j in range(w):
            at_i, at_j = local_position(i, h), local_position(j, w)
            rows = slice(i - at_i, i - at_i + WINDOW)
            columns = slice(j - at_j, j - at_j + WINDOW)
            seen = [part[:, rows, columns].flatten(1) for part in (c, tokens)]
            logits, _ = model.transformer(torch.cat(seen, 1)[:, :-1])
            logits = logits[:, -WINDOW * WINDOW :].reshape(shape[0], WINDOW, WINDOW, -1)
            scores = model.top_k_logits(logits[:, at_i, at_j], 1)
            tokens[:, i, j] = scores.softmax(-1).argmax(-1)
            gaps[:, i, j] = margins(logits[:, at_i, at_j])
    return tokens, gaps


def with_past(
    model: torch.nn.Module, c: torch.Tensor, shape: tuple[int, int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the same from the original's cached loop; margins come from one uncached pass."""
    steps = shape[1] * shape[2]
    tokens = sample_with_past(c, model.transformer, steps=steps, top_k=1, top_p=1.0)
    logits, _ = model.transformer(torch.cat([c, tokens[:, :-1]], 1))
    logits = logits[:, c.shape[1] - 1 :]
    assert torch.equal(logits.argmax(-1), tokens)
    gaps = torch.stack([margins(logits[:, k]) for k in range(steps)], 1)
    return tokens.reshape(shape), gaps.reshape(shape)


@torch.no_grad()
def run(case: Case, model: torch.nn.Module) -> dict[str, np.ndarray]:
    """Return ``c_indices`` (B, length), ``tokens`` and ``margins`` (B, h, w)."""
    given = inputs(case)
    x = torch.from_numpy(given["x"])
    c = torch.from_numpy(given["c"]) if "c" in given else x
    _, c_indices = model.encode_to_c(c)
    shape = (case.shape[0], case.shape[2] // 4, case.shape[3] // 4)
    cached = case.config["cond_stage"]["kind"] in ("sos", "class")
    tokens, gaps = (with_past if cached else sliding_window)(model, c_indices, shape)
    return {
        "c_indices": c_indices.numpy().astype(np.int16),
        "tokens": tokens.numpy().astype(np.int16),
        "margins": gaps.numpy(),
    }
