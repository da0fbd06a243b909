"""Words of numpy about the engine that nobody needs in the middle of a report."""

from __future__ import annotations

import warnings

import numpy as np


def learn_limits() -> None:
    """Ask numpy for the limits of floats, which it keeps, without its warning.

    MegEngine makes denormals zero, of which numpy warns when it is first asked.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The value of the smallest subnormal", UserWarning)
        for kind in (np.float32, np.float64):
            np.finfo(kind)
