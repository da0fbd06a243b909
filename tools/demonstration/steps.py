"""What the demo shows: each function is run, and printed on the page as the Python that did it.

A step takes the folder to write into and its input, and returns what to show: name -> file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, NamedTuple

import numpy as np
from PIL import Image

from official.multimodal.taming_transformer import (
    Completion,
    ConditionalSampler,
    FastSampler,
    Reconstruction,
    scenes_class_transformer,
    scenes_depth_transformer,
    scenes_segmentation_transformer,
    scenes_unconditional_transformer,
    scenes_vqgan,
)
from official.multimodal.taming_transformer.image import read_image
from official.multimodal.taming_transformer.results import sheet

Shown = Dict[str, Path]


class Step(NamedTuple):
    """A step of the demo: its function and the example that it starts from."""

    run: Callable[[Path, Path], Shown]
    example: str

    @property
    def title(self) -> str:
        """What the function says of itself."""
        return (self.run.__doc__ or "").rstrip(".")


def reconstruct(root: Path, photo: Path) -> Shown:
    """A picture through its codes."""
    rec = Reconstruction(scenes_vqgan(pretrained=True), size=None)
    after = rec(photo, file_name=root / "reconstruction.png")
    both = np.concatenate([read_image(photo), after], axis=1)
    Image.fromarray(both).save(root / "before_and_after.png")
    return {"before and after": root / "before_and_after.png"}


def panorama(root: Path, label_map: Path) -> Shown:
    """A panorama from a label map."""
    model = scenes_segmentation_transformer(pretrained=True)
    sampler = ConditionalSampler(model, top_p=0.95, seed=7, root=root, animate=True, overwrite=True,
                                 draw_window=True, update_every=12)  # fmt: skip
    sampler.sample_segmentation(label_map, name="panorama")
    return {
        "map": root / "panorama_segmentation.png",
        "picture": root / "panorama.png",
        "film": root / "panorama_sampling.mp4",
    }


def depth(root: Path, depth_map: Path) -> Shown:
    """Pictures from a depth map."""
    model = scenes_depth_transformer(pretrained=True)
    sampler = ConditionalSampler(model, top_p=0.95, seed=3, root=root, overwrite=True)
    sampler.sample_depth(depth_map, name="depth", n_samples=3)
    pictures = {f"picture {i + 1}": root / f"depth_{i:03}.png" for i in range(3)}
    return {"map": root / "depth_depth.png", **pictures}


def classes(root: Path, _: Path) -> Shown:
    """Pictures of six classes."""
    names = ["day", "sunset", "night", "winter", "autumn", "storm"]
    sampler = FastSampler(scenes_class_transformer(pretrained=True), batch_size=4, top_k=100,
                          top_p=0.95, num_samples=4, class_labels=names, seed=1)  # fmt: skip
    pictures = np.asarray(sampler().pictures)  # uint8 (24, 128, 128, 3), four of each class
    rows = [np.concatenate(list(pictures[k : k + 4]), axis=0) for k in range(0, 24, 4)]
    Image.fromarray(np.concatenate(rows, axis=1)).save(root / "classes.png")
    return {", ".join(names): root / "classes.png"}


def unconditional(root: Path, _: Path) -> Shown:
    """Pictures of anything."""
    sampler = FastSampler(scenes_unconditional_transformer(pretrained=True), batch_size=8,
                          top_k=100, top_p=0.95, num_samples=16, seed=2)  # fmt: skip
    Image.fromarray(sheet(np.asarray(sampler().pictures))).save(root / "unconditional.png")
    return {"sixteen of any kind": root / "unconditional.png"}


def complete(root: Path, photo: Path) -> Shown:
    """The lower half drawn anew."""
    model = scenes_unconditional_transformer(pretrained=True)
    sampler = Completion(model, top_p=0.95, seed=5, root=root, image_size=128, overwrite=True)
    sampler(photo, name="completed", n_samples=3)
    return {f"picture {i + 1}": root / f"completed_{i:03}.png" for i in range(3)}


STEPS = (
    Step(reconstruct, "scene_photo.png"),
    Step(panorama, "scene_map.png"),
    Step(depth, "scene_depth.png"),
    Step(classes, ""),
    Step(unconditional, ""),
    Step(complete, "scene_photo.png"),
)
