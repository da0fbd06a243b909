"""Ground and water of a scene: what covers each pixel and how light falls on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scene_light import PALETTES, air, mix, rgb
from scene_noise import canopy_tile, fbm_tile, sample, smoothstep
from scene_world import FOCAL, STEPS, Ground, World, path_x

LABELS = (
    "sky", "cloud", "sun_moon", "mountain", "snow", "hill",
    "forest", "meadow", "water", "beach", "path", "house",
)  # fmt: skip
SKY, CLOUD, SUN, MOUNTAIN, SNOW, HILL, FOREST, MEADOW, WATER, BEACH, PATH, HOUSE = range(12)
_ROCK = rgb((0.47, 0.43, 0.40))
_SAND = rgb((0.86, 0.76, 0.55))
_EARTH = rgb((0.66, 0.53, 0.36))
_SNOW = rgb((0.95, 0.96, 0.99))


@dataclass(frozen=True)
class Hits:
    """What the rays that meet the ground see; arrays over these n pixels."""

    rows: np.ndarray
    columns: np.ndarray
    place: np.ndarray  # flat index of the sample in front
    part: np.ndarray  # way from there to the next
    z: np.ndarray
    x: np.ndarray

    def look(self, field: np.ndarray) -> np.ndarray:
        """Interpolate a (STEPS, columns) array at the hits."""
        flat = field.reshape(-1)
        front = flat.take(self.place)
        return front + (flat.take(self.place + field.shape[1]) - front) * self.part


def find_hits(at: np.ndarray, z: np.ndarray, s: np.ndarray) -> Hits:
    """List the pixels that see the ground.

    Args:
        at, z: what `cast` returned.
        s: (columns,) picture heights from the middle column.
    """
    rows, columns = np.nonzero(at < STEPS)
    along = at[rows, columns]
    k = np.minimum(along.astype(np.int32), STEPS - 2)
    far = z[rows, columns]
    return Hits(
        rows,
        columns,
        k * at.shape[1] + columns,
        along - k,
        far,
        (s[columns] / FOCAL * far).astype(np.float32),
    )


def canopy(world: World, ground: Ground) -> np.ndarray:
    """Height of the trees above the ground, (STEPS, columns); they fade into a level roof afar."""
    cell = 0.030
    crown = world.noise(canopy_tile(), 7, ground.x * cell, ground.z * cell)
    near = np.exp(-ground.z / 70.0)
    tall = (0.45 + 0.75 * crown * near + 0.2 * (1.0 - near)) * smoothstep(0.0, 0.35, ground.wood)
    return tall * (1.1 + 0.5 * world.dice[24])


def cover(world: World, hits: Hits, ground: Ground) -> np.ndarray:
    """Label the ground at the hits, trees and houses that stand alone left out.

    Returns:
        (n,) uint8 labels.
    """
    y, inland, wood = hits.look(ground.y), hits.look(ground.inland), hits.look(ground.wood)
    steep = np.hypot(hits.look(ground.slope_x), hits.look(ground.slope_z))
    winter = world.kind == "winter"
    rough = world.noise(fbm_tile(), 8, hits.x / 45.0, hits.z / 45.0)
    labels = np.where(hits.z > 24.0 + 4.0 * rough, HILL, MEADOW).astype(np.uint8)
    if winter:
        labels[:] = SNOW
    rocky = y + 1.5 * rough > 9.0 - 2.0 * np.clip(steep, 0.0, 1.5)
    labels[rocky] = MOUNTAIN
    line = world.snow_line * (0.55 if winter else 1.0)
    labels[rocky & (y + 3.0 * rough - 4.0 * steep > line)] = SNOW
    labels[wood > 0.08] = FOREST
    if world.shore != "none" and world.dice[25] < 0.75:
        labels[(inland < 0.34 + 0.08 * rough) & (hits.z < 45.0) & (wood < 0.08)] = BEACH
    on_path = np.abs(hits.x - path_x(world, hits.z)) < 0.42 + 0.05 * rough
    on_path &= (hits.z < 26.0) & (world.dice[26] < 0.6) & (inland > 0.12)
    labels[on_path & np.isin(labels, (MEADOW, HILL, SNOW))] = PATH
    labels[y < 0.0] = WATER
    return labels


def _albedo(world: World, hits: Hits, labels: np.ndarray) -> np.ndarray:
    """Colour of the ground's matter at the hits, (n, 3), before light falls on it."""
    palette = PALETTES[world.kind]
    fine = sample(fbm_tile(1.5), hits.x / 9.0, hits.z / 9.0)
    broad = world.noise(fbm_tile(), 9, hits.x / 55.0, hits.z / 55.0)
    fade = 1.0 / (1.0 + hits.z / 30.0)
    field = np.clip(0.5 + 0.30 * broad + 0.18 * fine * fade, 0.0, 1.0)
    colour = mix(rgb(palette.grass[0]), rgb(palette.grass[1]), field)
    leaf = np.clip(0.45 + 0.34 * broad + 0.30 * fine, 0.0, 1.0)
    strata = sample(fbm_tile(1.5), hits.x / 70.0, hits.z / 70.0 + 0.3 * fade)
    for label, matter in (
        (FOREST, mix(rgb(palette.leaves[0]), rgb(palette.leaves[1]), leaf)),
        (MOUNTAIN, _ROCK * (1.0 + 0.11 * strata + 0.05 * broad)[:, None]),
        (SNOW, np.broadcast_to(_SNOW, colour.shape)),
        (BEACH, _SAND * (1.0 + 0.04 * fine)[:, None]),
        (PATH, _EARTH * (1.0 + 0.06 * fine)[:, None]),
    ):
        at = labels == label
        colour[at] = matter[at]
    if world.kind == "winter":
        colour[labels == PATH] = mix(_EARTH, _SNOW, 0.45)
    return colour


def shade(
    world: World, hits: Hits, ground: Ground, trees: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Colour the ground: matter, sun and sky light, shadows of clouds, haze.

    Args:
        world: the scene.
        hits: where the rays meet the ground.
        ground: the sampled ground.
        trees: what `canopy` returned.
        labels: what `cover` returned.

    Returns:
        (n, 3) float32.
    """
    palette = PALETTES[world.kind]
    slope_x, slope_z = hits.look(ground.slope_x), hits.look(ground.slope_z)
    bump = sample(fbm_tile(1.5), hits.x / 14.0 + 0.5, hits.z / 14.0)
    steep = np.where(np.isin(labels, (MOUNTAIN, SNOW)) & (hits.z > 45.0), 1.25, 0.75)
    nx = -slope_x * steep + 0.10 * bump / (1.0 + hits.z / 25.0)
    nz = -slope_z * steep
    facing = nx * world.light[0] + world.light[1] + nz * world.light[2]
    sun = np.clip(facing / np.sqrt(nx * nx + nz * nz + 1.0), 0.0, 1.0)
    dapple = world.noise(fbm_tile(2.2), 10, hits.x / 130.0, hits.z / 100.0)
    sun = sun * (0.62 + 0.38 * smoothstep(-0.9, 0.3, dapple))
    crown = hits.look(trees)
    deep = np.where(labels == FOREST, 0.42 + 0.60 * np.clip(crown / 1.3, 0.0, 1.0), 1.0)
    lamp = rgb(palette.light) * (sun * 1.05)[:, None] + rgb(palette.shade) * 0.62
    colour = _albedo(world, hits, labels) * lamp * deep[:, None]
    return hazed(world, colour, hits.z, hits.x / hits.z * FOCAL)


def hazed(world: World, colour: np.ndarray, z: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Blend colours towards the sky at the horizon with distance."""
    veil = air(world, s, np.full_like(s, 0.03))
    return mix(colour, veil, 1.0 - np.exp(-np.maximum(z - 6.0, 0.0) / PALETTES[world.kind].haze))


def paint_water(
    world: World, picture: np.ndarray, water: np.ndarray, z: np.ndarray, s: np.ndarray
) -> None:
    """Fill the water of a picture in place: what it mirrors, its own colour, glints of the sun.

    Args:
        world: the scene.
        picture: (rows, columns, 3), finished but for the water.
        water: (rows, columns) bool.
        z: (rows, columns) distance.
        s: (columns,) picture heights from the middle column.
    """
    rows, columns = np.nonzero(water)
    if not len(rows):
        return
    size = water.shape[0]
    row = np.arange(size)[:, None]
    shore = np.maximum.accumulate(np.where(water, -1, row), axis=0)[rows, columns]
    far = z[rows, columns]
    x = s[columns] / FOCAL * far
    squall = 2.2 if world.kind == "storm" else 0.6 + 0.8 * world.dice[27]
    wave = world.noise(fbm_tile(1.5), 11, x / 26.0, far / 9.0) / (1.0 + far / 35.0)
    bend = wave * squall * 0.012 * size
    up = np.clip(2 * shore + 1 - rows + bend, 0, np.maximum(shore, 0)).astype(np.int32)
    aside = np.clip(columns + 0.5 * bend, 0, water.shape[1] - 1).astype(np.int32)
    mirrored = picture[up, aside] * 0.92
    t = FOCAL * world.eye / far
    look = 0.34 + 0.56 * np.exp(-t * 3.0)
    body = rgb(PALETTES[world.kind].water) * (1.0 + 0.22 * wave * squall)[:, None]
    colour = mix(body, mirrored, look)
    if world.kind != "storm":
        glint = np.exp(-(((s[columns] - world.sun[0]) / (0.035 + 0.12 * t)) ** 2))
        glint = glint * np.clip(0.25 + 0.55 * wave, 0.0, 1.0)
        colour = mix(colour, rgb(PALETTES[world.kind].disc), glint * 0.75)
    picture[rows, columns] = colour
