"""Record golden scene layouts, and pictures begun from them, with the original's own encoder.

Run in the reference environment, with a checkout of CompVis/taming-transformers @3ba01b2:

    .venv-ref/bin/python -m tests.reference.record_layout CHECKOUT

The encoder imports three things that it does not need for encoding; they are stood in for. It
shuffles the objects with the global generator; here they keep their order. The sampling loop
follows the rule of the original's ``scripts/make_scene_samples.py``, greedily.
"""

from __future__ import annotations

import json
import os
import random
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "scene_layout.json"
COCO, OPEN_IMAGES = 171, 342
FORMATS = [
    # classes, tokens, slots, crop, centre points, group flag, additional flags
    (COCO, 8192, 30, True, False, True, False),
    (OPEN_IMAGES, 8192, 30, True, False, True, True),
    (COCO, 8192, 30, False, False, True, False),
    (COCO, 8192, 30, True, True, True, False),
    (OPEN_IMAGES, 8192, 30, False, True, True, True),
    (20, 1024, 7, True, False, False, False),
]
FULL = (0.0, 0.0, 1.0, 1.0)


def _grouper(values: list[int], size: int) -> Any:
    return zip(*[iter(values)] * size)


def load_original(checkout: str) -> Any:
    """Return the original's two builder classes and its annotation type."""
    stand_ins = {
        "taming.data.image_transforms": {"convert_pil_to_tensor": None},
        "more_itertools": {},
        "more_itertools.recipes": {"grouper": _grouper},
    }
    for name, members in stand_ins.items():
        module = ModuleType(name)
        module.__dict__.update(members)
        sys.modules[name] = module
    taming = ModuleType("taming")
    taming.__path__ = [str(Path(checkout) / "taming")]
    sys.modules["taming"] = taming
    from taming.data.conditional_builder import objects_center_points
    from taming.data.conditional_builder.objects_bbox import ObjectsBoundingBoxConditionalBuilder
    from taming.data.helper_types import Annotation

    objects_center_points.random = ModuleType("random")
    objects_center_points.random.shuffle = lambda values: None
    # The networks' package has the same name and is imported after this.
    for name in [name for name in sys.modules if name.partition(".")[0] == "taming"]:
        del sys.modules[name]
    centre = objects_center_points.ObjectsCenterPointsConditionalBuilder
    return ObjectsBoundingBoxConditionalBuilder, centre, Annotation


def draw_box(rng: random.Random) -> tuple[float, float, float, float]:
    """Draw a box inside the picture; now and then on its edge, tiny, or on a grid of halves."""
    if rng.random() < 0.1:  # corners that fall between two cells of 89
        x, y = rng.randrange(60) + 0.5, rng.randrange(60) + 0.5
        return x / 89, y / 89, rng.randrange(1, 28) / 89, rng.randrange(1, 28) / 89
    x, y = rng.random() * 0.98, rng.random() * 0.98
    width, height = (1 - x) * rng.random() + 1e-4, (1 - y) * rng.random() + 1e-4
    if rng.random() < 0.1:
        x, width = 0.0, 1.0
    return x, y, min(width, 1 - x), min(height, 1 - y)


def draw_crop(rng: random.Random) -> tuple[float, float, float, float]:
    """Draw a crop: all, a centre crop, a window of cells, or anything."""
    kind = rng.randrange(4)
    if kind == 0:
        return FULL
    if kind == 1:
        width = rng.uniform(0.4, 1.0)
        return 0.5 - width / 2, 0.0, width, 1.0
    if kind == 2:
        h, w = rng.randrange(16, 40), rng.randrange(16, 40)
        return rng.randrange(w - 15) / w, rng.randrange(h - 15) / h, 16 / w, 16 / h
    return draw_box(rng)


def draw_object(rng: random.Random, classes: int) -> dict[str, Any]:
    flags = ("is_group_of", "is_occluded", "is_depiction", "is_inside")
    found = {flag: rng.random() < 0.3 for flag in flags}
    return {"category": rng.randrange(classes), "box": draw_box(rng), **found}


def record(original: Any, shape: tuple[Any, ...], rng: random.Random) -> dict[str, Any]:
    boxes, centre, annotation = original
    classes, tokens, slots, encode_crop, points, group, additional = shape
    builder = (centre if points else boxes)(classes, slots, tokens, encode_crop, group, additional)
    count = rng.choice([0, 1, 2, rng.randrange(slots), slots, slots + rng.randrange(1, 6)])
    objects = [draw_object(rng, classes) for _ in range(count)]
    crop = draw_crop(rng)
    annotations = [annotate(annotation, item) for item in objects]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        built = builder.build(annotations, crop)
    read, read_crop = builder.inverse_build(built)
    return {
        "format": dict(zip(("classes", "tokens", "slots", "crop", "points"), shape)),
        "flags": [group, additional],
        "objects": objects,
        "crop": crop,
        "tokens": built.tolist(),
        "read": [[representation, list(place)] for representation, place in read],
        "read_crop": read_crop,
    }


def annotate(annotation: Any, item: dict[str, Any]) -> Any:
    """Return an object as the original's annotation."""
    flags = {flag: value for flag, value in item.items() if flag.startswith("is_")}
    given = {"bbox": item["box"], "category_no": item["category"]}
    return annotation(area=None, image_id="", category_id="", **given, **flags)


def window_start(position: int, length: int) -> int:
    """Return where the window of 16 begins: 7 cells before the position where there is room."""
    return max(0, min(position - 7, length - 16))


def sample_scene(case: Any, original: Any) -> tuple[Any, dict[str, Any]]:
    """Return the arrays of a greedy run and the objects that it began from."""
    import torch

    from . import networks
    from .stages import margins

    boxes, _, annotation = original
    rng = random.Random(case.seed)
    objects = [draw_object(rng, 20) for _ in range(5)]
    builder = boxes(20, 6, 256, True, True, False)
    annotations = [annotate(annotation, item) for item in objects]
    model = networks.skeleton(case)
    weights = networks.fill(model, case.seed)
    batch, h, w = case.shape[0], case.shape[2] // 4, case.shape[3] // 4
    tokens, gaps = torch.zeros(batch, h, w, dtype=torch.int64), torch.zeros(batch, h, w)
    for i in range(h):
        for j in range(w):
            top, left = window_start(i, h), window_start(j, w)
            crop = (left / w, top / h, 16 / w, 16 / h)
            c = builder.build(annotations, crop).repeat(batch, 1)
            above = tokens[:, top:i, left : left + 16].flatten(1)
            z = torch.cat((above, tokens[:, i, left:j]), 1)
            with torch.no_grad():
                tokens[:, i, j] = model.sample(z, c, steps=1, top_k=1)[:, -1]
                gaps[:, i, j] = margins(model.transformer(torch.cat((c, z), 1))[0][:, -1])
    arrays = {"tokens": tokens.numpy().astype("int16"), "margins": gaps.numpy()}
    return arrays, {"weights": weights, "seed": case.seed, "objects": objects}


def record_scenes(original: Any) -> None:
    from .cases import GREEDY_SCENES
    from .record_golden import SEPARATE, save

    for case in GREEDY_SCENES:
        arrays, facts = sample_scene(case, original)
        least = float(arrays["margins"].min())
        assert "16x16" not in case.name or least > SEPARATE, f"{case.name}: margin {least}"
        kinds = len(set(arrays["tokens"].ravel().tolist()))
        print(f"{save(case.name, arrays, facts).name}: {kinds} tokens, margin {least:.1e}")


def main(checkout: str) -> None:
    rng = random.Random(20261121)
    original = load_original(checkout)
    cases = [record(original, shape, rng) for shape in FORMATS for _ in range(8)]
    part = GOLDEN.with_suffix(".part")
    part.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
    os.replace(part, GOLDEN)
    print(f"{len(cases)} layouts, {GOLDEN.stat().st_size / 1024:.0f} KiB")
    record_scenes(original)


if __name__ == "__main__":
    main(sys.argv[1])
