"""Films of a run in any of several formats, with the window that the transformer looks through."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Union

import numpy as np

from .paths import PathLike
from .video import VideoWriter, write_gif, write_webp
from .window import Frame

FORMATS = ("mp4", "gif", "webp")
FASTEST_GIF = 50.0
"""Frames a second that players of GIFs take seriously."""

MOST_FRAMES = 240
MOST_BYTES = 1 << 29
"""Bounds of the frames that a GIF or WebP keeps in memory until it is written."""


class AnimationWriter:
    """Write RGB frames to a GIF or WebP that repeats for ever; used as ``VideoWriter`` is.

    Frames are kept in memory until the ``with`` statement ends, however it ends. Of a longer run
    every second, fourth, ... one is kept, and the last one: at most 240, and at most 512 MB.

    Args:
        path: Where to; ends in ``.gif`` or ``.webp``, and its folder must exist.
        fps: Frames a second.

    Raises:
        ValueError: ``path`` has another ending.
    """

    def __init__(self, path: PathLike, *, fps: float = 15.0):
        self._path, self._fps = Path(path), fps
        if self._path.suffix.lower() not in (".gif", ".webp"):
            raise ValueError(f"{str(path)!r}: expected a name that ends in .gif or .webp")
        self._frames: list[np.ndarray] = []
        self._every, self._count = 1, 0
        self._last: np.ndarray | None = None

    def __enter__(self) -> AnimationWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, frame: np.ndarray) -> None:
        """Add a frame, uint8 (H, W, 3), the same size every time."""
        self._last = frame.copy()
        if self._count % self._every == 0:
            self._frames.append(self._last)
            if len(self._frames) > max(2, min(MOST_FRAMES, MOST_BYTES // frame.nbytes)):
                self._frames = self._frames[::2]
                self._every *= 2
        self._count += 1

    def close(self) -> None:
        """Write the file, whole or not at all; without frames, and once written, do nothing.

        Raises:
            FileNotFoundError: The folder does not exist.
            OSError: The file cannot be written.
            ValueError: The frames have several sizes, or a GIF cannot be so fast.
        """
        frames, last = self._frames, self._last
        self._frames, self._last = [], None
        if last is None:
            return
        if frames[-1] is not last:
            frames.append(last)
        write = write_gif if self._path.suffix.lower() == ".gif" else write_webp
        write(self._path, frames, fps=self._fps)


Writer = Union[VideoWriter, AnimationWriter]


def open_film(path: Path, fps: float) -> Writer:
    """Return the writer for the ending of a path; raises as the writers do."""
    return (VideoWriter if path.suffix == ".mp4" else AnimationWriter)(path, fps=fps)


def checked_formats(animate: Any) -> tuple[str, ...]:
    """Return the formats that ``animate`` asks for: ``True`` is mp4, ``False`` none.

    Raises:
        ValueError: It is something else than a bool, a format or several.
    """
    if isinstance(animate, bool):
        return FORMATS[:1] if animate else ()
    asked = (animate,) if isinstance(animate, str) else animate
    if not isinstance(asked, (tuple, list)) or any(one not in FORMATS for one in asked):
        raise ValueError(
            f"animate is {animate!r}; expected True (mp4), False, or one or several of "
            f"{', '.join(FORMATS)}"
        )
    return tuple(one for one in FORMATS if one in asked)


def outlined(picture: np.ndarray, frame: Frame, cell: tuple[int, int], factor: int) -> np.ndarray:
    """Draw the window in white and the cell drawn last in red, each with a dark edge.

    Args:
        picture: RGB uint8 (H, W, 3); it is left as it is.
        frame: The window, in cells.
        cell: Row and column of the cell.
        factor: Pixels along one side of a cell.

    Returns:
        RGB uint8 (H, W, 3).
    """
    drawn, width = picture.copy(), max(1, round(min(picture.shape[:2]) / 256))
    _draw_box(drawn, frame, factor, width, (255, 255, 255))
    _draw_box(drawn, Frame(*cell, 1, 1), factor, width, (255, 40, 40))
    return drawn


def _draw_box(
    picture: np.ndarray, box: Frame, factor: int, width: int, colour: tuple[int, int, int]
) -> None:
    top, left = box.top * factor, box.left * factor
    bottom, right = top + box.height * factor, left + box.width * factor
    for inset, shade in ((width, (0, 0, 0)), (0, colour)):
        rows, columns = slice(top + inset, bottom - inset), slice(left + inset, right - inset)
        area = picture[rows, columns]
        area[:width] = area[-width:] = shade
        area[:, :width] = area[:, -width:] = shade
