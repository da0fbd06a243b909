"""Tileable noise pictures, made once from fixed numbers, and how to look into them.

A scene takes its hills, clouds and leaves from these few tiles at random places and scales:
one look-up then brings all octaves at once, which is what makes the renderer fast.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

TILE = 512  # samples along one side of a tile; a power of two, so that wrapping is a bit mask
_CELLS = 48  # trees along one side of the canopy tile


def _normalised(tile: np.ndarray) -> np.ndarray:
    """Shift and scale a tile to mean 0 and standard deviation 1, read-only float32."""
    tile = ((tile - tile.mean()) / tile.std()).astype(np.float32)
    tile.setflags(write=False)
    return tile


def _spectrum(seed: int) -> tuple[np.ndarray, np.ndarray]:
    white = np.random.Generator(np.random.PCG64(seed)).standard_normal((TILE, TILE))
    f = np.fft.fftfreq(TILE, 1.0 / TILE)
    radius = np.hypot(f[:, None], f[None, : TILE // 2 + 1])
    radius[0, 0] = 1.0
    return np.fft.rfft2(white), radius


@lru_cache(maxsize=None)
def fbm_tile(slope: float = 1.8) -> np.ndarray:
    """Make fractal noise whose amplitude falls with frequency to the power of `slope`.

    Args:
        slope: 1.5 is rough, 2.2 is rolling.

    Returns:
        (TILE, TILE) float32, mean 0, standard deviation 1, periodic.
    """
    spectrum, radius = _spectrum(1)
    keep = (radius >= 2.5) & (radius < TILE / 3)
    return _normalised(np.fft.irfft2(spectrum * keep * radius**-slope, s=(TILE, TILE)))


@lru_cache(maxsize=None)
def ridge_tile() -> np.ndarray:
    """Make ridged noise: sharp crests, smooth valleys, finer ridges only on the crests.

    Returns:
        (TILE, TILE) float32 in [0, 1], periodic.
    """
    spectrum, radius = _spectrum(2)
    total = np.zeros((TILE, TILE))
    weight = np.ones((TILE, TILE))
    for octave in range(5):
        centre = 3.0 * 2.0**octave
        ring = np.exp(-((np.log2(radius / centre) / 0.55) ** 2))
        band = np.fft.irfft2(spectrum * ring, s=(TILE, TILE))
        crest = np.maximum(1.0 - np.hypot(band / (2.4 * band.std()), 0.10), 0.0) ** 1.5
        total += crest * weight * 0.36**octave
        weight = np.clip(crest * 1.6, 0.0, 1.0)
    total = (total - total.min()) / (total.max() - total.min())
    total = total.astype(np.float32)
    total.setflags(write=False)
    return total


@lru_cache(maxsize=None)
def canopy_tile() -> np.ndarray:
    """Make tree tops seen from above: one cone in each jittered cell of a grid.

    Returns:
        (TILE, TILE) float32 in [0, 1], 1 at a tree's top, periodic.
    """
    rng = np.random.Generator(np.random.PCG64(3))
    jitter = rng.uniform(0.15, 0.85, (_CELLS, _CELLS, 2))
    tall = rng.uniform(0.6, 1.0, (_CELLS, _CELLS))
    axis = np.arange(TILE) * (_CELLS / TILE)
    v, u = np.meshgrid(axis, axis, indexing="ij")
    best = np.zeros((TILE, TILE))
    for dv in (-1, 0, 1):
        for du in (-1, 0, 1):
            cv, cu = np.floor(v).astype(int) + dv, np.floor(u).astype(int) + du
            at = (cv % _CELLS, cu % _CELLS)
            distance = np.hypot(v - cv - jitter[at][..., 0], u - cu - jitter[at][..., 1])
            best = np.maximum(best, tall[at] * np.clip(1.0 - distance / 0.85, 0.0, 1.0))
    best = best.astype(np.float32)
    best.setflags(write=False)
    return best


def sample(tile: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Look into a periodic tile with bilinear interpolation.

    Args:
        tile: (TILE, TILE) float32.
        u, v: arrays of one shape; a step of 1 is one whole period.

    Returns:
        float32 array of that shape.
    """
    u, v = np.broadcast_arrays(u, v)
    x, y = u * np.float32(TILE), v * np.float32(TILE)
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = (x - x0).astype(np.float32), (y - y0).astype(np.float32)
    mask = TILE - 1
    left, up = x0.astype(np.int32) & mask, (y0.astype(np.int32) & mask) * TILE
    right, down = (left + 1) & mask, (up + TILE) & (TILE * TILE - 1)
    flat = tile.reshape(-1)
    top = flat.take(up + left)
    top += (flat.take(up + right) - top) * fx
    bottom = flat.take(down + left)
    bottom += (flat.take(down + right) - bottom) * fx
    top += (bottom - top) * fy
    return top


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """Rise smoothly from 0 at `low` to 1 at `high` (falls when `low` > `high`)."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
