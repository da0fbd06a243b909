"""The made-up world of a scene: what is drawn by lot, the ground's height, and what each ray meets.

Coordinates: x to the right, y up, z away from the camera, in units of about two metres. The camera
stands at x = z = 0, `eye` above the water level (y = 0), and looks along z. A point is seen at
(s, t) = focal * (x / z, (eye - y) / z), in picture heights from the middle column and the horizon.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scene_noise import fbm_tile, ridge_tile, sample, smoothstep

CLASSES = ("day", "sunset", "night", "winter", "autumn", "storm")
NEAR, FAR = 2.2, 170.0  # range of the ground's distance
STEPS = 200  # distances at which the ground is sampled
FOCAL = 1.1
_SHORES = ("none", "lake", "sea", "bay", "river")


@dataclass(frozen=True)
class World:
    """Everything about one scene that chance decides; the picture's size is not part of it."""

    kind: str
    key: tuple[int, int]
    offsets: tuple[tuple[float, float], ...]  # 16 places in the noise tiles
    dice: tuple[float, ...]  # 32 uniform numbers for small choices
    horizon: float  # picture heights from the top
    eye: float
    hills: float
    mountains: float
    snow_line: float
    shore: str
    woods: float
    sun: tuple[float, float]  # picture heights from the middle column, above the horizon
    light: np.ndarray  # (3,) unit vector towards the light

    def noise(self, tile: np.ndarray, k: int, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Look into `tile` at the scene's own k-th place."""
        return sample(tile, x + self.offsets[k][0], z + self.offsets[k][1])


def make_world(seed: int, index: int, kind: str | None = None) -> World:
    """Draw a scene by lot.

    Args:
        seed: the collection.
        index: the scene in it.
        kind: one of `CLASSES`; None takes the class that the lot gives.

    Returns:
        World, the same for the same arguments on every machine.
    """
    rng = np.random.Generator(np.random.PCG64([seed, index]))
    lot = int(rng.integers(len(CLASSES)))
    kind = CLASSES[lot] if kind is None else kind
    offsets = tuple((float(u), float(v)) for u, v in rng.uniform(0.0, 1.0, (16, 2)))
    dice = tuple(float(d) for d in rng.uniform(0.0, 1.0, 32))
    low_sun = kind == "sunset"
    side = 1.0 if dice[0] < 0.5 else -1.0
    sun_t = 0.03 + 0.10 * dice[1] if low_sun else 0.20 + 0.16 * dice[1]
    light = np.array([side * (0.45 + 0.4 * dice[3]), 0.30 if low_sun else 0.75, -0.35])
    return World(
        kind=kind,
        key=(seed, index),
        offsets=offsets,
        dice=dice,
        horizon=0.42 + 0.16 * dice[4],
        eye=1.7 + 0.9 * dice[5],
        hills=0.4 + 1.0 * dice[6],
        mountains=(0.45 + 0.75 * dice[7]) if dice[8] < 0.8 else 0.0,
        snow_line=7.0 + 14.0 * dice[9],
        shore=str(rng.choice(_SHORES, p=(0.22, 0.26, 0.16, 0.20, 0.16))),
        woods=-0.9 + 1.7 * dice[10],
        sun=(side * (0.08 + 0.34 * dice[2]), sun_t),
        light=(light / np.linalg.norm(light)).astype(np.float32),
    )


def river_x(world: World, z: np.ndarray) -> np.ndarray:
    """Middle of the river at distance z."""
    d = world.dice
    return (d[11] - 0.5) * 0.5 * z + (1.5 + 3.0 * d[12]) * np.sin(z * 0.16 + 6.3 * d[13])


def path_x(world: World, z: np.ndarray) -> np.ndarray:
    """Middle of the path at distance z."""
    d = world.dice
    return (d[14] - 0.5) * 3.0 + (d[15] - 0.5) * 0.35 * z + 0.9 * np.sin(z * 0.42 + 6.3 * d[16])


def land(world: World, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Tell land (> 0) from water (< 0), smoothly, 1 and more well inland."""
    d = world.dice
    if world.shore == "none":
        return np.full(np.broadcast_shapes(np.shape(x), np.shape(z)), 2.0, np.float32)
    wobble = world.noise(fbm_tile(), 0, x / 90.0, z / 90.0)
    if world.shore == "river":
        width = 0.9 + 0.09 * z
        return np.abs(x - river_x(world, z)) / width - 1.0 + 0.15 * wobble
    first = 6.0 + 9.0 * d[17]
    edge = (first + (d[18] - 0.5) * 0.7 * x - z) / (2.0 + 0.25 * z) + 0.30 * wobble
    if world.shore == "sea":
        return edge
    far = first + (14.0 if world.shore == "lake" else 34.0) * (0.7 + 0.6 * d[19])
    return np.maximum(edge, (z - far - (d[20] - 0.5) * 0.5 * x) / 9.0 + 0.45 * wobble)


def height(world: World, x: np.ndarray, z: np.ndarray, inland: np.ndarray) -> np.ndarray:
    """Height of the ground above the water level; below 0 under water.

    Args:
        x, z: places.
        inland: `land` at these places.
    """
    rolling = world.noise(fbm_tile(2.2), 1, x / 70.0, z / 70.0)
    y = 0.28 + 0.10 * rolling * smoothstep(2.0, 12.0, z)
    y = y + 2.4 * smoothstep(50.0, 150.0, z)
    y = y + world.hills * 0.055 * z * smoothstep(9.0, 34.0, z) * np.maximum(rolling + 0.55, 0.0)
    if world.mountains:
        ridge = world.noise(ridge_tile(), 2, x / 400.0, z / 260.0)
        broad = world.noise(fbm_tile(2.2), 3, x / 330.0, z / 330.0)
        rise = smoothstep(50.0, 125.0, z) * np.clip(0.70 + 0.50 * broad, 0.05, 1.5)
        y = y + world.mountains * 28.0 * rise * (0.08 + 0.92 * ridge)
    return y * smoothstep(-0.05, 0.9, inland) + 0.45 * np.clip(inland, -1.0, 0.4)


@dataclass(frozen=True)
class Ground:
    """The sampled ground: arrays of shape (STEPS, columns)."""

    z: np.ndarray  # (STEPS, 1)
    x: np.ndarray
    y: np.ndarray
    slope_x: np.ndarray
    slope_z: np.ndarray
    wood: np.ndarray  # > 0 where trees stand
    inland: np.ndarray


def wood_mask(world: World, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Density of trees: > 0 in a forest; none near the camera, on beaches and high ground."""
    grown = world.noise(fbm_tile(), 4, x / 60.0, z / 60.0) + world.woods
    grown = grown - 3.0 * smoothstep(7.0, 13.0, y) - 3.0 * smoothstep(0.5, 0.15, y)
    return grown - 4.0 * smoothstep(14.0, 8.0, z)


def sample_ground(world: World, s: np.ndarray) -> Ground:
    """Sample the ground along the columns of a picture.

    Args:
        world: the scene.
        s: (columns,) picture heights from the middle column.
    """
    z = np.geomspace(NEAR, FAR, STEPS).astype(np.float32)[:, None]
    x = (s[None, :] / FOCAL * z).astype(np.float32)
    inland = land(world, x, z)
    y = height(world, x, z, inland).astype(np.float32)
    wood = wood_mask(world, x, y, z)
    dx = np.gradient(y, axis=1) / np.maximum(np.gradient(x, axis=1), 1e-6)
    dz = np.gradient(y, axis=0) / np.gradient(z, axis=0)
    return Ground(z, x, y, dx - dz * (x / z), dz, wood, inland)


def cast(
    ground: Ground, top: np.ndarray, world: World, t: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find which sample of the ground each pixel sees.

    Args:
        ground: the sampled ground.
        top: (STEPS, columns) height of what stands there, trees included.
        world: the scene.
        t: (rows,) picture heights above the horizon.

    Returns:
        (rows, columns) position along the samples, fractional, STEPS where the sky is seen, and
        the distance z there.
    """
    seen = FOCAL * (np.maximum(top, 0.0) - world.eye) / ground.z  # (STEPS, columns)
    skyline = np.maximum.accumulate(seen, axis=0)
    columns = seen.shape[1]
    base = (np.arange(columns) * 16.0)[:, None]
    queue = (skyline.T.astype(np.float64) + base).reshape(-1)
    wanted = (np.clip(t, -7.0, 7.0).astype(np.float64)[None, :] + base).reshape(-1)
    hit = np.searchsorted(queue, wanted).reshape(columns, -1).T - np.arange(columns) * STEPS
    k = np.clip(hit, 1, STEPS - 1)
    column = np.arange(columns)[None, :]
    low, high = skyline[k - 1, column], skyline[k, column]
    part = np.clip((t[:, None] - low) / np.maximum(high - low, 1e-6), 0.0, 1.0)
    at = np.where(hit >= STEPS, np.float32(STEPS), k - 1 + part).astype(np.float32)
    log_z = np.log(NEAR) + np.clip(at, 0, STEPS - 1) * (np.log(FAR / NEAR) / (STEPS - 1))
    return at, np.exp(log_z).astype(np.float32)
