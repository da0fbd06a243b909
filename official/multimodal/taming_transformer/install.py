"""Turn one origin of a model's weights into the converted file in the cache, or leave all as is."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Mapping

from .archive import extract_member, find_member
from .bar import FileProgress
from .cache import download_file, leftovers, put_in_place, read_record
from .conversion import Sources, convert_file
from .convert import Candidates, Shapes, part_prefix
from .download import download
from .errors import CheckpointError, DownloadError
from .files import remove, require_space, sha256_of
from .origins import Origin
from .partial import shown
from .sources import Source

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """The weights that are wanted.

    Attributes:
        name: The model.
        expected: Parameter name -> shape.
        sources: Where it is published.
        progress: Told of a file's bytes.
        offline: Whether no server may be asked.
        candidates: Gives every model's shapes, to say which model a wrong file is of.
        part: The module that must be taken out of the file; ``""``: as its source says, if it
            has that module.
    """

    name: str
    expected: Shapes
    sources: tuple[Source, ...]
    progress: FileProgress
    offline: bool = False
    candidates: Candidates | None = None
    part: str = ""


def install(request: Request, origin: Origin) -> Path:
    """Fetch, unpack and convert one origin, and make it the cached file of its model.

    Returns:
        The path of the cached file.

    Raises:
        OSError: it cannot be had, `DownloadError` where that is a server's doing or there is
            not enough room.
        CheckpointError: it cannot be read or is another model.
    """
    if origin.remote and request.offline:
        raise DownloadError("not asked: offline")
    fetched: dict[str, dict[str, Any]] = {}
    places = [(path or _fetch(request, source, fetched), source) for path, source in origin.files]
    new = download_file(request.name, "converted", ".safetensors")
    unpacked: list[Path] = []
    try:
        files = {s.prefix: _unwrapped(request.name, path, s, unpacked) for path, s in places}
        digest = _convert(request, files, {s.part for _, s in places if s.part}, new)
    except CheckpointError:  # what was fetched is of no use; what was put by hand is the user's
        remove(*(path for (path, _), (own, _) in zip(places, origin.files) if own is None))
        raise
    finally:
        remove(*unpacked)
    logger.info("%s: converted from %s", request.name, origin.label)
    path = put_in_place(request.name, new, origin.label, digest, fetched)
    remove(*leftovers(request.name))
    return path


def _fetch(request: Request, source: Source, fetched: dict[str, dict[str, Any]]) -> Path:
    """Download the file of a source and compare it with what was first fetched from there."""
    suffix = PurePosixPath(source.file_name or "checkpoint.ckpt").suffix
    target = download_file(request.name, source.url, suffix)
    bare = not source.member  # else the digest is that of a file inside, perhaps
    label = source.file_name or target.name
    logger.info("%s: asking %s", request.name, shown(source.url))
    download(
        source.url,
        target,
        sha256=source.sha256 if bare else None,
        size=source.size if bare else None,
        headers=source.headers,
        progress=lambda done, total: request.progress(label, done, total),
    )
    digest = source.sha256 if bare and source.sha256 else sha256_of(target)
    known = read_record(request.name).get("fetched", {}).get(shown(source.url))
    if known is not None and known["sha256"] != digest:
        remove(target)
        raise DownloadError(
            f"the file has changed: its SHA-256 is {digest}, was {known['sha256']} when first "
            f"fetched; if that is right, `python tools/weights.py remove --forget {request.name}`"
        )
    fetched[shown(source.url)] = {"sha256": digest, "size": target.stat().st_size}
    return target


def _unwrapped(name: str, path: Path, source: Source, unpacked: list[Path]) -> Path:
    """Return the checkpoint in `path`: itself, or unpacked from the zip that it is."""
    member = find_member(path, source.member) if source.member else None
    if member is None:
        checkpoint = path
    else:
        checkpoint = download_file(name, f"{path}!{member}", ".ckpt")
        unpacked.append(checkpoint)
        extract_member(path, member, checkpoint)
    if source.member and source.sha256:
        digest = sha256_of(checkpoint)
        if digest != source.sha256:
            raise CheckpointError(
                f"wrong bytes: SHA-256 of the checkpoint is {digest}, expected {source.sha256}"
            )
    return checkpoint


def _convert(request: Request, files: Mapping[str, Path], parts: set[str], target: Path) -> str:
    """Write the expected tensors to a native file in the stored precision; its SHA-256."""
    with Sources(files) as source:
        dtypes = {info.dtype for info in source.tensors.values()}
        # a file put by hand may be the bare part already
        held = [p for p in parts if any(n.startswith(part_prefix(p)) for n in source.tensors)]
    dtype = "float16" if dtypes == {"float16"} else "float32"
    numbers = sum(math.prod(shape) for shape in request.expected.values())
    require_space(target, numbers * (2 if dtype == "float16" else 4))
    return convert_file(
        files,
        request.expected,
        target,
        dtype=dtype,
        part=request.part or next(iter(held), None),
        candidates=request.candidates,
        metadata={"model": request.name},
    ).sha256
