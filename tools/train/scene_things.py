"""Trees and houses that stand alone in a scene, drawn from far to near over the ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scene_light import PALETTES, mix, rgb
from scene_noise import fbm_tile, sample, smoothstep
from scene_paint import FOREST, HOUSE, hazed
from scene_world import FOCAL, World, height, land, path_x, wood_mask

_BARK = rgb((0.30, 0.22, 0.16))
_WALLS = ((0.93, 0.89, 0.80), (0.80, 0.52, 0.36), (0.86, 0.78, 0.62), (0.72, 0.74, 0.76))
_ROOFS = ((0.62, 0.25, 0.17), (0.42, 0.27, 0.20), (0.34, 0.37, 0.44), (0.52, 0.36, 0.24))


@dataclass(frozen=True)
class Thing:
    """A tree or a house: its foot, its size, and chance's choices for its looks."""

    what: str  # "fir", "oak" or "house"
    x: float
    y: float
    z: float
    tall: float
    dice: tuple[float, ...]


@dataclass
class Canvas:
    """Picture under work; the four arrays are written in place."""

    picture: np.ndarray  # (rows, columns, 3)
    labels: np.ndarray
    z: np.ndarray
    s: np.ndarray  # (columns,) picture heights from the middle column
    t: np.ndarray  # (rows,) picture heights above the horizon


def find_things(world: World, widest: float) -> list[Thing]:
    """Draw trees and houses by lot, one block of a picture height's width after the other.

    Args:
        world: the scene.
        widest: half the picture's width in picture heights; what is drawn does not depend on it.

    Returns:
        Things that stand on dry land, far ones first.
    """
    things = []
    last = int(np.ceil(widest + 0.5))
    for block in range(-last, last + 1):
        rng = np.random.Generator(np.random.PCG64([*world.key, 1000 + block]))
        dice = rng.uniform(0.0, 1.0, (40, 8))
        z = 6.5 * (40.0 / 6.5) ** dice[:, 0]
        x = (block - 0.5 + dice[:, 1]) * z / FOCAL
        house = np.arange(40) < int(5.0 * max(world.dice[28] - 0.25, 0.0) * rng.uniform(0.6, 2.0))
        z = np.where(house, 8.0 + 16.0 * dice[:, 0], z)
        x = np.where(house, (block - 0.4 + 0.8 * dice[:, 1]) * z / FOCAL, x)
        inland = land(world, x, z)
        y = height(world, x, z, inland)
        grown = wood_mask(world, x, y, z) + 4.0 * smoothstep(14.0, 8.0, z)
        free = np.abs(x - path_x(world, z)) > np.where(house, 1.3, 0.9)
        stands = free & (inland > 0.42) & (y > 0.2) & (y < 6.0)
        stands &= house | (dice[:, 2] < 0.10 + 0.32 * np.clip(grown + 0.9, 0.0, 2.0))
        for i in np.nonzero(stands)[0]:
            what = "house" if house[i] else ("fir" if dice[i, 3] < _firs(world) else "oak")
            tall = (1.25 if house[i] else 1.5) * (0.75 + 0.6 * dice[i, 4])
            foot = (float(x[i]), float(y[i]), float(z[i]))
            things.append(Thing(what, *foot, float(tall), tuple(float(d) for d in dice[i])))
    return sorted(things, key=lambda thing: -thing.z)


def _firs(world: World) -> float:
    """Share of firs among the trees of this scene."""
    return {"winter": 0.85, "autumn": 0.2}.get(world.kind, float(np.round(world.dice[29], 1)))


def draw(world: World, canvas: Canvas, thing: Thing) -> None:
    """Draw one thing where nothing nearer stands."""
    scale = FOCAL / thing.z
    wide = {"fir": 0.30, "oak": 0.48, "house": 0.95}[thing.what] * thing.tall * scale
    foot, middle = (thing.y - world.eye) * scale, thing.x * scale
    columns = np.nonzero(np.abs(canvas.s - middle) <= wide)[0]
    rows = np.nonzero((canvas.t >= foot) & (canvas.t <= foot + thing.tall * scale))[0]
    if not (len(rows) and len(columns)):
        return
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    u = ((canvas.s[box[1]] - middle) / wide).astype(np.float32)[None, :]
    v = ((canvas.t[box[0]] - foot) / (thing.tall * scale)).astype(np.float32)[:, None]
    mask, colour = {"fir": _fir, "oak": _oak, "house": _house}[thing.what](world, thing, u, v)
    mask = mask & (canvas.z[box] > thing.z)
    distance = np.full(mask.shape, thing.z, np.float32)
    if thing.what != "house" or world.kind != "night":
        colour = hazed(world, colour, distance, np.broadcast_to(canvas.s[box[1]], mask.shape))
    canvas.picture[box][mask] = colour[mask]
    canvas.labels[box][mask] = HOUSE if thing.what == "house" else FOREST
    canvas.z[box][mask] = thing.z


def _lamp(world: World, sun: np.ndarray) -> np.ndarray:
    palette = PALETTES[world.kind]
    return rgb(palette.light) * sun[..., None] + rgb(palette.shade) * 0.62


def _leaf(world: World, thing: Thing, texture: np.ndarray) -> np.ndarray:
    a, b = (rgb(colour) for colour in PALETTES[world.kind].leaves)
    return mix(a, b, np.clip(0.25 + 0.5 * thing.dice[5] + 0.16 * texture, 0.0, 1.0))


def _fir(world: World, thing: Thing, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    tiers = v * 5.0 + 0.25 * np.abs(u) + thing.dice[6]
    jag = 1.0 - 0.34 * (tiers - np.floor(tiers))
    edge = (1.0 - v) * jag * 0.95
    leaves = (np.abs(u) < edge) & (v > 0.10)
    trunk = (np.abs(u) < 0.10) & (v <= 0.10)
    side = np.clip(0.45 + 0.55 * np.sign(world.light[0]) * u / np.maximum(edge, 0.05), 0.0, 1.0)
    texture = sample(fbm_tile(1.5), u * 0.05 + thing.dice[6], v * 0.12 + thing.dice[7])
    green = mix(rgb((0.07, 0.22, 0.13)), _leaf(world, thing, texture), 0.45)
    if world.kind == "winter":
        green = mix(green, rgb((0.93, 0.95, 0.98)), 0.75 * smoothstep(0.25, 0.75, jag * side + 0.1))
    if world.kind == "autumn":
        green = mix(green, rgb((0.12, 0.26, 0.12)), 0.6)
    colour = (
        green * _lamp(world, 0.15 + 0.85 * side) * (0.75 + 0.35 * (jag - 0.66) / 0.34)[..., None]
    )
    return leaves | trunk, np.where(trunk[..., None], _BARK * _lamp(world, side * 0.6), colour)


def _oak(world: World, thing: Thing, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    crown_v = (v - 0.62) / 0.38
    angle = np.arctan2(crown_v, u)
    lobes = 0.08 * np.sin(5.0 * angle + 6.3 * thing.dice[6]) + 0.05 * np.sin(
        9.0 * angle + 6.3 * thing.dice[7]
    )
    away = np.hypot(u, crown_v)
    leaves = away < 0.88 + lobes
    trunk = (np.abs(u) < 0.09 + 0.05 * (1.0 - v)) & (v < 0.45)
    texture = sample(fbm_tile(1.5), u * 0.07 + thing.dice[6], v * 0.07 + thing.dice[7])
    facing = 0.5 * np.sign(world.light[0]) * u + 0.62 * crown_v + 0.16 * texture
    sun = np.clip(0.42 + 0.62 * facing, 0.0, 1.0)
    colour = (
        _leaf(world, thing, texture) * _lamp(world, sun) * (1.0 - 0.25 * (away > 0.8))[..., None]
    )
    bark = np.where((trunk & ~leaves)[..., None], _BARK * _lamp(world, 0.5 + 0.0 * sun), colour)
    return leaves | trunk, bark


def _house(
    world: World, thing: Thing, u: np.ndarray, v: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Front with a gable on one side, a longer wall under the roof on the other."""
    d = thing.dice
    u = u if d[3] < 0.5 else -u
    lit_front = (world.light[0] < 0) == (d[3] < 0.5)
    eaves, split, ridge = 0.52, -0.12, 0.97
    middle = (split - 0.86) / 2.0
    front = (u > -0.86) & (u < split)
    gable = ridge - (ridge - eaves) * np.abs(u - middle) / (split - middle)
    front_wall = front & (v < gable)
    side_wall = (u >= split) & (u < 0.86) & (v < eaves)
    lean = (v - eaves) / (ridge - eaves)
    roof = (
        (v >= eaves - 0.04)
        & (v < ridge)
        & (u > split - lean * (split - middle))
        & (u < 0.94 - lean * (split - middle) * 0.9)
    )
    wall = rgb(_WALLS[int(d[5] * 4) % 4])
    tiles = rgb(_ROOFS[int(d[6] * 4) % 4])
    if world.kind == "winter":
        tiles = rgb((0.93, 0.95, 0.98))
    bright, dim = np.float32(0.95), np.float32(0.28)
    shape = np.broadcast_shapes(u.shape, v.shape)
    sun = np.where(front_wall, bright if lit_front else dim, dim if lit_front else bright)
    colour = wall * _lamp(world, np.broadcast_to(sun, shape))
    panes = _panes(u, v, front_wall, side_wall)
    glow = world.kind == "night" or (world.kind in ("sunset", "storm") and d[7] < 0.6)
    pane = rgb((1.0, 0.80, 0.38)) if glow else rgb((0.20, 0.25, 0.32)) * _lamp(world, sun)
    colour = np.where(panes[..., None], pane, colour)
    slope = _lamp(world, np.full(shape, 0.55 if lit_front else 0.95, np.float32))
    colour = np.where(roof[..., None], tiles * slope, colour)
    return front_wall | side_wall | roof, colour.astype(np.float32)


def _panes(u: np.ndarray, v: np.ndarray, front: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Windows and the door."""
    windows = front & (np.abs(np.abs(u + 0.49) - 0.19) < 0.075) & (np.abs(v - 0.36) < 0.09)
    windows |= front & (np.abs(u + 0.49) < 0.07) & (np.abs(v - 0.66) < 0.07)
    return windows | (side & (np.abs((u - 0.10) % 0.28 - 0.12) < 0.07) & (np.abs(v - 0.31) < 0.10))
