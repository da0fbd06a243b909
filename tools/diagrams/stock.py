"""The models and the examples that the figures are made with, loaded when first asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from official.multimodal.taming_transformer import zoo
from official.multimodal.taming_transformer.conditional import ConditionalSampler
from official.multimodal.taming_transformer.image import read_image
from official.multimodal.taming_transformer.labels import read_labels
from official.multimodal.taming_transformer.maps import read_depth
from official.multimodal.taming_transformer.sampling import SamplingParams
from tools.evaluation.pictures import as_in_the_paper

SEED = 2022
SIDE = 128
"""Pixels along one side of what the small models were trained on."""


class Stock:
    """Models by name and the examples of a folder.

    Args:
        examples: Folder of ``scene_photo.png``, ``scene_map.png`` and ``scene_depth.png``.
        untrained: Take the networks' first values instead of the weights that ship.
    """

    def __init__(self, examples: Path, untrained: bool = False):
        self._examples, self._untrained = examples, untrained
        self._models: dict[str, Any] = {}

    def model(self, name: str) -> Any:
        """Return a model of the zoo; raises as its builder does."""
        if name not in self._models:
            self._models[name] = getattr(zoo, name)(pretrained=not self._untrained)
        return self._models[name]

    def sampler(self, name: str, seed: int = SEED) -> ConditionalSampler:
        """Return a sampler with the settings that the model's row recommends."""
        params = zoo.model_row(name).sampling or SamplingParams()
        return ConditionalSampler(
            self.model(name),
            params.temperature,
            params.top_k,
            params.top_p,
            seed=seed,
            progress=False,
        )

    def photo(self) -> np.ndarray:
        """Return the photograph, RGB uint8 (128, 128, 3)."""
        return as_in_the_paper(read_image(self._examples / "scene_photo.png"), SIDE)

    def labels(self, width: int) -> np.ndarray:
        """Return the left part of the label map, int (128, width)."""
        return read_labels(self._examples / "scene_map.png", 12)[:SIDE, :width]

    def depth(self) -> np.ndarray:
        """Return the depth map in [-1, 1], float32 (128, 128)."""
        return read_depth(self._examples / "scene_depth.png")[:SIDE, :SIDE]
