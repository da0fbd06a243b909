"""Tensors that the original keeps for its training, and that inference does without."""

from __future__ import annotations

import re
from typing import Mapping

from .errors import CheckpointError
from .tensor_slots import brief

Shapes = Mapping[str, "tuple[int, ...]"]

ROW_MAJOR = "row-major order of the tokens"
_STAGE = r"(?:first_stage_model\.|cond_stage_model\.)?"
# Tensors of the original that inference does not need, and why.
_DROPS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(_STAGE + r"loss\..*"), "training loss"),
    (re.compile(r"(?:first_stage_model\.)?model_ema\..*"), "moving average of training"),
    (re.compile(r"(?:transformer\.)?blocks\.\d+\.attn\.mask"), "attention mask"),
    (re.compile(_STAGE + r"colorize"), "random colours"),
    (re.compile(r"permuter\.(?:forward|backward)_shuffle_idx"), ROW_MAJOR),
)
_REMAP = re.compile(r"(?:.*\.)?quantize\.used")


def without_training(found: Shapes) -> tuple[Shapes, dict[str, str]]:
    """Return the tensors that inference may need, and the others with the reason.

    Raises:
        CheckpointError: A tensor says that the model works in a way that is not supported.
    """
    dropped = {}
    for name in found:
        if _REMAP.fullmatch(name):
            raise CheckpointError(
                f"remaps its codebook ({brief(name)}): no released model does, it is not supported"
            )
        reason = next((why for pattern, why in _DROPS if pattern.fullmatch(name)), None)
        if reason is not None:
            dropped[name] = reason
    return {name: shape for name, shape in found.items() if name not in dropped}, dropped
