"""Layers and functions that the networks are made of.

Names and shapes are PyTorch's, so the original's state dicts fit as they are. Parameters are only
declared: no memory is spent before weights arrive.
"""

from __future__ import annotations

import math

import megengine as mge
import megengine.functional as F
import megengine.module as M
import numpy as np
from megengine import Parameter, Tensor
from megengine.core._imperative_rt.core2 import apply
from megengine.core.ops.builtin import Elemwise

from . import winograd
from .host import is_gpu
from .parameters import declare, is_filled

# x * Phi(x) = x * sigmoid(x * p(x^2)) up to 3e-6: p fitted to logit(Phi(x)) / x by least squares,
# reweighted towards the largest error, on [0, 9].
GELU = (1.5956562825, 0.0729375701, -2.4971969282e-4, -6.1162432135e-5, 2.2381830241e-6)
# From this many numbers on (4 MB), a tensor is worth waiting for: see `settle`.
BIG = 1 << 20
# Numbers of an activation that takes fresh memory of its own at every operator (100 MB, see
# ``runtime``): what smaller ones have left in the heap serves it no more.
MAPPED = 25_000_000
# From this many numbers on, several cheap operators cost less than one of MegEngine's that takes
# its numbers singly. GELU, measured on 2 cores (Zen 3), ms, MegEngine's / ours: 2^13 numbers 0.11
# / 0.31, 2^15 0.49 / 0.43, 2^20 12 / 4.4 (benchmarks/operators.py).
MANY = 1 << 15


class Network(M.Module):
    """A module that knows where it lives and can be moved."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Run the network; subclasses say on what."""
        raise TypeError(f"{type(self).__name__} has no forward pass of its own")

    @property
    def device(self) -> str:
        """MegEngine device of the parameters, such as ``"cpu0"`` or ``"gpu0"``."""
        return str(next(self.parameters()).device)

    @property
    def dtype(self) -> np.dtype:
        """Type of the parameters: float32 or float16."""
        return np.dtype(next(self.parameters()).dtype)

    def to(self, device: str | None = None, dtype: str | None = None) -> Network:
        """Move the parameters, in place.

        Args:
            device: MegEngine device name: ``"cpu0"``, ``"multithread4"``, ``"gpu0"``, ...
            dtype: ``"float32"``, or ``"float16"`` on a GPU.

        Returns:
            The network itself.

        Raises:
            ValueError: Another dtype, or float16 on a CPU (MegEngine has no such kernels).
            RuntimeError: The parameters have no values yet, or there is no such device.
        """
        target = device or self.device
        if dtype not in (None, "float32", "float16"):
            raise ValueError(f"dtype must be float32 or float16, got {dtype!r}")
        if dtype == "float16" and not is_gpu(target):
            raise ValueError(f"float16 needs a GPU; device is {target!r}: stay with float32")
        for name, parameter in self.named_parameters():
            if not is_filled(parameter):
                raise RuntimeError(f"{name} has no values yet: load weights before moving")
            value = parameter if dtype is None else parameter.astype(dtype)
            parameter._reset(Parameter(mge.functional.copy(value, target)))
        return self


class Conv2d(M.Module):
    """A square convolution with bias; ``weight`` is (out, in, k, k), ``bias`` (out,)."""

    def __init__(self, in_ch: int, out_ch: int, kernel: int, stride: int = 1, padding: int = 0):
        super().__init__()
        self.stride, self.padding = stride, padding
        self.weight = declare(out_ch, in_ch, kernel, kernel)
        self.bias = declare(out_ch)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H', W')."""
        return self.shift(self._plain(x))

    def products(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H', W') without the bias; x is used up.

        Its memory may be the result's, so nobody may look at it afterwards. Who adds the bias with
        ``shift`` then no longer holds x beside two results.
        """
        if self.stride == self.padding == 1 and winograd.fits(x, self.weight):
            return winograd.convolve(x, self.weight)
        return self._plain(x)

    def _plain(self, x: Tensor) -> Tensor:
        x = settle(x, BIG)
        return F.conv2d(x, self.weight, stride=self.stride, padding=self.padding)

    def shift(self, products: Tensor) -> Tensor:
        """Add the bias to (B, out, H', W')."""
        return settle(products, BIG) + self.bias.reshape(1, -1, 1, 1)

    def reach(self, cells: int) -> int:
        """Return how many cells beyond its input's part decide ``cells`` beyond the output's."""
        return cells + self.padding


class Embedding(M.Module):
    """A table of vectors; ``weight`` is (count, width)."""

    def __init__(self, count: int, width: int):
        super().__init__()
        self.weight = declare(count, width)

    def forward(self, indices: Tensor) -> Tensor:
        """Look up integer (...) and return (..., width)."""
        return F.embedding(indices, self.weight)


def cast(x: Tensor, dtype: np.dtype | type) -> Tensor:
    """Return x in another dtype, or x itself."""
    return x if x.dtype == dtype else x.astype(np.dtype(dtype).name)


def gelu(x: Tensor, least: float = math.inf) -> Tensor:
    """Return ``x * Phi(x)``, the exact GELU within 3e-6, in a third of MegEngine's own time.

    From ``least`` numbers on, every step is waited for, so that few are held.
    """
    if not on_cpu(x, MANY):
        return F.gelu(x)
    square, rest = settle(x * x, least), reversed(GELU)
    p = settle(multiply_add(square, next(rest), next(rest)), least)
    for coefficient in rest:
        p = settle(multiply_add(square, p, coefficient), least)
    del square
    gate = settle(F.sigmoid(settle(x * p, least)), least)
    return settle(x * gate, least)


def multiply_add(a: Tensor, b: Tensor | float, c: Tensor | float) -> Tensor:
    """Return ``a * b + c`` in one pass; shapes broadcast, numbers take the dtype of a."""
    b, c = (v if isinstance(v, Tensor) else Tensor(v, a.dtype, a.device) for v in (b, c))
    (y,) = apply(Elemwise(mode="FUSE_MUL_ADD3"), a, b, c)
    return y


def on_cpu(x: Tensor, least: float) -> bool:
    """Return whether x has ``least`` numbers or more and is not on a GPU."""
    return bool(np.prod(x.shape) >= least) and not is_gpu(x.device)


def settle(x: Tensor, least: float = 0) -> Tensor:
    """Return x, computed, if it has ``least`` numbers or more.

    On a CPU, MegEngine runs ahead and holds the buffers of many layers. What the caller has dropped
    is free after this, so it is worth most before an operator.
    """
    if on_cpu(x, least):
        mge._full_sync()
    return x


def softmax(x: Tensor) -> Tensor:
    """Return ``exp(x)`` over its sum along the last axis.

    MegEngine's own subtracts no maximum below zero: where all numbers are below -87 it gives NaN.
    """
    return F.softmax(x - F.max(x, axis=-1, keepdims=True), axis=-1)


def swish(x: Tensor) -> Tensor:
    """Return ``x * sigmoid(x)`` (three times faster here than MegEngine's own silu)."""
    gate = F.sigmoid(settle(x, BIG))
    return x * settle(gate, BIG)


def double(x: Tensor) -> Tensor:
    """Repeat every cell of (B, C, H, W) to (B, C, 2H, 2W)."""
    b, c, h, w = x.shape
    x = F.broadcast_to(x.reshape(b, c, h, 1, w, 1), (b, c, h, 2, w, 2))
    return x.reshape(b, c, 2 * h, 2 * w)
