"""Write frames as a film that plays everywhere (H.264), or as an animated GIF or WebP.

NumPy, Pillow and the ffmpeg program that imageio-ffmpeg brings along.
"""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
import tempfile
import uuid
from types import TracebackType
from typing import IO, Any, Iterable, cast

import imageio_ffmpeg
import numpy as np
from PIL import Image

from .image_files import check_rgb
from .paths import PathLike, check_target, replacing

_MAX_GIF_FPS = 50.0  # players take delays below 20 ms for mistakes and show 100 ms


class VideoWriter:
    """Write RGB frames to an MP4 file one by one: H.264, yuv420p, BT.709, ready for streaming.

    Use it in a ``with`` statement. Frames go to a temporary file beside ``path``, which replaces
    ``path`` when the statement ends. **Also when it ends by an exception or Ctrl-C: what was
    written until then is closed as a film that plays, and kept.** Where no frame was written,
    nothing is written at all; where the encoder fails, nothing stays behind.

    Odd sizes are padded to even ones by repeating the last row or column, never rescaled.

    Args:
        path: Where to; ends in ``.mp4``, and its folder must exist. An older file is replaced.
        fps: Frames a second.
        quality: x264's constant rate factor, 0 (lossless in 4:2:0) to 51; 18 looks like the source.

    Raises:
        FileNotFoundError: The folder of ``path`` does not exist.
        ValueError: ``path``, ``fps`` or ``quality`` cannot be used.

    Example:
        >>> with VideoWriter("film.mp4", fps=15) as video:  # doctest: +SKIP
        ...     for frame in frames:
        ...         video.write(frame)
    """

    def __init__(self, path: PathLike, *, fps: float = 15.0, quality: int = 18):
        self._path = check_target(path)
        if self._path.suffix.lower() != ".mp4":
            raise ValueError(f"{str(path)!r}: expected a name that ends in .mp4")
        if not 0 <= quality <= 51:
            raise ValueError(f"quality is {quality}; expected 0 (best) to 51 (worst)")
        self._fps = _check_fps(fps)
        self._quality = quality
        self._shape: tuple[int, ...] = ()
        self._closed = False
        self._temporary = self._path.with_name(f".{uuid.uuid4().hex}.mp4")
        self._process: subprocess.Popen[bytes] | None = None
        self._messages: IO[bytes] | None = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, frame: np.ndarray) -> None:
        """Add a frame.

        Args:
            frame: uint8 array (H, W, 3), or (H, W) for grey; the same size every time.

        Raises:
            OSError: The encoder stopped, for example because the disk is full.
            TypeError: The frame is no uint8 array.
            ValueError: Its shape is not that of the first frame, or the film is closed.
        """
        check_rgb(frame)
        if self._closed:
            raise ValueError(f"{str(self._path)!r} is closed; open another writer")
        if self._shape and frame.shape != self._shape:
            raise ValueError(f"the frame has shape {frame.shape}; expected {self._shape} as before")
        data = _even_rgb(frame)
        if self._process is None:
            self._shape = frame.shape
            self._process = self._start(data.shape[0], data.shape[1])
        try:
            cast("IO[bytes]", self._process.stdin).write(data.tobytes())
        except OSError as error:
            raise self._failure() from error

    def close(self) -> None:
        """Finish the film and put it in its place; further calls do nothing.

        Raises:
            OSError: The encoder failed; nothing was written.
        """
        process, closed = self._process, self._closed
        self._closed = True
        if process is None or closed:
            return
        try:
            cast("IO[bytes]", process.stdin).close()
            if process.wait() != 0:
                raise self._failure()
            self._temporary.replace(self._path)
        except BrokenPipeError as error:
            raise self._failure() from error
        finally:
            self._clear()

    def _start(self, height: int, width: int) -> subprocess.Popen[bytes]:
        self._messages = cast("IO[bytes]", tempfile.TemporaryFile())  # noqa: SIM115
        # A frame fits into the pipe's buffer, so that Ctrl-C never leaves half of one in the film.
        # The encoder has its own session, so that Ctrl-C in a terminal does not reach it.
        return subprocess.Popen(  # noqa: S603
            self._command(height, width),
            bufsize=3 * height * width,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._messages,
            start_new_session=sys.platform != "win32",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )

    def _command(self, height: int, width: int) -> list[str]:
        source = f"-f rawvideo -pix_fmt rgb24 -video_size {width}x{height} -framerate {self._fps}"
        scale = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int"
        # Newer ffmpegs take the marks from the frames, older ones from the options.
        marks = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709"
        colours = "-color_range tv -colorspace bt709 -color_primaries bt709 -color_trc bt709"
        encoder = f"{colours} -an -c:v libx264 -crf {self._quality} -movflags +faststart"
        return [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-nostdin", "-loglevel", "error"),
            *(*source.split(), "-i", "pipe:0", "-vf", f"{scale},format=yuv420p,{marks}"),
            *(*encoder.split(), str(self._temporary)),
        ]

    def _failure(self) -> OSError:
        said = b""
        if self._process is not None and self._messages is not None:
            self._process.wait()  # it has closed its end of the pipe
            self._messages.seek(0)
            said = self._messages.read(2000)
        self._clear()
        words = " ".join(said.decode("utf-8", "replace").split()) or "it said nothing"
        return OSError(
            f"{str(self._path)!r} could not be written: the video encoder stopped ({words}); "
            "check the free space"
        )

    def _clear(self) -> None:
        # End what still runs; remove what is not in its place.
        self._closed = True
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(BrokenPipeError):  # frames that nobody waits for
                cast("IO[bytes]", self._process.stdin).close()
            self._process.wait()
        if self._messages is not None:
            self._messages.close()
        if self._temporary.exists():
            self._temporary.unlink()


def write_gif(path: PathLike, frames: Iterable[np.ndarray], *, fps: float = 15.0) -> None:
    """Write an animated GIF that repeats for ever, whole or not at all.

    Every frame gets its own 256 colours, and its time is rounded to hundredths of a second.

    Args:
        path: Where to; its folder must exist. An older file is replaced.
        frames: uint8 arrays (H, W, 3) or (H, W) of one size, at least one.
        fps: Frames a second, at most 50.

    Raises:
        FileNotFoundError: The folder does not exist.
        TypeError: A frame is no uint8 array.
        ValueError: No frames, frames of several shapes, or ``fps`` out of range.
    """
    if _check_fps(fps) > _MAX_GIF_FPS:
        raise ValueError(f"fps is {fps}; a GIF plays at most {_MAX_GIF_FPS:.0f}: use VideoWriter")
    _write_animation(path, frames, format="GIF", duration=round(100 / fps) * 10)


def write_webp(
    path: PathLike, frames: Iterable[np.ndarray], *, fps: float = 15.0, quality: int = 90
) -> None:
    """Write an animated WebP that repeats for ever, whole or not at all.

    Args:
        path: Where to; its folder must exist. An older file is replaced.
        frames: uint8 arrays (H, W, 3) or (H, W) of one size, at least one.
        fps: Frames a second; a frame's time is rounded to milliseconds.
        quality: 1 to 100.

    Raises:
        FileNotFoundError: The folder does not exist.
        TypeError: A frame is no uint8 array.
        ValueError: No frames, frames of several shapes, ``fps`` or ``quality`` out of range.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; expected 1 to 100")
    duration = max(1, round(1000 / _check_fps(fps)))
    _write_animation(path, frames, format="WEBP", duration=duration, quality=quality)


def _write_animation(path: PathLike, frames: Iterable[np.ndarray], **options: Any) -> None:
    check_target(path)
    first, *rest = _pictures(frames)
    with replacing(path) as temporary:
        first.save(temporary, save_all=True, append_images=rest, loop=0, **options)


def _check_fps(fps: float) -> float:
    if not (math.isfinite(fps) and 0 < fps <= 1000):
        raise ValueError(f"fps is {fps}; expected more than 0, at most 1000 frames a second")
    return float(fps)


def _even_rgb(frame: np.ndarray) -> np.ndarray:
    # (H, W[, 3]) -> (H + H % 2, W + W % 2, 3): yuv420p shares a colour among 2x2 pixels
    rgb = frame if frame.ndim == 3 else np.repeat(frame[:, :, None], 3, axis=2)
    return np.pad(rgb, ((0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)), mode="edge")


def _pictures(frames: Iterable[np.ndarray]) -> list[Image.Image]:
    pictures = []
    for frame in frames:
        check_rgb(frame)
        pictures.append(Image.fromarray(frame).convert("RGB"))
        if pictures[-1].size != pictures[0].size:
            raise ValueError(f"a frame has shape {frame.shape}; expected one size for all frames")
    if not pictures:
        raise ValueError("there are no frames; expected at least one")
    return pictures
