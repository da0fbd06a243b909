"""Run the original's networks stage by stage and return every stage as an array (needs torch)."""

from __future__ import annotations

from typing import Mapping

import numpy as np
import torch

from .cases import Case
from .inputs import inputs

Arrays = Mapping[str, torch.Tensor]


def margins(scores: torch.Tensor) -> torch.Tensor:
    """Return best minus second best over the last axis, relative to the largest magnitude."""
    best = scores.topk(2, dim=-1).values
    return (best[..., 0] - best[..., 1]) / scores.abs().max()


def _distances(h: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Return squared distances (B, h, w, n_embed) of h (B, C, h, w) to the codes (n_embed, C)."""
    flat = h.permute(0, 2, 3, 1)
    return (flat**2).sum(-1, keepdim=True) + (codes**2).sum(1) - 2 * flat @ codes.T


def _vq(model: torch.nn.Module, x: torch.Tensor) -> Arrays:
    h = model.quant_conv(model.encoder(x))
    z_q, _, (_, _, indices) = model.encode(x)
    found = {"h": h, "indices": indices.reshape(h.shape[0], *h.shape[2:]), "z_q": z_q}
    gaps = margins(-_distances(h, model.quantize.embedding.weight))
    return {**found, "margins": gaps, "rec": model.decode(z_q)}


def _gumbel(model: torch.nn.Module, x: torch.Tensor) -> Arrays:
    """Take the best logit: the original adds noise there even in inference."""
    h = model.encode_to_prequant(x)
    logits = model.quantize.proj(h).permute(0, 2, 3, 1)
    indices = logits.argmax(-1)
    z_q = model.quantize.get_codebook_entry(
        indices.reshape(-1), (h.shape[0], *h.shape[2:], h.shape[1])
    )
    found = {"h": h, "logits": logits, "indices": indices, "z_q": z_q}
    return {**found, "margins": margins(logits), "rec": model.decode(z_q)}


def _dvae(model: torch.nn.Module, x: torch.Tensor) -> Arrays:
    """Do what the original's usage notebook does, from and to pictures in [-1, 1]."""
    from dall_e import map_pixels, unmap_pixels

    logits = model.encoder(map_pixels((x + 1) / 2)).permute(0, 2, 3, 1)
    indices = logits.argmax(-1)
    codes = torch.nn.functional.one_hot(indices, logits.shape[-1]).permute(0, 3, 1, 2).float()
    raw = model.decoder(codes)
    rec = unmap_pixels(torch.sigmoid(raw[:, :3])) * 2 - 1
    found = {"logits": logits, "indices": indices, "margins": margins(logits)}
    return {**found, "rec": rec}


def _gpt(model: torch.nn.Module, x: torch.Tensor) -> Arrays:
    hidden: list[torch.Tensor] = []
    hooks = [b.register_forward_hook(lambda _m, _i, out: hidden.append(out)) for b in model.blocks]
    logits, _ = model(x)
    for hook in hooks:
        hook.remove()
    return {**{f"block_{i}": h for i, h in enumerate(hidden)}, "logits": logits}


def _net2net(model: torch.nn.Module, x: torch.Tensor, c: torch.Tensor) -> Arrays:
    z_q, z_indices = model.encode_to_z(x)
    c_q, c_indices = model.encode_to_c(c)
    logits, target = model(x, c)
    found = {"z_q": z_q, "z_indices": z_indices, "c_indices": c_indices, "logits": logits}
    assert torch.equal(target, z_indices)
    h = model.first_stage_model.quant_conv(model.first_stage_model.encoder(x))
    gaps = margins(-_distances(h, model.first_stage_model.quantize.embedding.weight))
    found["z_margins"] = gaps.reshape(z_indices.shape)
    cond = model.cond_stage_model
    if hasattr(cond, "quantize"):
        found["c_q"] = c_q
        h = cond.quant_conv(cond.encoder(c))
        gaps = margins(-_distances(h, cond.quantize.embedding.weight))
        found["c_margins"] = gaps.reshape(c_indices.shape)
    return {**found, "rec": model.decode_to_img(z_indices[:1], (1, *z_q.shape[1:]))}


@torch.no_grad()
def run(case: Case, model: torch.nn.Module) -> dict[str, np.ndarray]:
    """Return the arrays of every stage: indices as int32, everything else as float32."""
    given = {name: torch.from_numpy(array) for name, array in inputs(case).items()}
    x = given["x"]
    if case.kind == "net2net":
        found = _net2net(model, x, given.get("c", x))
    else:
        found = {"vq": _vq, "gumbel": _gumbel, "dvae": _dvae, "gpt": _gpt}[case.kind](model, x)
    kinds = {torch.int64: np.int32, torch.float32: np.float32}
    return {name: t.numpy().astype(kinds[t.dtype]) for name, t in found.items()}
