"""Parameters that are declared first, filled once and, where it pays, stored side by side."""

from __future__ import annotations

from typing import Iterator, Sequence

import megengine.functional as F
import megengine.module as M
import numpy as np
from megengine import Parameter, Tensor


class Declared(Parameter):
    """A parameter that knows its shape before it has values, and the tensor it may be a part of.

    Whoever gives it values (``fill``, ``load_state_dict``, ``Network.to``, an assignment) goes
    through ``_reset``: from then on it has memory of its own, until it is joined again.
    """

    declared_shape: tuple[int, ...] | None = None
    group: Sequence[Declared] = ()  # this one and its neighbours, top to bottom: see `stack`
    whole: Tensor | None = None  # what the group is joined to

    def _reset(self, other: Tensor) -> None:
        super()._reset(other)
        self.whole = None


def declare(*shape: int) -> Declared:
    """Declare a parameter of ``shape`` without taking its memory; ``fill`` gives it values."""
    # on cpu0, whatever the default: looking for a GPU prints lines that a mere table need not see
    parameter = Declared(np.zeros(1, np.float32), device="cpu0")
    parameter.declared_shape = shape
    return parameter


def fill(parameter: Declared, values: np.ndarray, device: str | None = None) -> None:
    """Give a declared parameter its values; the array is copied and may be used again.

    Args:
        parameter: Made by ``declare``.
        values: C-contiguous float32 array of the declared shape.
        device: MegEngine device name; ``None`` is the default device.

    Raises:
        ValueError: The shape is another one.
    """
    if tuple(values.shape) != parameter.declared_shape:
        raise ValueError(f"got shape {tuple(values.shape)}, expected {parameter.declared_shape}")
    parameter._reset(Parameter(values, no_cache=True, device=device))
    if parameter.group and all(is_filled(part) for part in parameter.group):
        joined(parameter.group)  # before the next is loaded: it takes the place of the parts


def is_filled(parameter: Parameter) -> bool:
    """Tell whether a declared parameter has got its values."""
    shape = getattr(parameter, "declared_shape", None)
    return shape is None or tuple(parameter.shape) == tuple(shape)


def declared_parameters(model: M.Module) -> Iterator[tuple[str, Declared]]:
    """Yield (name, parameter) in a stable order, filled or not."""
    yield from sorted(model.named_parameters())


def stack(parts: Sequence[Declared]) -> None:
    """Have parameters joined as soon as the last of them is filled."""
    for part in parts:
        part.group = parts


def joined(parts: Sequence[Declared]) -> Tensor:
    """Return filled parameters, one under the other, as one tensor.

    Its memory replaces theirs: each becomes a view of its rows, and the next call finds them so.
    Where one has got other values since, they are joined anew.
    """
    whole = parts[0].whole
    if whole is not None and all(part.whole is whole for part in parts):
        return whole
    whole = F.concat(list(parts), axis=0)
    start = 0
    for part in parts:
        end = start + part.shape[0]
        part._reset(whole[start:end])
        part.whole = whole
        start = end
    return whole
