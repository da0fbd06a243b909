"""Render made-up landscapes with exact label and depth maps; NumPy only.

    python tools/train/scenes.py --out outputs/scenes --count 64 --size 128 128

A scene is a function of (seed, index): its world is drawn by lot without regard to the picture's
size, so the same scene can be had small, large or as a panorama. The ground is a height field seen
in perspective; trees and houses stand on it; water mirrors what is behind it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from scene_light import air, clouds, disc, mix, stars
from scene_paint import (
    CLOUD,
    LABELS,
    SKY,
    SUN,
    WATER,
    canopy,
    cover,
    find_hits,
    paint_water,
    shade,
)  # fmt: skip
from scene_things import Canvas, draw, find_things
from scene_world import CLASSES, FAR, FOCAL, NEAR, STEPS, World, cast, make_world, sample_ground

__all__ = ["CLASSES", "FAR", "LABELS", "LABEL_COLOURS", "Scene", "nearness", "render"]

LABEL_COLOURS = np.array(
    [
        (120, 180, 240), (235, 240, 248), (255, 220, 90), (130, 120, 115), (250, 250, 255),
        (150, 170, 80), (30, 95, 45), (120, 190, 70), (40, 110, 180), (235, 210, 150),
        (175, 130, 85), (200, 60, 50),
    ],
    np.uint8,
)  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """One picture and what is known about it."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    labels: np.ndarray  # (H, W) uint8, indices into LABELS
    depth: np.ndarray  # (H, W) float32 distance along the view, FAR for sky, clouds, sun and moon
    kind: int  # index into CLASSES


def render(
    seed: int, index: int, height: int = 128, width: int = 128, *, kind: str | None = None,
    smooth: int = 2,
) -> Scene:  # fmt: skip
    """Render scene `index` of collection `seed`.

    Args:
        seed, index: non-negative integers.
        height, width: size in pixels, at least 8 each, any aspect; the height is the field of view.
        kind: one of `CLASSES` in place of the one that the lot gives.
        smooth: rays per pixel along each axis; labels and depth come from one of them.

    Returns:
        Scene; equal arguments give equal arrays.

    Raises:
        ValueError: a size, number or class that cannot be.
    """
    if min(height, width) < 8 or smooth < 1:
        raise ValueError(
            f"got size {height}x{width} with {smooth} rays; give at least 8x8 pixels and 1 ray."
        )
    if kind is not None and kind not in CLASSES:
        raise ValueError(f"got class {kind!r}; choose one of {', '.join(CLASSES)}.")
    if seed < 0 or index < 0:
        raise ValueError(f"got seed {seed} and index {index}; both must be 0 or more.")
    world = make_world(seed, index, kind)
    canvas = _paint(world, height * smooth, width * smooth)
    blocks = canvas.picture.reshape(height, smooth, width, smooth, 3).mean((1, 3))
    pick = slice(smooth // 2, None, smooth)
    return Scene(
        image=np.round(_tone(blocks) * 255.0).astype(np.uint8),
        labels=np.ascontiguousarray(canvas.labels[pick, pick]),
        depth=np.ascontiguousarray(canvas.z[pick, pick]),
        kind=CLASSES.index(world.kind),
    )


def nearness(depth: np.ndarray) -> np.ndarray:
    """Turn distances into the depth picture that the networks see: bright is near.

    Args:
        depth: distances, any shape, FAR for the sky.

    Returns:
        float32 in [0, 1], logarithmic in distance: 0 for the sky, 1 at the nearest possible ground.
    """
    near = np.log(FAR / np.clip(depth, NEAR, FAR)) / np.log(FAR / NEAR)
    return near.astype(np.float32)


def _tone(picture: np.ndarray) -> np.ndarray:
    """Roll bright values off softly and add a little contrast."""
    x = np.clip(picture, 0.0, 1.6)
    x = np.where(x > 0.8, 0.8 + 0.2 * np.tanh((x - 0.8) / 0.2), x)
    return np.clip(x + 0.10 * (x - 0.45) * (1.0 - np.abs(2.0 * x - 1.0)), 0.0, 1.0)


def _sky(world: World, s: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Paint the whole sky, (rows, columns, 3), and its labels."""
    s, t = s[None, :], t[:, None]
    picture = air(world, s, t) + stars(world, s, t)[..., None]
    orb, orb_alpha = disc(world, s, t)
    picture = mix(picture, orb, orb_alpha)
    veil, alpha = clouds(world, s, t)
    picture = mix(picture, veil, alpha)
    labels = np.where(orb_alpha > 0.5, SUN, SKY).astype(np.uint8)
    labels[alpha > 0.5] = CLOUD
    return picture.astype(np.float32), labels


def _paint(world: World, rows: int, columns: int) -> Canvas:
    """Paint a scene without smoothing."""
    s = ((np.arange(columns) + 0.5 - columns / 2.0) / rows).astype(np.float32)
    t = (world.horizon - (np.arange(rows) + 0.5) / rows).astype(np.float32)
    above = int(np.ceil(world.horizon * rows)) + 1
    picture = np.empty((rows, columns, 3), np.float32)
    labels = np.zeros((rows, columns), np.uint8)
    picture[:above], labels[:above] = _sky(world, s, t[:above])
    picture[above:] = picture[above - 1]

    ground = sample_ground(world, s)
    trees = canopy(world, ground)
    at, z = cast(ground, np.where(ground.y > 0.0, ground.y + trees, ground.y), world, t)
    z = np.where(at >= STEPS, np.float32(FAR), np.minimum(z, np.float32(0.99 * FAR)))
    hits = find_hits(at, z, s)
    found = cover(world, hits, ground)
    picture[hits.rows, hits.columns] = shade(world, hits, ground, trees, found)
    labels[hits.rows, hits.columns] = found
    below = (at >= STEPS) & (t[:, None] < 0.0)  # beyond the last sample: water up to the horizon
    labels[below] = WATER
    z[below] = np.minimum(
        FOCAL * world.eye / -np.broadcast_to(t[:, None], z.shape)[below], 0.99 * FAR
    )

    canvas = Canvas(picture, labels, z, s, t)
    for thing in find_things(world, columns / rows / 2.0):
        draw(world, canvas, thing)
    paint_water(world, picture, labels == WATER, z, s)
    return canvas


def main() -> None:
    """Write pictures, label maps and depth maps of a collection as PNG, and a contact sheet."""
    from PIL import Image

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--count", type=int, default=24, help="number of scenes")
    parser.add_argument("--seed", type=int, default=0, help="the collection")
    parser.add_argument("--first", type=int, default=0, help="index of the first scene")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 128), metavar=("H", "W"))
    parser.add_argument("--kind", choices=CLASSES, help="one class in place of all")
    args = parser.parse_args()
    tiles = []
    for part in ("images", "labels", "depth"):
        (args.out / part).mkdir(parents=True, exist_ok=True)
    for index in range(args.first, args.first + args.count):
        scene = render(args.seed, index, *args.size, kind=args.kind)
        name = f"{args.seed}_{index:06d}_{CLASSES[scene.kind]}.png"
        near = np.round(nearness(scene.depth) * 255).astype(np.uint8)
        Image.fromarray(scene.image).save(args.out / "images" / name)
        Image.fromarray(scene.labels).save(args.out / "labels" / name)
        Image.fromarray(near).save(args.out / "depth" / name)
        grey = np.repeat(near[..., None], 3, axis=2)
        tiles.append(np.concatenate([scene.image, LABEL_COLOURS[scene.labels], grey], axis=1))
    across = max(1, round(1500 / tiles[0].shape[1]))
    while len(tiles) % across:
        tiles.append(np.zeros_like(tiles[0]))
    lines = [np.concatenate(tiles[i : i + across], 1) for i in range(0, len(tiles), across)]
    Image.fromarray(np.concatenate(lines, 0)).save(args.out / "sheet.png")
    print(f"{args.count} scenes in {args.out}")


if __name__ == "__main__":
    main()
