"""The folder of converted weights: where it is, what each file should be, and whether it is."""

from __future__ import annotations

import hashlib
import os
import re
import struct
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Mapping

from .checkpoint import open_checkpoint
from .convert import Shapes
from .errors import CheckpointError
from .files import read_json, remove, sha256_of, write_json
from .pretrained import SHIPPED


def cache_dir() -> Path:
    """Return the folder of cached weights; it need not exist.

    It is ``$TAMING_CACHE``, or else ``taming_transformer`` in MegEngine's home, which is
    ``$MGE_HOME``, ``$XDG_CACHE_HOME/megengine`` or ``~/.cache/megengine``.
    """
    named = os.environ.get("TAMING_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("MGE_HOME") or f"{caches}/megengine"
    return Path(home).expanduser().absolute() / "taming_transformer"


def bundled_file(name: str) -> Path:
    """Return where the checkout keeps the weights of a model that it ships, if it does."""
    root = Path(__file__).resolve().parents[3]
    return root / "assets" / "weights" / f"{SHIPPED.get(name, _checked(name))}.safetensors"


def native_file(name: str) -> Path:
    """Return where the cache keeps the converted weights of a model.

    Raises:
        ValueError: `name` is no name of a model.
    """
    return cache_dir() / f"{_checked(name)}.safetensors"


def _checked(name: str) -> str:
    """Return a name that cannot lead out of the folder."""
    if not re.fullmatch(r"\w+", name, re.ASCII):
        raise ValueError(f"expected a model's name of letters, digits and underscores: {name!r}")
    return name


def record_file(name: str) -> Path:
    """Return the JSON file that says where the converted weights came from and what they are."""
    return native_file(name).with_suffix(".json")


def read_record(name: str) -> dict[str, Any]:
    """Return what is recorded of a model, ``{}`` where nothing is.

    Keys: ``model``; ``file`` (``sha256``, ``size``, ``header_sha256`` of the converted file),
    ``source``, ``date``; and ``fetched``: address -> ``sha256`` and ``size`` of what was first
    fetched from there.
    """
    return read_json(record_file(name))


def put_in_place(
    name: str, new: Path, source: str, sha256: str, fetched: Mapping[str, Mapping[str, Any]]
) -> Path:
    """Make a complete native file the cached one of a model, and record it.

    Args:
        name: The model.
        new: The file, on the cache's disk; it is moved.
        source: Where the weights came from: an address or a path.
        sha256: Its digest.
        fetched: Address -> ``sha256`` and ``size`` of a file fetched now; earlier ones stay.

    Returns:
        The path of the cached file.
    """
    record = read_record(name)
    if record.pop("file", None) is not None:  # a kill must not leave it with the new file
        write_json(record_file(name), record)
    new.replace(native_file(name))
    _record(name, source, sha256, fetched)
    return native_file(name)


def _record(name: str, source: str, sha256: str, fetched: Mapping[str, Mapping[str, Any]]) -> None:
    path = native_file(name)
    facts = {
        "sha256": sha256,
        "size": path.stat().st_size,
        "header_sha256": _header_digest(path),
    }
    known = {**read_record(name).get("fetched", {}), **fetched}
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    record = {"model": name, "source": source, "date": date, "file": facts, "fetched": known}
    write_json(record_file(name), record)


def check_shapes(path: Path, expected: Shapes) -> None:
    """Check that a file is a native one of exactly the expected tensors.

    Raises:
        CheckpointError: it is not.
    """
    with open_checkpoint(path) as file:
        found = {name: info.shape for name, info in file.tensors.items()}
        form = file.format
    if form == "safetensors" and found == dict(expected):
        return
    wrong = sorted(set(found.items()) ^ set(expected.items()))
    differs = f"; first difference: {wrong[0][0]}" if wrong else ""
    raise CheckpointError(
        f"{path} is a {form} file of {len(found)} tensors, expected safetensors with the "
        f"{len(expected)} of the model{differs}"
    )


def cached_weights(name: str, expected: Shapes, *, adopt: bool = True) -> Path | None:
    """Return the cached file of a model after a quick look at it, or None if there is none.

    Length, header and names are compared with the record and the model; the bytes of the
    tensors are not read: `verify_weights` does that.

    Args:
        name: The model.
        expected: Parameter name -> shape.
        adopt: Record a file that somebody has put there, if it fits; else it is none.

    Raises:
        CheckpointError: the file is not the recorded one or not of this model.
    """
    path = native_file(name)
    if not path.is_file():
        return None
    facts = read_record(name).get("file")
    if facts is None:
        if not adopt:
            return None
        check_shapes(path, expected)
        _record(name, f"put by hand: {path}", sha256_of(path), {})
        return path
    if path.stat().st_size != facts["size"] or _header_digest(path) != facts["header_sha256"]:
        raise CheckpointError(
            f"{path} has changed since it was recorded (was {facts['size']} bytes, is "
            f"{path.stat().st_size}); run `python tools/weights.py remove {name}` and fetch it anew"
        )
    check_shapes(path, expected)
    return path


def verify_weights(name: str) -> str:
    """Compare the cached file of a model, byte for byte, with what was recorded.

    Returns:
        Its SHA-256.

    Raises:
        FileNotFoundError: there is no cached file.
        CheckpointError: it is not the recorded one.
    """
    path = native_file(name)
    if not path.is_file():
        raise FileNotFoundError(f"there is no cached file {path}; fetch it first")
    digest = sha256_of(path)
    recorded = read_record(name).get("file", {}).get("sha256")
    if recorded is None:
        raise CheckpointError(f"{path} has no record; load the model once, which makes one")
    if digest != recorded:
        raise CheckpointError(
            f"{path} is damaged: its SHA-256 is {digest}, recorded is {recorded}; "
            f"run `python tools/weights.py remove {name}` and fetch it anew"
        )
    return digest


def remove_weights(name: str, *, forget: bool = False) -> bool:
    """Remove the cached file of a model and what was left of its downloads.

    Args:
        name: The model.
        forget: Forget the digests of its sources too, so that changed ones are accepted.

    Returns:
        Whether there was a cached file.
    """
    path = native_file(name)
    existed = path.is_file()
    remove(path, *leftovers(name))
    record = read_record(name)
    if forget or not record.get("fetched"):
        remove(record_file(name))
    else:
        write_json(record_file(name), {"model": name, "fetched": record["fetched"]})
    return existed


def download_file(name: str, url: str, suffix: str) -> Path:
    """Return where a source of a model is downloaded to, a place of its own for each address."""
    tag = hashlib.sha256(url.encode()).hexdigest()[:8]
    return native_file(name).parent / "downloads" / f"{name}-{tag}{suffix}"


def leftovers(name: str) -> list[Path]:
    """Return the files, whole and in part, that downloads for a model have left."""
    folder = native_file(name).parent / "downloads"
    pattern = re.compile(r"\.?" + re.escape(name) + r"-[0-9a-f]{8}\..*")
    files = folder.iterdir() if folder.is_dir() else ()
    return [path for path in files if pattern.fullmatch(path.name)]


def _header_digest(path: Path) -> str:
    """Return the SHA-256 of a safetensors file's header: names, shapes and places of tensors."""
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        return hashlib.sha256(start + file.read(min(length, 16 << 20))).hexdigest()
