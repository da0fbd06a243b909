"""Small transformers of every kind, with a label map and a depth map that fit them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from official.multimodal.taming_transformer.config import GPTConfig, Net2NetConfig, VQModelConfig
from official.multimodal.taming_transformer.net2net import Net2NetTransformer
from tests.tiny import DD, VQ, filled

N_LABELS = 7
WINDOW = 4


def _stage(channels: int) -> VQModelConfig:
    return VQModelConfig(
        replace(DD, in_channels=channels, out_ch=channels), n_embed=40, embed_dim=4
    )


CONDITIONS = {
    "segmentation": {"cond_stage": _stage(N_LABELS), "cond_length": 16},
    "depth": {"cond_stage": _stage(1), "cond_length": 16},
    "coordinates": {"cond_length": 16},
    "class": {"n_classes": 9},
    "unconditional": {},
    "scene_layout": {"cond_length": 5},
}


@lru_cache(maxsize=None)
def tiny_model(kind: str) -> Net2NetTransformer:
    """Return a model of f = 2 with a window of 4x4 cells and 40 codes."""
    block = 31 if kind in ("segmentation", "depth", "coordinates") else 24
    gpt = GPTConfig(64, block, n_layer=2, n_head=2, n_embd=16)
    config = Net2NetConfig(kind, VQ, gpt, window=WINDOW, **CONDITIONS[kind])
    return filled(Net2NetTransformer(config))


def label_map(height: int = 10, width: int = 12) -> np.ndarray:
    """Return a label map of blocks, uint8 (height, width)."""
    blocks = np.random.RandomState(5).randint(0, N_LABELS, (-(-height // 3), -(-width // 3)))
    return np.kron(blocks, np.ones((3, 3), int))[:height, :width].astype(np.uint8)


def depth_map(height: int = 10, width: int = 12) -> np.ndarray:
    """Return a slope with a bump, float32 (height, width)."""
    rows, columns = np.mgrid[:height, :width]
    return (rows + 5 * np.sin(columns / 3)).astype(np.float32)
