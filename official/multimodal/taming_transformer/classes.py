"""Which classes are meant: by number, or by name where names are known."""

from __future__ import annotations

from typing import Iterable, Mapping, Sequence, Union

import numpy as np

ClassLabels = Union[int, str, Iterable[Union[int, str]]]
"""One class or several, each by its number or by its name."""

ClassNames = Union[Sequence[str], Mapping[int, str]]
"""Name of each class; a name can list several, separated by commas ("goldfish, Carassius")."""

_SHOWN = 5


def resolve_labels(
    labels: ClassLabels | None, n_classes: int, names: ClassNames | None = None
) -> tuple[int, ...]:
    """Return the numbers of the classes that are meant, in the order given.

    Args:
        labels: Numbers 0 .. n_classes - 1, names, or numerals as text; ``None`` means all.
        n_classes: Classes that the model knows.
        names: Their names, where known: a sequence of n_classes, or number -> name.

    Raises:
        TypeError: A label is neither a whole number nor text.
        ValueError: A class is unknown, named twice or ambiguous, or there is none.
    """
    if labels is None:
        return tuple(range(n_classes))
    index = _index(names, n_classes)
    several = not isinstance(labels, (int, np.integer, str))
    wanted = list(labels) if several else [labels]  # type: ignore[arg-type]
    found = tuple(_resolve(label, n_classes, index) for label in wanted)
    if not found:
        raise ValueError("class_labels is empty: name at least one class, or None for all")
    if len(set(found)) < len(found):
        twice = next(label for label in found if found.count(label) > 1)
        raise ValueError(f"class {twice} is given twice in class_labels: name each class once")
    return found


def _index(names: ClassNames | None, n_classes: int) -> dict[str, list[int]]:
    """Return name, and each part of it between commas, in small letters -> classes of that name."""
    pairs = dict(names) if isinstance(names, Mapping) else dict(enumerate(names or ()))
    if names is not None and not isinstance(names, Mapping) and len(pairs) != n_classes:
        raise ValueError(f"class_names has {len(pairs)} names, the model has {n_classes} classes")
    index: dict[str, list[int]] = {}
    for number, name in pairs.items():
        for known in {_key(name), *map(_key, name.split(","))}:
            index.setdefault(known, []).append(number)
    return index


def _key(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").split())


def _resolve(label: object, n_classes: int, index: Mapping[str, list[int]]) -> int:
    if isinstance(label, str):
        label = _by_name(label, n_classes, index)
    if isinstance(label, bool) or not isinstance(label, (int, np.integer)):
        raise TypeError(f"a class is a number or a name, got {label!r}")
    if not 0 <= label < n_classes:
        raise ValueError(f"class {label} is unknown: classes are 0..{n_classes - 1}")
    return int(label)


def _by_name(name: str, n_classes: int, index: Mapping[str, list[int]]) -> int:
    key = _key(name)
    found = index.get(key, [])
    if len(found) == 1:
        return found[0]
    if len(found) > 1:
        raise ValueError(f"{name!r} names the classes {found}: give the number of one")
    if key.isdecimal():
        return int(key)
    if not index:
        raise ValueError(
            f"class {name!r} is unknown: no names are known for this model, give a number "
            f"0..{n_classes - 1} or class_names"
        )
    similar = [f"{known} ({index[known][0]})" for known in sorted(index) if key in known]
    hint = f"; similar: {', '.join(similar[:_SHOWN])}" if similar else ""
    raise ValueError(f"class {name!r} is unknown{hint}: give a name of class_names or a number")
