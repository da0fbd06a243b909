"""Fixed colours for label ids and for depth, the same in every run and on every machine."""

from __future__ import annotations

import numpy as np

# OKLab -> LMS -> linear sRGB (B. Ottosson, "A perceptual color space for image processing").
_TO_LMS = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)
# Steps of the R3 low-discrepancy sequence (powers of the root of x^4 = x + 1): hue, lightness,
# chroma. Every new id falls into a gap that the earlier ids left.
_STEPS = 1.2207440846057596 ** -np.arange(1.0, 4.0)

# Lightness, chroma and hue (degrees) of the depth ramp's stops, far to near.
_DEPTH_STOPS = np.array(
    [
        [0.18, 0.07, 275.0],
        [0.33, 0.13, 295.0],
        [0.48, 0.17, 340.0],
        [0.63, 0.17, 385.0],
        [0.79, 0.14, 425.0],
        [0.96, 0.07, 465.0],
    ]
)
_MOST_LABELS = 65_536


def label_colours(n: int) -> np.ndarray:
    """Return one colour for each label id.

    Hue, lightness and chroma follow a low-discrepancy sequence, so that neighbouring ids look
    different. The colour of an id depends on nothing but the id:
    ``label_colours(151)`` is ``label_colours(182)[:151]``.

    Args:
        n: Number of labels, 1 to 65,536.

    Returns:
        uint8 array (n, 3), RGB.

    Raises:
        ValueError: ``n`` is out of that range.
    """
    if not 1 <= n <= _MOST_LABELS:
        raise ValueError(f"n is {n}; expected 1 to {_MOST_LABELS} labels")
    hue, lightness, chroma = (np.arange(1.0, n + 1.0)[:, None] * _STEPS % 1.0).T
    return _oklch_to_rgb(
        np.stack([0.42 + 0.5 * lightness, 0.06 + 0.12 * chroma, 360.0 * hue], axis=1)
    )


def depth_colours() -> np.ndarray:
    """Return the depth ramp: uint8 array (256, 3), dark violet (far) to pale yellow (near).

    The lightness rises evenly, so the ramp also reads in grey.
    """
    stops = np.linspace(0.0, 255.0, len(_DEPTH_STOPS))
    steps = [np.interp(np.arange(256), stops, column) for column in _DEPTH_STOPS.T]
    return _oklch_to_rgb(np.stack(steps, axis=1))


def _oklch_to_rgb(colours: np.ndarray) -> np.ndarray:
    # colours: (n, 3) lightness 0..1, chroma, hue in degrees
    lightness, chroma, hue = colours.T
    angle = np.deg2rad(hue)
    lab = np.stack([lightness, chroma * np.cos(angle), chroma * np.sin(angle)], axis=1)
    linear = np.clip(((lab @ _TO_LMS.T) ** 3) @ _TO_RGB.T, 0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255.0 * encoded).astype(np.uint8)
