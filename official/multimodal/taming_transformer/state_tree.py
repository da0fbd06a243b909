"""Find the state dict in what a checkpoint holds, and flatten whole modules to names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Iterator

from .errors import CheckpointError
from .pickle_values import Global, Inert
from .tensor_slots import brief
from .torch_pickle import is_tensor

# Where training programs put the weights inside of their checkpoints, in this order.
NESTS = ("state_dict", "model", "model_state_dict", "params")
MAX_DEPTH = 64
MAX_MODULES = 100_000


@dataclass(frozen=True)
class State:
    """Tensors by name, texts about them, and names of what was left out."""

    tensors: dict[str, Any]
    metadata: dict[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()


def find_state(root: Any) -> State:
    """Return the tensors of a state dict, of one nested in a checkpoint, or of a module.

    Raises:
        CheckpointError: There are no named tensors.
    """
    metadata: dict[str, str] = {}
    skipped: list[str] = []
    prefix = ""
    for _ in range(len(NESTS) + 1):
        if isinstance(root, Inert) and _children(root, "_modules", "_parameters"):
            tensors = dict(_walk(root, "", MAX_DEPTH, [0]))
            return State(tensors, metadata, tuple(skipped))
        nest = _nest(root)
        if nest is None:
            break
        rest = {k: v for k, v in root.items() if k != nest}
        metadata.update(_facts(rest))
        skipped += [prefix + _label(key) for key in rest]
        prefix, root = f"{prefix}{nest}.", root[nest]
    if not isinstance(root, dict):
        raise CheckpointError(f"holds {_kind(root)} where a map of named tensors is expected")
    tensors = {k: v for k, v in root.items() if isinstance(k, str) and is_tensor(v)}
    skipped += [prefix + _label(key) for key in root if key not in tensors]
    return State(tensors, metadata, tuple(skipped))


def _nest(root: Any) -> str | None:
    """Return the key under which the weights are nested, if they are."""
    if not isinstance(root, dict):
        return None
    return next((n for n in NESTS if _holds_weights(root.get(n), len(NESTS))), None)


def _holds_weights(value: Any, depth: int) -> bool:
    """Tell whether tensors lie in a map or module, or deeper; a map may hold itself."""
    if isinstance(value, Inert):
        return bool(_children(value, "_modules", "_parameters"))
    if not isinstance(value, dict) or depth == 0:
        return False
    inner = (_holds_weights(value.get(n), depth - 1) for n in NESTS)
    return any(is_tensor(v) for v in value.values()) or any(inner)


def _facts(entries: dict[Any, Any]) -> Iterator[tuple[str, str]]:
    """Yield the numbers and short texts of a checkpoint, such as its epoch."""
    for key, value in entries.items():
        if isinstance(key, str) and isinstance(value, (int, float, str)) and len(key) < 100:
            yield key, str(value)[:200]


def _label(key: Any) -> str:
    return str(key)[:100] if isinstance(key, (str, int, float, Global)) else _kind(key)


def _kind(value: Any) -> str:
    return brief(str(value.kind)) if isinstance(value, Inert) else f"a {type(value).__name__}"


def _children(module: Any, *names: str) -> list[tuple[str, Any]]:
    """Return the entries of a pickled module's maps of parameters, buffers or modules."""
    state = module.state if isinstance(module, Inert) else None
    maps = [state.get(name) for name in names] if isinstance(state, dict) else []
    return [
        (key, value)
        for table in maps
        if isinstance(table, dict)
        for key, value in table.items()
        if isinstance(key, str) and len(key) < 200
    ]


def _walk(module: Any, prefix: str, depth: int, seen: list[int]) -> Iterator[tuple[str, Any]]:
    """Yield the flat names of a pickled module's tensors; a file may nest it in itself."""
    seen[0] += 1
    if depth == 0 or seen[0] > MAX_MODULES:
        raise CheckpointError(f"nests modules deeper than {MAX_DEPTH} or more than {MAX_MODULES}")
    for key, value in _children(module, "_parameters", "_buffers"):
        if is_tensor(value):
            yield prefix + key, value
    for key, value in _children(module, "_modules"):
        yield from _walk(value, f"{prefix}{key}.", depth - 1, seen)
