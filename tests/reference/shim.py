"""Let ``taming-transformers-rom1504==0.0.6`` import under torch 2.13, without what it never runs.

Call :func:`install` before the first ``import taming``. The networks and samplers of that package
are then the untouched original; only three modules around them are stood in for:

* ``taming.main`` is a training program, of which the networks use one helper;
* ``transformers`` gave ``top_k_top_p_filtering``, which later versions no longer have;
* ``torchvision`` is imported for a loss that no comparison computes.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any, Mapping

import torch


def _named(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def from_config(config: Mapping[str, Any]) -> Any:
    """Build the object that a ``{"target": ..., "params": ...}`` mapping describes."""
    return _named(config["target"])(**config.get("params", {}))


def top_k_top_p_filtering(
    logits: torch.Tensor, top_k: int = 0, top_p: float | None = 1.0
) -> torch.Tensor:
    """Set to -inf what is below the k-th best logit or outside the smallest set of mass p."""
    if top_k:
        kth_best = logits.topk(min(top_k, logits.shape[-1])).values[..., -1:]
        logits = logits.masked_fill(logits < kth_best, float("-inf"))
    if top_p is not None and top_p < 1:
        best_first, order = logits.sort(descending=True)
        mass = best_first.softmax(-1)
        outside = mass.cumsum(-1) - mass > top_p  # the mass before a token already exceeds p
        outside = torch.zeros_like(outside).scatter(-1, order, outside)
        logits = logits.masked_fill(outside, float("-inf"))
    return logits


def _module(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name)
    for key, value in members.items():
        setattr(module, key, value)
    sys.modules[name] = module
    return module


class SceneStage(torch.nn.Module):
    """The condition is a sequence of tokens already; the package has no class for that."""

    def encode(self, c: torch.Tensor) -> tuple[Any, ...]:
        return c, None, (None, None, c)


def install() -> None:
    """Put the stand-ins where the original's imports find them."""
    # Lightning probes for the two libraries by their specs, so it must come before the stand-ins.
    importlib.import_module("pytorch_lightning")
    _module("taming.main", instantiate_from_config=from_config, get_obj_from_str=_named)
    if importlib.util.find_spec("transformers") is None:
        _module("transformers", top_k_top_p_filtering=top_k_top_p_filtering)
    if importlib.util.find_spec("torchvision") is None:
        _module("torchvision", models=_module("torchvision.models"))
