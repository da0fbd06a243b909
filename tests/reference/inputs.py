"""Draw the inputs of a case: the same arrays on both sides."""

from __future__ import annotations

from typing import Any, Mapping

import numpy as np

from .cases import Case
from .draw import draw_image, draw_indices, one_hot


def _blocks(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    return labels.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]


def condition(kind: str, config: Mapping[str, Any], shape: tuple[int, ...], seed: int) -> Any:
    """Return the condition for pictures of ``shape`` as the original's data sets give it.

    Returns:
        ``None`` for SOS; int64 (B,) class labels; float32 (B, 1, H, W) coordinates in [0, 1) or
        depth in [-1, 1]; float32 (B, n, H, W) one-hot labels; int64 (B, length) scene tokens.
    """
    b, _, h, w = shape
    if kind == "sos":
        return None
    if kind == "class":
        return draw_indices("class", (b,), config["n_classes"], seed)
    if kind == "scene":
        return draw_indices("scene", (b, config["length"]), 32, seed)
    if kind == "depth":
        return draw_image("depth", (b, 1, h, w), seed)
    if kind == "coordinates":
        ramp = (np.arange(h * w, dtype=np.float32) / np.float32(h * w)).reshape(1, 1, h, w)
        return np.ascontiguousarray(ramp.repeat(b, axis=0))
    classes = config["ddconfig"]["in_channels"]
    coarse = draw_indices("labels", (b, -(-h // 4), -(-w // 4)), classes, seed)
    return one_hot(_blocks(coarse, h, w), classes)


def inputs(case: Case) -> dict[str, np.ndarray]:
    """Return the inputs of ``case``: ``x``, and ``c`` where the model has a condition."""
    if case.kind == "gpt":
        return {"x": draw_indices("idx", case.shape, case.config["vocab_size"], case.seed)}
    channels = case.shape[1]
    if case.kind == "vq" and channels not in (1, 3):
        labels = draw_indices("labels", (case.shape[0], *case.shape[2:]), channels, case.seed)
        return {"x": one_hot(labels, channels)}
    found = {"x": draw_image("x", case.shape, case.seed)}
    if case.kind == "net2net":
        cond = case.config["cond_stage"]
        c = condition(cond["kind"], cond, case.shape, case.seed)
        if c is not None:
            found["c"] = c
    return found
