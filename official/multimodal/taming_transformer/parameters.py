"""Parameters that are declared first, filled once and, where it pays, stored side by side."""

from __future__ import annotations

from itertools import accumulate
from typing import Callable, Iterator, Sequence

import megengine.functional as F
import megengine.module as M
import numpy as np
from megengine import Parameter, Tensor

from .host import written


class Declared(Parameter):
    """A parameter that knows its shape before it has values, and the tensor it may be a part of.

    Whoever gives it values (``fill``, ``load_state_dict``, ``Network.to``, an assignment) goes
    through ``_reset``: from then on it has memory of its own, until it is joined again.
    """

    declared_shape: tuple[int, ...] | None = None
    whole: Tensor | None = None
    start = 0  # the first of its rows there
    view: np.ndarray | None = None  # of its present memory (``host.values``)

    def _reset(self, other: Tensor) -> None:
        super()._reset(other)
        self.whole = self.view = None


class Stack(M.Module):
    """A module of which some parameters lie one under the other in one tensor."""

    def stacked(self) -> list[list[Declared]]:
        """Return the parameters of each such tensor, top to bottom."""
        raise TypeError(f"{type(self).__name__} does not say what it stacks")


def declare(*shape: int) -> Declared:
    """Declare a parameter of ``shape`` without taking its memory; ``fill`` gives it values."""
    # on cpu0, whatever the default: looking for a GPU prints lines that a mere table need not see
    parameter = Declared(np.zeros(1, np.float32), device="cpu0")
    parameter.declared_shape = shape
    return parameter


def fill(parts: Sequence[Declared], write: Callable[[np.ndarray], None]) -> None:
    """Give a declared parameter its values, or several that are stacked, on the default device.

    Args:
        parts: Made by ``declare``.
        write: Writes the values, the rows of several one under the other, to a C-contiguous float32
            array of the declared shape. If it raises, the parameters stay as they were.
    """
    shapes = [part.declared_shape or () for part in parts]
    whole = Parameter(written((sum(shape[0] for shape in shapes), *shapes[0][1:]), write))
    if len(parts) == 1:
        parts[0]._reset(whole)
    else:
        _share(whole, parts)


def is_filled(parameter: Parameter) -> bool:
    """Tell whether a declared parameter has got its values."""
    shape = getattr(parameter, "declared_shape", None)
    return shape is None or tuple(parameter.shape) == tuple(shape)


def declared_parameters(model: M.Module) -> Iterator[tuple[str, Declared]]:
    """Yield (name, parameter) in a stable order, filled or not."""
    yield from sorted(model.named_parameters())


def declared_groups(model: M.Module) -> Iterator[list[tuple[str, Declared]]]:
    """Yield the same in groups that are to be filled together: a stack, or one alone."""
    names = {id(parameter): name for name, parameter in declared_parameters(model)}
    modules = [module for module in model.modules() if isinstance(module, Stack)]
    stacks = [parts for module in modules for parts in module.stacked()]
    stack_of = {id(part): parts for parts in stacks for part in parts}
    seen: set[int] = set()
    for _, parameter in declared_parameters(model):
        if id(parameter) not in seen:
            parts = stack_of.get(id(parameter), [parameter])
            seen.update(id(part) for part in parts)
            yield [(names[id(part)], part) for part in parts]


def joined(parts: Sequence[Declared]) -> Tensor:
    """Return filled parameters, one under the other, as one tensor.

    Its memory replaces theirs: each becomes a view of its rows, and the next call finds them so.
    Where one has got other values since, or was joined with others, they are joined anew.
    """
    whole = parts[0].whole
    if whole is None or not _make_up(whole, parts):
        whole = F.concat(list(parts), axis=0)
        _share(whole, parts)
    return whole


def _make_up(whole: Tensor, parts: Sequence[Declared]) -> bool:
    """Tell whether these parts, in this order, are all that lies in ``whole``."""
    starts = [0, *accumulate(map(_rows, parts))]
    placed = all(part.whole is whole and part.start == at for part, at in zip(parts, starts))
    return placed and bool(whole.shape[0] == starts[-1])


def _share(whole: Tensor, parts: Sequence[Declared]) -> None:
    for part, start in zip(parts, [0, *accumulate(map(_rows, parts))]):
        part._reset(whole[start : start + _rows(part)])
        part.whole, part.start = whole, start


def _rows(part: Declared) -> int:
    return int((part.declared_shape or part.shape)[0])  # a copied module forgets the declared one
