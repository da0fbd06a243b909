"""The small models that ship: made-up landscapes of 128x128, trained by tools/train/family.sh.

All work on codes of f = 8, so 128x128 pixels are 16x16 codes, as 256x256 pixels are in the large
models. Data, cost, figures and limits: assets/MODEL_CARD.md.
"""

from __future__ import annotations

from dataclasses import replace

from .config import DDConfig, GPTConfig, Net2NetConfig, VQModelConfig
from .registry import register
from .sampling import SamplingParams

__all__ = [
    "scenes_class_transformer",
    "scenes_depth_transformer",
    "scenes_segmentation_transformer",
    "scenes_unconditional_transformer",
    "scenes_vqgan",
]

SCENE_LABELS = (
    "sky", "cloud", "sun or moon", "mountain", "snow", "hill",
    "forest", "meadow", "water", "beach", "path", "house",
)  # fmt: skip
SCENE_CLASSES = ("any", "day", "sunset", "night", "winter", "autumn", "storm")

_PICTURES = VQModelConfig(
    DDConfig(32, (1, 1, 2, 4), 1, (16,), z_channels=64, resolution=128), 1920, embed_dim=4
)
_SAMPLING = SamplingParams(temperature=1.0, top_k=100, top_p=0.95)


def _maps(channels: int) -> VQModelConfig:
    shape = replace(_PICTURES.ddconfig, ch_mult=(1, 1, 1, 2), z_channels=32)
    return VQModelConfig(replace(shape, in_channels=channels, out_ch=channels), 1920, embed_dim=4)


def _gpt(block: int) -> GPTConfig:
    return GPTConfig(1920, block, n_layer=6, n_head=6, n_embd=192)


scenes_vqgan = register(
    "scenes_vqgan",
    _PICTURES,
    "Small VQGAN f8 with 1920 codes, trained on made-up landscapes and 45 photographs.",
)
scenes_segmentation_transformer = register(
    "scenes_segmentation_transformer",
    Net2NetConfig(
        "segmentation",
        _PICTURES,
        _gpt(512),
        _maps(len(SCENE_LABELS)),
        cond_length=256,
        label_names=SCENE_LABELS,
    ),
    "Small: made-up landscapes from segmentation maps of 12 labels.",
    _SAMPLING,
)
scenes_depth_transformer = register(
    "scenes_depth_transformer",
    Net2NetConfig("depth", _PICTURES, _gpt(512), _maps(1), cond_length=256),
    "Small: made-up landscapes from depth maps.",
    _SAMPLING,
)
_CLASS = Net2NetConfig(
    "class", _PICTURES, _gpt(256), n_classes=len(SCENE_CLASSES), class_names=SCENE_CLASSES
)
scenes_class_transformer = register(
    "scenes_class_transformer",
    _CLASS,
    "Small: made-up landscapes of six classes; class 0 is any of them.",
    _SAMPLING,
)
scenes_unconditional_transformer = register(
    "scenes_unconditional_transformer",
    replace(_CLASS, condition="unconditional", n_classes=0, class_names=()),
    "Small: made-up landscapes of any kind; scenes_class_transformer started from class 0.",
    _SAMPLING,
)
