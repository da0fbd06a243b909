"""What the tests of ConditionalSampler share: a small sampler, its calls and its files."""

from __future__ import annotations

from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

from official.multimodal.taming_transformer.conditional import ConditionalSampler
from tests.tiny_models import depth_map, label_map, tiny_model

CALLS = {
    "segmentation": lambda s, **kw: s.sample_segmentation(label_map(), **kw),
    "depth": lambda s, **kw: s.sample_depth(depth_map(), **kw),
    "coordinates": lambda s, **kw: s.sample_coordinates((10, 12), **kw),
    "class": lambda s, **kw: s.sample_class(4, h=5, w=6, **kw),
    "unconditional": lambda s, **kw: s.sample_unconditional(h=5, w=6, **kw),
}


def sampler(kind="segmentation", **settings):
    return ConditionalSampler(tiny_model(kind), **{"top_k": 20, "seed": 7, **settings})


def save_labels(folder, name="map.png", labels=None):
    path = folder / name
    Image.fromarray(label_map() if labels is None else labels).save(path)
    return path


def files_of(folder):
    return {path.name for path in Path(folder).iterdir()}


def film_frames(path):
    reader = imageio_ffmpeg.read_frames(str(path))
    facts = next(reader)
    width, height = facts["size"]
    frames = [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader]
    return facts, frames
