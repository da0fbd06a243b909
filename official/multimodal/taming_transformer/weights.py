"""Find the weights of a model: shipped, cached, put there by hand, mirrored or downloaded."""

from __future__ import annotations

import contextlib
import logging
import os
from logging import INFO, WARNING
from pathlib import Path
from typing import Iterator, Sequence

from .bar import FileProgress, terminal_bar
from .cache import bundled_file, cache_dir, cached_weights, native_file
from .conversion import source_files
from .convert import Candidates, Shapes
from .errors import CheckpointError, WeightsUnavailableError
from .files import locked
from .install import Request, install
from .origins import Origin, by_hand, mirrored, published
from .pretrained import SOURCES
from .sources import Source

logger = logging.getLogger(__name__)


def find_weights(
    name: str,
    expected: Shapes,
    *,
    sources: Sequence[Source] | None = None,
    offline: bool | None = None,
    progress: FileProgress | None = None,
    candidates: Candidates | None = None,
) -> Path:
    """Return a native safetensors file with the weights of a model, fetching it if need be.

    Looked through in this order: the file that the checkout ships; the cache (`cache_dir`);
    checkpoints that somebody has put there by hand, as ``<name>.ckpt`` (or ``.pkl``, ``.pth``,
    ``.pt``, ``.bin``) or under the name they are published by; the mirror named by
    ``TAMING_MIRROR``, a folder or an address with such files or ``<name>.safetensors``; the
    published sources. What is found is converted once and cached; nothing in the cache changes
    unless all has gone well.

    Args:
        name: The model.
        expected: Parameter name -> shape.
        sources: Instead of the published ones.
        offline: Ask no server; None: as ``TAMING_OFFLINE`` says (``1``: offline).
        progress: Told of a file's bytes; None draws a bar if stderr is a terminal.
        candidates: Gives every model's shapes, to say which model a wrong file is of.

    Returns:
        The path of the file.

    Raises:
        CheckpointError: the cached file is not what was recorded.
        WeightsUnavailableError: nothing worked; it says what was tried, and what to do.
    """
    shipped = bundled_file(name)
    if shipped.is_file():
        return shipped
    found = _settled(name, expected)
    if found is not None:
        return found
    request = Request(
        name,
        expected,
        tuple(SOURCES.get(name, ()) if sources is None else sources),
        terminal_bar() if progress is None else progress,
        is_offline() if offline is None else offline,
        candidates,
    )
    with _exclusive(name):
        return cached_weights(name, expected) or _obtain(request)


def add_weights(
    name: str,
    expected: Shapes,
    files: Sequence[str | Path],
    *,
    part: str = "",
    candidates: Candidates | None = None,
) -> Path:
    """Convert a checkpoint of the user's into the cached weights of a model.

    Args:
        name: The model.
        expected: Parameter name -> shape.
        files: The checkpoint; for OpenAI's dVAE its two files, or a folder that has them.
        part: Module to take out of a larger checkpoint, such as ``first_stage_model``.
        candidates: Gives every model's shapes, to say which model a wrong file is of.

    Returns:
        The path of the cached file.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is of another model or cannot be read.
        ValueError: there is no such part, or the two files' names do not say what they are.
    """
    named = source_files(files)
    sources = tuple(SOURCES.get(name, ()))
    usual = next((source.part for source in sources if source.part), "")
    origin = Origin(
        tuple(
            (path, Source("", member="*.ckpt", prefix=prefix, part=usual))
            for prefix, path in named.items()
        )
    )
    for path in named.values():
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
    request = Request(name, expected, sources, terminal_bar(), candidates=candidates, part=part)
    with _exclusive(name):
        try:
            return install(request, origin)
        except CheckpointError as error:
            raise CheckpointError(_located(str(error), origin)) from None


def _settled(name: str, expected: Shapes) -> Path | None:
    """Return the cached file where nothing is wrong with it; nothing is locked or written."""
    try:
        return cached_weights(name, expected, adopt=False)
    except CheckpointError:  # or it is just being replaced: a second look, locked, will tell
        return None


def is_offline() -> bool:
    """Tell whether ``TAMING_OFFLINE`` forbids asking any server."""
    return os.environ.get("TAMING_OFFLINE", "").lower() not in ("", "0", "no", "off", "false")


@contextlib.contextmanager
def _exclusive(name: str) -> Iterator[None]:
    """Make the cache folder and hold a model's lock in it."""
    folder = native_file(name).parent
    with contextlib.ExitStack() as held:
        try:
            (folder / "downloads").mkdir(parents=True, exist_ok=True)
            lock = locked(folder / f"{name}.lock", purpose=f"the weights of {name}")
            held.enter_context(lock)
        except OSError as error:
            raise WeightsUnavailableError(
                f"cannot use the cache folder {folder} ({error}); name another by TAMING_CACHE"
            ) from error
        yield


def _origins(request: Request) -> Iterator[Origin]:
    yield from by_hand(request.name, request.sources, cache_dir())
    mirror = os.environ.get("TAMING_MIRROR")
    if mirror:
        yield from mirrored(request.name, request.sources, mirror)
    yield from published(request.sources)


def _obtain(request: Request) -> Path:
    tried = []
    for origin in _origins(request):
        try:
            return install(request, origin)
        except (CheckpointError, OSError) as error:
            tried.append(_located(str(error), origin))
            # somebody put that file there for a purpose, and a download follows instead
            logger.log(INFO if origin.remote else WARNING, "%s: %s", request.name, tried[-1])
    raise WeightsUnavailableError(_advice(request, tried))


def _located(text: str, origin: Origin) -> str:
    """Put the name of an origin before what is wrong with it, unless it is there already."""
    return text if text.startswith(origin.label) else f"{origin.label}: {text}"


def _advice(request: Request, tried: Sequence[str]) -> str:
    """Return the final message: what was tried, why it failed, and what the user can do."""
    name = request.name
    lines = [f"no weights for {name}; places tried: {len(tried)}", *(f"  {t}" for t in tried)]
    mirror = os.environ.get("TAMING_MIRROR")
    if not request.sources:
        lines.append(f"  no published source is known, and there is no {bundled_file(name)}")
    if not mirror:
        lines.append("  no mirror is named by TAMING_MIRROR")
    lines += [
        f"What you can do: put a checkpoint that you have into {cache_dir()} as {name}.ckpt",
        f"  (other names: `python tools/weights.py path {name}`), or run",
        f"  `python tools/weights.py add {name} FILE`, or build the model with weights=FILE,",
        "  or name a folder or address that has it by TAMING_MIRROR.",
    ]
    return "\n".join(lines)
