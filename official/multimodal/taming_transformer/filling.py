"""Give a declared network its values: from arrays, or at random."""

from __future__ import annotations

import math
import zlib
from functools import partial
from typing import Mapping

import megengine.module as M
import numpy as np

from .parameters import declared_parameters, fill


def parameter_shapes(model: M.Module) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of a network's parameters, filled or not."""
    return {name: tuple(p.declared_shape or p.shape) for name, p in declared_parameters(model)}


def load_tensors(model: M.Module, tensors: Mapping[str, np.ndarray]) -> None:
    """Fill a network from arrays.

    Args:
        model: A declared network.
        tensors: Parameter name -> float array of its shape; copied.

    Raises:
        KeyError: A parameter is missing or a name is unknown.
        ValueError: A shape is another one.
    """
    shapes = parameter_shapes(model)
    missing, unknown = sorted(set(shapes) - set(tensors)), sorted(set(tensors) - set(shapes))
    if missing or unknown:
        raise KeyError(f"missing parameters {missing[:5]}, unknown names {unknown[:5]}")
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape:
            raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}, expected {shape}")

    def copy(name: str, out: np.ndarray) -> None:
        out[...] = tensors[name]

    fill(model, copy)


def initialise(model: M.Module, seed: int = 0) -> None:
    """Fill a network at random, each tensor by (seed, name) alone: for trials without weights.

    Matrices and kernels are normal with variance 1 / fan-in, scales one, biases zero.
    """
    fill(model, partial(_draw, seed))


def _draw(seed: int, name: str, out: np.ndarray) -> None:
    if out.ndim == 1:
        out.fill(1 if name.endswith("weight") else 0)
        return
    stream = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    stream.standard_normal(dtype=np.float32, out=out)
    out *= np.float32(1 / math.sqrt(np.prod(out.shape[1:])))
