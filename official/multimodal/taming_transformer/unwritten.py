"""Tensors of memory that nobody has written to yet: MegEngine has no function that makes them."""

from __future__ import annotations

import math
from typing import Sequence

import megengine.functional as F
import numpy as np
from megengine import Tensor
from megengine.core._imperative_rt.core2 import apply
from megengine.core.ops.builtin import ParamPackConcat

_PART = 1 << 16
"""Numbers of a tensor that stands for a part of others: 256 KB."""


def unwritten(shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Return float32 tensors on the default device, a CPU, of memory that was never touched.

    The system takes memory for a page, and clears it, when it is first written to. That is most of
    the time of loading weights, and is left to the one who writes (``host.writable``), on several
    threads if they like. ``F.zeros`` would do it on one, and then write zeros of its own.

    Here an operator packs parts into one tensor as long as all of them, but is told that each goes
    from 0 to 0: it writes nothing (dnn/src/naive/param_pack/opr_impl.cpp). The memory is
    MegEngine's own and lives like that of any tensor.

    Args:
        shapes: Of each at least one dimension, and from 1 to 2**31 - 1 numbers.
    """
    part = F.zeros((_PART,))  # one for all: those of each would leave holes between the tensors
    return [_packed(part, math.prod(shape)).reshape(*shape) for shape in shapes]


def _packed(part: Tensor, size: int) -> Tensor:
    whole, rest = divmod(size, _PART)
    parts = [part] * whole + [part[:rest]] * (rest > 0)
    pack = ParamPackConcat()
    pack.offsets = [0] * (2 * len(parts) - 1) + [size]  # of these the last is looked at: the length
    nowhere = Tensor(np.zeros(2 * len(parts), np.int32))
    return apply(pack, *parts, nowhere)[0]
