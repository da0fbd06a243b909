"""Finished runs, ready to be downloaded: held in memory, named by tokens that cannot be guessed."""

from __future__ import annotations

import io
import json
import math
import secrets
import tempfile
import threading
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
from PIL import PngImagePlugin

from official.multimodal import taming_transformer as taming
from official.multimodal.taming_transformer.video import VideoWriter
from tools.web.following import Done
from tools.web.uploads import png_bytes

TYPES = {
    "png": "image/png",
    "mp4": "video/mp4",
    "json": "application/json",
    "zip": "application/zip",
}
MEMORY = 256 * 2**20
"""Bytes of results that are kept; the oldest go first."""

FPS = 12
HOLD = 1.5
"""Seconds that a film stands still at its end."""


class Results:
    """Token -> files of a run."""

    def __init__(self, memory: int = MEMORY):
        self._memory = memory
        self._files: OrderedDict[str, Mapping[str, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, files: Mapping[str, bytes]) -> str:
        """Keep files and return their token; the oldest ones make room."""
        token = secrets.token_urlsafe(18)
        with self._lock:
            self._files[token] = dict(files)
            while len(self._files) > 1 and self._size() > self._memory:
                self._files.popitem(last=False)
        return token

    def get(self, token: str, name: str) -> bytes | None:
        """Return a file, ``None`` where there is none (any more)."""
        with self._lock:
            return self._files.get(token, {}).get(name)

    def _size(self) -> int:
        return sum(len(data) for files in self._files.values() for data in files.values())


def packed(done: Done) -> dict[str, bytes]:
    """Return the files of a run: picture(s), film, and all that is needed to make them again."""
    facts = {**done.facts, "version": taming.__version__}
    record = json.dumps(facts, indent=1) + "\n"
    name = _name(facts)
    pictures = {
        f"{name}{_number(index, len(done.pictures))}.png": png_bytes(picture, _info(facts))
        for index, picture in enumerate(done.pictures)
    }
    files = dict(pictures)
    if len(pictures) > 1:
        files = {f"{name}.png": png_bytes(sheet(done.pictures), _info(facts))}
    if len(done.frames) > 1:
        files[f"{name}.mp4"] = film(done.frames)
    files[f"{name}.json"] = record.encode()
    if len(pictures) > 1:
        files[f"{name}.zip"] = _zipped({**pictures, f"{name}.json": record.encode()})
    return files


def sheet(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Return pictures of one size in rows, nearly a square, uint8 (H, W, 3); gaps are white."""
    columns = math.ceil(math.sqrt(len(pictures)))
    blank = np.full_like(pictures[0], 255)
    padded = [*pictures, *[blank] * (-len(pictures) % columns)]
    rows = [
        np.concatenate(padded[start : start + columns], axis=1)
        for start in range(0, len(padded), columns)
    ]
    return np.concatenate(rows, axis=0)


def film(frames: Sequence[np.ndarray]) -> bytes:
    """Return frames uint8 (H, W, 3) as MP4."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        with VideoWriter(path, fps=FPS) as video:
            for frame in [*frames, *[frames[-1]] * int(FPS * HOLD)]:
                video.write(frame)
        return path.read_bytes()


def _name(facts: Mapping[str, Any]) -> str:
    seed = f"_{facts['seed']}" if "seed" in facts else ""
    return f"{facts['task']}{seed}"


def _number(index: int, count: int) -> str:
    return f"_{index:03}" if count > 1 else ""


def _info(facts: Mapping[str, Any]) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    shown = {key: value for key, value in facts.items() if key != "indices"}
    info.add_text("Software", "official.multimodal.taming_transformer")
    for key in ("model", "seed"):
        if key in facts:
            info.add_text(key, str(facts[key]))
    info.add_text("parameters", json.dumps(shown))
    return info


def _zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()
