"""Folders of pictures that are made over hours: begun once, gone on with, never half right.

A run is a folder with a manifest (what is made, JSON), the files themselves, and one ledger a
shard in the format of ``sha256sum``: only a file that has its ledger line, and still has that
hash, counts as made. Everything that a kill leaves behind is overwritten by the next start.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping, Tuple

from .errors import DownloadError
from .files import locked, sha256_of
from .manifest import saying_how_to_go_on, settle, write_whole

Shard = Tuple[int, int]
"""(k, n): this process does part k (from 0) of n."""

MANIFEST_WAIT = 60.0
"""Seconds to wait for another process that is writing the manifest."""

_LEDGER_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def check_shard(shard: Shard | None) -> Shard:
    """Return the shard, (0, 1) for ``None``.

    Raises:
        ValueError: It is not two whole numbers (k, n) with 0 <= k < n.
    """
    if shard is None:
        return (0, 1)
    parts = tuple(shard) if isinstance(shard, (tuple, list)) else ()
    if len(parts) != 2 or not all(type(part) is int for part in parts):
        raise ValueError(f"shard must be two whole numbers (k, n), got {shard!r}")
    if not 0 <= parts[0] < parts[1]:
        raise ValueError(f"shard (k, n) needs 0 <= k < n, got {shard!r}: parts count from 0")
    return (parts[0], parts[1])


class Run:
    """An open run. ``open_run`` makes it.

    Attributes:
        root: Its folder.
        parameters: What its manifest says.
    """

    def __init__(self, root: Path, prefix: str, shard: Shard, parameters: Mapping[str, Any]):
        self.root = root
        self.parameters = parameters
        self._ledger = root / f"{_part_name(prefix, shard)}.sha256"
        self._ledgers = f"{glob.escape(prefix)}run.*-of-*.sha256"
        self._known: dict[str, set[str]] = {}
        self.reload()

    def reload(self) -> None:
        """Read what every shard has recorded so far."""
        for ledger in sorted(self.root.glob(self._ledgers)):
            for line in ledger.read_text(encoding="utf-8", errors="replace").splitlines():
                match = _LEDGER_LINE.fullmatch(line)  # a torn line is no line
                if match:
                    self._known.setdefault(match[2], set()).add(match[1])

    def is_whole(self, name: str) -> bool:
        """Tell whether a file is recorded and still has the bytes that were recorded.

        Args:
            name: Path below the root, with ``/``.
        """
        recorded, path = self._known.get(name, set()), self.root / name
        return bool(recorded) and path.is_file() and sha256_of(path) in recorded

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files that belong together and record them; those that are whole stay untouched.

        Raises:
            OSError: The disk is full or the folder cannot be written.
        """
        made = {}
        for name, data in files.items():
            if not self.is_whole(name):
                path = self.root / name
                with saying_how_to_go_on(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, data)
                made[name] = hashlib.sha256(data).hexdigest()
        self.record(made)

    def record(self, made: Mapping[str, str]) -> None:
        """Add files (name -> SHA-256) that stand in the folder to the ledger, in one write.

        Raises:
            OSError: The disk is full or the folder cannot be written.
        """
        if not made:
            return
        lines = "".join(f"{sha256}  {name}\n" for name, sha256 in made.items())
        with saying_how_to_go_on(self._ledger), self._ledger.open("ab+") as file:
            file.seek(0, os.SEEK_END)
            if file.tell():
                file.seek(-1, os.SEEK_END)
                lines = lines if file.read(1) == b"\n" else "\n" + lines
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())
        for name, sha256 in made.items():
            self._known.setdefault(name, set()).add(sha256)


@contextmanager
def open_run(
    root: str | os.PathLike[str],
    parameters: Mapping[str, Any],
    *,
    prefix: str = "",
    adopt: Iterable[str] = (),
    about: Mapping[str, Any] | None = None,
    shard: Shard = (0, 1),
    claims: Iterable[str] = (),
) -> Iterator[Run]:
    """Begin a run, or go on with the one that is there; its shard is held against other processes.

    Args:
        root: Folder of the run; made if need be.
        parameters: Everything that the files depend on; values that JSON can hold.
        prefix: Of the manifest's and ledgers' names: several runs can share a folder.
        adopt: Keys whose value comes from the manifest where there is one (a seed nobody gave).
        about: Recorded for people; a run that is continued elsewhere is only warned of.
        shard: Part of the run that this process makes.
        claims: Names of files that a new run may write; they must not exist yet.

    Yields:
        The open ``Run``.

    Raises:
        ValueError: The folder holds a run with other parameters (the message has the
            differences), or files that a new run would overwrite.
        RuntimeError: Another process is at work on the same files.
        OSError: The folder cannot be made or written.
    """
    folder = Path(root)
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _hold(folder, prefix, shard, stack)
        except DownloadError as error:
            raise RuntimeError(
                f"another process is at work on shard {shard[0]} of {shard[1]} of the run in "
                f"{str(folder)!r}, or on another division of it: wait for it, or end it"
            ) from error
        except OSError as error:
            raise OSError(
                error.errno, f"cannot write in {str(folder)!r} ({error.strerror}): choose another"
            ) from error
        manifest = folder / f"{prefix}run.json"
        with locked(folder / f"{prefix}run.json.lock", wait=MANIFEST_WAIT, purpose="the manifest"):
            settled = settle(manifest, parameters, adopt, about or {}, claims)
        yield Run(folder, prefix, shard, settled)


def _part_name(prefix: str, shard: Shard) -> str:
    return f"{prefix}run.{shard[0]}-of-{shard[1]}"


def _hold(folder: Path, prefix: str, shard: Shard, stack: ExitStack) -> None:
    """Lock a shard; then see that nobody works on a division into another number of shards."""
    stack.enter_context(locked(folder / f"{_part_name(prefix, shard)}.lock", wait=0))
    for other in folder.glob(f"{glob.escape(prefix)}run.*-of-*.lock"):
        if not other.name.endswith(f"-of-{shard[1]}.lock"):
            with locked(other, wait=0):
                pass  # nobody held it
