"""Give a declared network its values: from arrays, or at random."""

from __future__ import annotations

import math
import zlib
from functools import partial
from typing import Mapping, Sequence

import megengine.module as M
import numpy as np

from .parameters import declared_groups, declared_parameters, fill


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
    for group in declared_groups(model):
        arrays = [np.asarray(tensors[name], np.float32) for name, _ in group]
        fill([part for _, part in group], partial(_stack, arrays))


def initialise(model: M.Module, seed: int = 0) -> None:
    """Fill a network at random, each tensor by (seed, name) alone: for trials without weights.

    Matrices and kernels are normal with variance 1 / fan-in, scales one, biases zero.
    """
    for group in declared_groups(model):
        arrays = [_drawn(name, part.declared_shape or (), seed) for name, part in group]
        fill([part for _, part in group], partial(_stack, arrays))


def _stack(arrays: Sequence[np.ndarray], out: np.ndarray) -> None:
    np.concatenate(arrays, out=out)


def _drawn(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    if len(shape) == 1:
        ones = name.endswith("weight")
        return np.ones(shape, np.float32) if ones else np.zeros(shape, np.float32)
    stream = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    values = stream.standard_normal(shape, np.float32)
    values *= np.float32(1 / math.sqrt(np.prod(shape[1:])))
    return values
