"""Parameters that are declared first, filled once and, where it pays, stored side by side."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Callable, Iterator, List, Sequence, Tuple

import megengine as mge
import megengine.functional as F
import megengine.module as M
import numpy as np
from megengine import Parameter, Tensor

from .host import is_gpu, thread_count, writable
from .unwritten import unwritten


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


Group = List[Tuple[str, Declared]]
"""Parameters whose rows lie one under the other, and their names."""

Write = Callable[[str, np.ndarray], None]


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


def fill(model: M.Module, write: Write) -> None:
    """Give the declared parameters of a network their values, on the default device.

    Args:
        model: Its parameters were made by ``declare``; it may have been filled before.
        write: Called with the name of each parameter and a C-contiguous float32 array of its shape,
            in memory that is new, to write its values to. On a CPU this is the parameter's own, and
            as many threads call at once as operators have: new memory costs more than reading.
            If it raises on a CPU, all parameters stay as they were.
    """
    groups = list(declared_groups(model))
    device = mge.get_default_device()
    if is_gpu(device):
        _fill_by_copies(groups, write)
    else:
        _fill_in_place(groups, write, thread_count(device))


def _fill_in_place(groups: Sequence[Group], write: Write, threads: int) -> None:
    wholes = unwritten([_whole_shape(group) for group in groups])
    arrays = map(writable, wholes)
    pieces = [piece for group, array in zip(groups, arrays) for piece in _pieces(group, array)]
    with ThreadPoolExecutor(threads) as pool:
        # in case of an error `map` calls off what has not begun, and it is raised here
        list(pool.map(write, *zip(*pieces)))
    for group, whole in zip(groups, wholes):
        _give(whole, group)


def _fill_by_copies(groups: Sequence[Group], write: Write) -> None:
    for group in groups:
        array = np.empty(_whole_shape(group), np.float32)
        for name, rows in _pieces(group, array):
            write(name, rows)
        whole = Tensor(array, no_cache=True)
        mge._full_sync()  # it has copied the array
        _give(whole, group)


def is_filled(parameter: Parameter) -> bool:
    """Tell whether a declared parameter has got its values."""
    shape = getattr(parameter, "declared_shape", None)
    return shape is None or tuple(parameter.shape) == tuple(shape)


def declared_parameters(model: M.Module) -> Iterator[tuple[str, Declared]]:
    """Yield (name, parameter) in a stable order, filled or not."""
    yield from sorted(model.named_parameters())


def declared_groups(model: M.Module) -> Iterator[Group]:
    """Yield the same in groups that are filled together: a stack, or one alone."""
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


def _whole_shape(group: Group) -> tuple[int, ...]:
    rows = sum(_rows(part) for _, part in group)
    return (rows, *(group[0][1].declared_shape or group[0][1].shape)[1:])


def _pieces(group: Group, whole: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name of each part of a group, and its rows of the array of all."""
    start = 0
    for name, part in group:
        yield name, whole[start : start + _rows(part)]
        start += _rows(part)


def _give(whole: Tensor, group: Group) -> None:
    if len(group) == 1:
        group[0][1]._reset(Parameter(whole))
    else:
        _share(Parameter(whole), [part for _, part in group])


def _share(whole: Tensor, parts: Sequence[Declared]) -> None:
    for part, start in zip(parts, [0, *accumulate(map(_rows, parts))]):
        part._reset(whole[start : start + _rows(part)])
        part.whole, part.start = whole, start


def _rows(part: Declared) -> int:
    return int((part.declared_shape or part.shape)[0])  # a copied module forgets the declared one
