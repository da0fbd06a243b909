"""Colours and light of the classes of scenes, and the sky."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scene_noise import fbm_tile, sample, smoothstep
from scene_world import World

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Palette:
    """Colours of a class, sRGB in [0, 1]; a pair is the range that a scene draws from."""

    zenith: Colour
    horizon: Colour
    light: Colour
    shade: Colour
    grass: tuple[Colour, Colour]
    leaves: tuple[Colour, Colour]
    cloud: tuple[Colour, Colour]  # in the light, in the shade
    water: Colour
    disc: Colour
    haze: float  # distance at which air hides two thirds
    cover: tuple[float, float]  # least and most cloud


PALETTES = {
    "day": Palette(
        zenith=(0.16, 0.39, 0.76),
        horizon=(0.73, 0.86, 0.95),
        light=(1.06, 1.00, 0.86),
        shade=(0.40, 0.48, 0.60),
        grass=((0.30, 0.50, 0.14), (0.52, 0.62, 0.22)),
        leaves=((0.08, 0.27, 0.10), (0.24, 0.42, 0.12)),
        cloud=((1.00, 0.99, 0.97), (0.66, 0.73, 0.83)),
        water=(0.06, 0.29, 0.40),
        disc=(1.0, 0.97, 0.82),
        haze=110.0,
        cover=(-0.9, 0.5),
    ),
    "sunset": Palette(
        zenith=(0.20, 0.22, 0.46),
        horizon=(1.00, 0.62, 0.34),
        light=(1.12, 0.70, 0.42),
        shade=(0.46, 0.38, 0.52),
        grass=((0.34, 0.36, 0.14), (0.52, 0.44, 0.20)),
        leaves=((0.13, 0.19, 0.10), (0.30, 0.26, 0.12)),
        cloud=((1.00, 0.64, 0.44), (0.46, 0.31, 0.45)),
        water=(0.20, 0.19, 0.32),
        disc=(1.0, 0.90, 0.62),
        haze=75.0,
        cover=(-0.6, 0.7),
    ),
    "night": Palette(
        zenith=(0.015, 0.03, 0.10),
        horizon=(0.13, 0.20, 0.37),
        light=(0.50, 0.60, 0.84),
        shade=(0.14, 0.19, 0.33),
        grass=((0.16, 0.28, 0.20), (0.24, 0.34, 0.26)),
        leaves=((0.06, 0.14, 0.13), (0.12, 0.22, 0.18)),
        cloud=((0.27, 0.33, 0.46), (0.07, 0.09, 0.17)),
        water=(0.02, 0.06, 0.14),
        disc=(0.96, 0.95, 0.86),
        haze=120.0,
        cover=(-1.3, 0.0),
    ),
    "winter": Palette(
        zenith=(0.38, 0.56, 0.80),
        horizon=(0.90, 0.91, 0.94),
        light=(1.02, 0.96, 0.86),
        shade=(0.50, 0.57, 0.72),
        grass=((0.93, 0.95, 0.98), (0.88, 0.92, 0.97)),
        leaves=((0.20, 0.32, 0.28), (0.50, 0.60, 0.60)),
        cloud=((0.99, 0.98, 0.97), (0.70, 0.75, 0.84)),
        water=(0.16, 0.30, 0.42),
        disc=(1.0, 0.97, 0.88),
        haze=75.0,
        cover=(-0.6, 0.7),
    ),
    "autumn": Palette(
        zenith=(0.28, 0.46, 0.70),
        horizon=(0.96, 0.88, 0.72),
        light=(1.02, 0.88, 0.66),
        shade=(0.46, 0.44, 0.48),
        grass=((0.50, 0.48, 0.18), (0.68, 0.58, 0.28)),
        leaves=((0.62, 0.20, 0.06), (0.86, 0.56, 0.12)),
        cloud=((1.00, 0.96, 0.88), (0.70, 0.68, 0.72)),
        water=(0.12, 0.24, 0.30),
        disc=(1.0, 0.93, 0.74),
        haze=80.0,
        cover=(-0.8, 0.5),
    ),
    "storm": Palette(
        zenith=(0.17, 0.20, 0.25),
        horizon=(0.66, 0.69, 0.68),
        light=(0.66, 0.69, 0.68),
        shade=(0.40, 0.45, 0.50),
        grass=((0.24, 0.34, 0.16), (0.36, 0.40, 0.20)),
        leaves=((0.07, 0.16, 0.10), (0.16, 0.24, 0.12)),
        cloud=((0.60, 0.63, 0.66), (0.17, 0.19, 0.24)),
        water=(0.10, 0.18, 0.22),
        disc=(0.7, 0.7, 0.7),
        haze=55.0,
        cover=(0.7, 1.5),
    ),
}


def rgb(colour: Colour) -> np.ndarray:
    """Return a colour as a (3,) float32 array."""
    return np.asarray(colour, np.float32)


def mix(a: np.ndarray, b: np.ndarray, part: np.ndarray | float) -> np.ndarray:
    """Blend from `a` (part 0) to `b` (part 1); an array's `part` lacks the channel axis."""
    part = np.asarray(part, np.float32)
    return a + (b - a) * (part[..., None] if part.ndim else part)


def air(world: World, s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Colour of the clear sky at (s, t), glow around the sun included.

    Args:
        world: the scene.
        s, t: picture heights from the middle column and above the horizon.

    Returns:
        (..., 3) float32.
    """
    palette = PALETTES[world.kind]
    fade = np.exp(-np.maximum(t, 0.0) * (4.2 + 2.0 * world.dice[21]))
    colour = mix(rgb(palette.zenith), rgb(palette.horizon), fade)
    if world.kind == "storm":
        return colour
    away = np.hypot(s - world.sun[0], (t - world.sun[1]) * 1.15)
    glow = 0.55 * np.exp(-away * 7.0) + 0.25 * np.exp(-away * 2.2)
    return mix(colour, rgb(palette.disc), glow * (0.42 if world.kind == "night" else 1.0))


def clouds(world: World, s: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw the clouds: a flat layer seen in perspective, brighter towards the light.

    Args:
        world: the scene.
        s: (1, columns); t: (rows, 1), above the horizon.

    Returns:
        (rows, columns, 3) colour and (rows, columns) opacity.
    """
    palette = PALETTES[world.kind]
    scale = 0.055 + 0.05 * world.dice[22]
    far = 1.0 / (np.maximum(t, 0.0) + 0.13)
    u = s * far * scale + world.offsets[5][0]
    v = far * scale * 1.7 + world.offsets[5][1]
    thick = sample(fbm_tile(), u, v)
    step = 0.012
    towards = sample(fbm_tile(), u + step * np.sign(world.sun[0]), v - step)
    low, high = palette.cover
    cover = low + (high - low) * world.dice[23]
    alpha = smoothstep(-0.15, 0.75, thick + cover - 0.25) * smoothstep(0.0, 0.10, t)
    lit = np.clip(0.62 + 0.75 * (thick - towards) - 0.18 * (thick + cover), 0.0, 1.0)
    colour = mix(rgb(palette.cloud[1]), rgb(palette.cloud[0]), lit)
    haze = 0.55 * np.exp(-np.maximum(t, 0.0) * 9.0)
    colour = mix(colour, rgb(palette.horizon), np.broadcast_to(haze, alpha.shape))
    return colour, alpha * (0.97 if world.kind == "storm" else 0.93)


def disc(world: World, s: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw the sun or the moon.

    Returns:
        Colour (..., 3) and opacity (...).
    """
    if world.kind == "storm":
        return np.zeros((*np.shape(s + t), 3), np.float32), np.zeros(np.shape(s + t), np.float32)
    radius = {"night": 0.050, "sunset": 0.060}.get(world.kind, 0.042)
    u, v = (s - world.sun[0]) / radius, (t - world.sun[1]) / radius
    away = np.hypot(u, v)
    alpha = smoothstep(1.04, 0.90, away)
    colour = np.broadcast_to(rgb(PALETTES[world.kind].disc), (*away.shape, 3))
    if world.kind == "night":
        seas = sample(fbm_tile(), u * 0.11 + world.offsets[6][0], v * 0.11 + world.offsets[6][1])
        colour = mix(colour, rgb((0.62, 0.63, 0.62)), np.clip(seas * 0.55, 0.0, 0.7))
    return colour, alpha


def stars(world: World, s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Draw stars as small soft dots, one in some cells of a grid; 0 but at night."""
    if world.kind != "night":
        return np.zeros(np.shape(s + t), np.float32)
    cell = 0.085
    gu, gv = np.floor(s / cell + 400.5).astype(int), np.floor(t / cell + 400.5).astype(int)
    rng = np.random.Generator(np.random.PCG64([*world.key, 77]))
    table = rng.uniform(0.0, 1.0, (64, 64, 3)).astype(np.float32)
    place = table[gu % 64, gv % 64]
    du = s / cell + 400.5 - gu - (0.15 + 0.7 * place[..., 0])
    dv = t / cell + 400.5 - gv - (0.15 + 0.7 * place[..., 1])
    bright = np.clip(place[..., 2] * 1.9 - 0.9, 0.0, 1.0)
    return bright * np.exp(-(du * du + dv * dv) * 95.0) * smoothstep(0.02, 0.2, t)
