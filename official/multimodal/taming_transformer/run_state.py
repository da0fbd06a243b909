"""How far a picture has come: saved half-way, found again, and compared with what is wanted."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping

import numpy as np

from .image_files import one_line
from .manifest import write_whole

# What changes files beside the picture, or its last bits, and not what it is. (The model is known
# by its weights: its name may be given or not.)
OUTPUT_ONLY = (
    *("update_every", "animate", "draw_window", "fps", "segmentation_save", "cache_memory"),
    *("model", "about"),
)

_LARGEST_PARTIAL = 1 << 30
_SHOWN_DIFFERENCES = 5


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a run has come.

    Attributes:
        indices: Tokens int32 (B, h, w), or ``None`` before the first.
        done: Cells drawn.
        shown: Numbers of the cells after which there was a preview.
    """

    indices: np.ndarray | None = None
    done: int = 0
    shown: tuple[int, ...] = ()


def partial_path(root: Path, name: str) -> Path:
    """Return where a run that is not finished is saved."""
    return root / f"{name}.partial.npz"


def write_partial(path: Path, record: Mapping[str, Any], progress: Progress) -> None:
    """Save a run half-way, whole or not at all."""
    arrays = {
        "done": np.array(progress.done),
        "shown": np.array(progress.shown, np.int64),
        "record": np.array(json.dumps(record)),
    }
    if progress.indices is not None:
        arrays["indices"] = progress.indices
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_whole(path, buffer.getvalue())


def find_progress(root: Path, name: str) -> tuple[dict[str, Any], Progress] | None:
    """Return the record and progress of the run that is there, finished or not."""
    finished, partial = root / f"{name}.json", partial_path(root, name)
    if partial.exists():
        return _read_partial(partial)
    if not finished.exists():
        return None
    try:
        data = json.loads(finished.read_text(encoding="utf-8"))
        indices = np.array(data.pop("indices"), np.int32)
        shown = tuple(int(number) for number in data.pop("previews"))
        data.pop("files")
        return data, Progress(indices, int(data["cells"]), shown)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError) as error:
        raise ValueError(
            f"{str(finished)!r} is no record of a picture ({one_line(error)}): choose another root "
            "or name, or pass overwrite=True"
        ) from error


def _read_partial(path: Path) -> tuple[dict[str, Any], Progress]:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _LARGEST_PARTIAL:
                raise ValueError("it unpacks to more than a gigabyte")
        with np.load(path, allow_pickle=False) as arrays:
            record = json.loads(str(arrays["record"]))
            indices = arrays["indices"].astype(np.int32) if "indices" in arrays.files else None
            shown = tuple(int(number) for number in arrays["shown"])
            return dict(record), Progress(indices, int(arrays["done"]), shown)
    except (ValueError, KeyError, TypeError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{str(path)!r} cannot be gone on with ({one_line(error)}): remove it to begin anew"
        ) from error


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return every value under its path, those left out that the picture does not hang on."""
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if key in OUTPUT_ONLY:
            continue
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differences(begun: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Say in one line which settings that the picture hangs on differ; ``""`` if none does."""
    before, now = _flat(begun), _flat(wanted)
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    more = f"; and {len(keys) - _SHOWN_DIFFERENCES} more" * (len(keys) > _SHOWN_DIFFERENCES)
    shown = [f"{k} is {before.get(k)!r} there and {now.get(k)!r} now" for k in keys]
    return "; ".join(shown[:_SHOWN_DIFFERENCES]) + more
