"""What a run is of: its parameters as JSON, and a refusal to go on with other ones."""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping

import megengine.module as M
import numpy as np

from .files import remove
from .parameters import declared_parameters

logger = logging.getLogger(__name__)

_CHUNK = 1 << 20
_SHOWN_DIFFERENCES = 5
_SHOWN_CHARACTERS = 60


def weights_sha256(model: M.Module) -> str:
    """Return a hash of a filled network: names, shapes, types and values of its parameters.

    It takes about two seconds for each GB, and next to no memory: a tensor's own ``numpy`` would
    keep a second copy of it.
    """
    digest = hashlib.sha256()
    for name, parameter in declared_parameters(model):
        flat = parameter.reshape(-1)
        digest.update(f"{name} {tuple(parameter.shape)} {np.dtype(parameter.dtype).str}\n".encode())
        for start in range(0, flat.shape[0], _CHUNK):
            digest.update(flat[start : start + _CHUNK].numpy().tobytes())
    return digest.hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, through ``.{name}.part`` beside it.

    The name of the temporary file is fixed, so what a kill leaves is taken over by the next try.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with saying_how_to_go_on(path):
            part.write_bytes(data)
            part.replace(path)
    finally:
        remove(part)


@contextmanager
def saying_how_to_go_on(path: Path) -> Iterator[None]:
    """Give an ``OSError`` of the block (a full disk) the name of the file and the cure."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write {str(path)!r} ({error.strerror}): what is made stays; free some room "
            "and make the same call again to go on",
        ) from error


def settle(
    manifest: Path,
    parameters: Mapping[str, Any],
    adopt: Iterable[str],
    about: Mapping[str, Any],
    claims: Iterable[str],
) -> dict[str, Any]:
    """Return the run's parameters, begun or continued; writes the manifest if there is none.

    Args and errors: as for ``runs.open_run``.
    """
    wanted = _plain(parameters)
    if not manifest.exists():
        for name in claims:
            if (manifest.parent / name).exists():
                raise ValueError(
                    f"{str(manifest.parent / name)!r} exists and {manifest.name!r}, which would "
                    "tell what run it is of, does not: choose another root or name"
                )
        text = json.dumps({"parameters": wanted, "about": about}, indent=1, sort_keys=True)
        write_whole(manifest, (text + "\n").encode())
        return wanted
    begun, begun_about = _read(manifest)
    wanted.update({key: begun[key] for key in adopt if key in begun})
    differences = _differences(begun, wanted)
    if differences:
        raise ValueError(
            f"the run in {str(manifest)!r} was begun with other settings: {differences}; give the "
            "same ones to go on with it, or another root or name"
        )
    elsewhere = _differences(begun_about, _plain(about))
    if elsewhere:
        logger.warning("%s was begun elsewhere, pictures can differ a little: %s", manifest,
                       elsewhere)  # fmt: skip
    return wanted


def _read(manifest: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        data = json.loads(manifest.read_text(encoding="utf-8"))
        return dict(data["parameters"]), dict(data["about"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{str(manifest)!r} is no manifest of a run: remove it, or choose another root or name"
        ) from error


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as JSON gives them back."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say in one line which values differ, nested ones by dotted names; ``""`` if none does."""
    before, after = dict(_flat(old)), dict(_flat(new))
    found = [
        f"{key} was {_shown(before, key)}, now {_shown(after, key)}"
        for key in [*before, *(key for key in after if key not in before)]
        if key not in before or key not in after or before[key] != after[key]
    ]
    more = f" and {len(found) - _SHOWN_DIFFERENCES} more" * (len(found) > _SHOWN_DIFFERENCES)
    return ", ".join(found[:_SHOWN_DIFFERENCES]) + more


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield above + key, value


def _shown(values: Mapping[str, Any], key: str) -> str:
    text = json.dumps(values[key]) if key in values else "absent"
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
