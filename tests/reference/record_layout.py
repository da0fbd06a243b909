"""Record golden scene layouts with the original's own encoder, which is in no package.

Run in the reference environment, with a checkout of CompVis/taming-transformers @3ba01b2:

    .venv-ref/bin/python -m tests.reference.record_layout CHECKOUT

The encoder imports three things that it does not need for encoding; they are stood in for. It
shuffles the objects with the global generator; here they keep their order.
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
    annotations = [
        annotation(
            area=None,
            image_id="",
            category_id="",
            bbox=o["box"],
            category_no=o["category"],
            **{flag: value for flag, value in o.items() if flag.startswith("is_")},
        )
        for o in objects
    ]
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


def main(checkout: str) -> None:
    rng = random.Random(20261121)
    original = load_original(checkout)
    cases = [record(original, shape, rng) for shape in FORMATS for _ in range(8)]
    part = GOLDEN.with_suffix(".part")
    part.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
    os.replace(part, GOLDEN)
    print(f"{len(cases)} layouts, {GOLDEN.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(sys.argv[1])
