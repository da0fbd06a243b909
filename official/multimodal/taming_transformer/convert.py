"""Match the tensors of a checkpoint, whatever its layout, with those that a network expects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Mapping, Union

import numpy as np

from .errors import CheckpointError
from .layouts import LAYOUTS
from .training_state import Shapes, without_training

Candidates = Union[Mapping[str, Shapes], Callable[[], Mapping[str, Shapes]]]

PARTS: Mapping[str, str] = {
    "first_stage": "first_stage_model.",
    "cond_stage": "cond_stage_model.",
    "transformer": "transformer.",
}


@dataclass(frozen=True)
class TensorRef:
    """The tensor of a file that becomes one of a network's."""

    source: str
    shape: tuple[int, ...]

    def transform(self, array: np.ndarray) -> np.ndarray:
        """Return the array in the shape that the network expects; a view."""
        return array.reshape(self.shape)


@dataclass(frozen=True)
class Plan:
    """Which tensor of a file becomes which of a network's.

    Attributes:
        take: Expected name -> the file's tensor; one for every expected name, in its order.
        dropped: Name in the file -> why it is not needed.
        layout: Whose naming the file follows.
    """

    take: Mapping[str, TensorRef]
    dropped: Mapping[str, str]
    layout: str


@dataclass(frozen=True)
class _Match:
    """How far the tensors of a file, in one layout, are those expected."""

    layout: str
    take: Mapping[str, str]
    missing: tuple[str, ...]
    misshapen: tuple[str, ...]
    unexpected: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every tensor agrees."""
        return not (self.missing or self.misshapen or self.unexpected)

    @property
    def likeness(self) -> float:
        """Share of the expected and the found tensors that agree, 0 to 1."""
        others = len(self.missing) + len(self.misshapen) + len(self.unexpected)
        return len(self.take) / max(1, len(self.take) + others)


def plan_conversion(
    found: Shapes,
    expected: Shapes,
    *,
    part: str | None = None,
    candidates: Candidates | None = None,
) -> Plan:
    """Match a checkpoint's tensors with those that a network expects, strictly.

    Args:
        found: Name -> shape of the file's tensors.
        expected: Name -> shape of the network's, in the original's naming. If ``part`` is given
            and these are of a whole transformer model, that part of them is expected.
        part: ``"first_stage"``, ``"cond_stage"`` or ``"transformer"`` (with or without
            ``_model``) to take that module out of a transformer's checkpoint.
        candidates: Model name -> expected shapes (or a function that returns them), to say which
            model a file of another one looks like.

    Returns:
        The plan; what it drops is known to be of no use for inference.

    Raises:
        ValueError: ``part`` is unknown.
        CheckpointError: Tensors are missing, unexpected or of another shape.
    """
    prefix = part_prefix(part)
    expected = _inside(expected, prefix) or expected
    inside = _inside(found, prefix)
    if not inside:
        raise CheckpointError(f"holds no {prefix[:-1]}{_resemblance(found, candidates)}")
    dropped = {name: f"outside of {prefix[:-1]}" for name in found if not name.startswith(prefix)}
    kept, training = without_training(inside)
    dropped.update({prefix + name: reason for name, reason in training.items()})
    match = _best_match(kept, expected)
    if not match.complete:
        hint = _resemblance(found, candidates) + _part_hint(found, expected)
        raise CheckpointError(_complaint(match, len(expected)) + hint)
    take = {name: TensorRef(prefix + source, expected[name]) for name, source in match.take.items()}
    return Plan(take, dropped, match.layout)


def part_prefix(part: str | None) -> str:
    """Return what the names of a part begin with in a transformer's checkpoint.

    Raises:
        ValueError: There is no such part.
    """
    if not part:
        return ""
    prefix = PARTS.get(part, f"{part}.")
    if prefix not in PARTS.values():
        raise ValueError(f"there is no part {part!r}; parts are {', '.join(PARTS)}")
    return prefix


def fitting_models(found: Shapes, candidates: Candidates) -> tuple[str, ...]:
    """Return the names of all models whose tensors are exactly those found."""
    kept, _ = without_training(found)
    table = candidates() if callable(candidates) else candidates
    return tuple(
        name
        for name, shapes in table.items()
        if len(shapes) == len(kept) and _best_match(kept, shapes).complete
    )


def guess_model(found: Shapes, candidates: Candidates) -> str | None:
    """Return the model that the tensors found fit, or else the one most like them.

    ``None`` where less than half of the tensors agree with any.
    """
    kept, _ = without_training(found)
    table = candidates() if callable(candidates) else candidates
    likeness = {name: _best_match(kept, shapes).likeness for name, shapes in table.items()}
    best = max(likeness, key=lambda name: likeness[name], default=None)
    return best if best is not None and likeness[best] >= 0.5 else None


def inside_part(shapes: Shapes, part: str) -> Shapes:
    """Return the shapes of one part of a transformer's, by their names in that part."""
    return _inside(shapes, part_prefix(part))


def _inside(shapes: Shapes, prefix: str) -> Shapes:
    return {name[len(prefix) :]: s for name, s in shapes.items() if name.startswith(prefix)}


def _best_match(found: Shapes, expected: Shapes) -> _Match:
    """Return the match in the layout that explains most of the tensors found."""
    best: _Match | None = None
    for layout, rename in LAYOUTS.items():
        match = _match(layout, found, expected, rename(expected))
        if match.complete:
            return match
        if best is None or match.likeness > best.likeness:
            best = match
    if best is None:
        raise RuntimeError("there is no layout to match with")
    return best


def _match(layout: str, found: Shapes, expected: Shapes, sources: Mapping[str, str]) -> _Match:
    take, missing, misshapen = {}, [], []
    for name, shape in expected.items():
        source = sources[name]
        if source not in found:
            missing.append(source)
        elif not _same_tensor(found[source], shape):
            misshapen.append(f"{source} is {found[source]}, not {shape}")
        else:
            take[name] = source
    known = set(sources.values())
    unexpected = tuple(name for name in found if name not in known)
    return _Match(layout, take, tuple(missing), tuple(misshapen), unexpected)


def _same_tensor(found: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Tell whether only axes of length 1 that a layout adds or leaves out differ.

    MegEngine keeps a convolution's bias as (1, C, 1, 1); diffusers keeps a 1x1 convolution of
    attention as a matrix.
    """
    bias = len(expected) == 1 and found == (1, *expected, 1, 1)
    matrix = len(found) == 2 and expected == (*found, 1, 1)
    return found == expected or bias or matrix


def _complaint(match: _Match, expected: int) -> str:
    kinds = [
        (match.missing, f"of {expected} tensors missing"),
        (match.misshapen, "of another shape"),
        (match.unexpected, "unexpected"),
    ]
    texts = [f"{len(names)} {text} ({_some(names)})" for names, text in kinds if names]
    return f"holds another model than the one asked for: {', '.join(texts)}"


def _some(names: tuple[str, ...]) -> str:
    shown = (name if name.isprintable() else repr(name) for name in names[:3])
    return ", ".join(name[:120] for name in shown) + (", ..." if len(names) > 3 else "")


def _resemblance(found: Shapes, candidates: Candidates | None) -> str:
    if candidates is None:
        return ""
    exact = fitting_models(found, candidates)
    if exact:
        return f"; it is {' or '.join(exact[:4])}"
    like = guess_model(found, candidates)
    return f"; it looks most like {like}" if like else ""


def _part_hint(found: Shapes, expected: Shapes) -> str:
    """Name the parts that a transformer's checkpoint has and a single network could be."""
    if any(name.startswith(tuple(PARTS.values())) for name in expected):
        return ""
    parts = [p for p, prefix in PARTS.items() if any(name.startswith(prefix) for name in found)]
    return f"; it has the parts {', '.join(parts)}: ask for one of them" if parts else ""
