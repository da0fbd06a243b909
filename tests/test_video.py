"""Films and animations: they play, keep every pixel's place, and survive interruptions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from official.multimodal.taming_transformer.video import VideoWriter, write_gif, write_webp

ROOT = Path(__file__).resolve().parent.parent


def _film(count: int, h: int, w: int) -> list[np.ndarray]:
    """Make smooth frames that differ from one another, which survive the compression well."""
    rows, columns = np.mgrid[0:h, 0:w]
    return [
        np.stack(
            [rows % 200, columns * 0.4, np.full((h, w), 40 + 200 * i / count)], axis=-1
        ).astype(np.uint8)
        for i in range(count)
    ]


def _read_back(path: Path) -> tuple[dict, np.ndarray]:
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    w, h = meta["size"]
    frames = [np.frombuffer(data, np.uint8).reshape(h, w, 3) for data in reader]
    return meta, np.stack(frames)


def _stream(path: Path) -> str:
    """Return ffmpeg's own description of the video stream."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)]
    said = subprocess.run(command, capture_output=True, text=True).stderr
    return next(line for line in said.splitlines() if "Video:" in line)


def _write(path: Path, frames: list[np.ndarray], **options) -> None:
    with VideoWriter(path, **options) as video:
        for frame in frames:
            video.write(frame)


def _listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("h", "w"), [(48, 64), (127, 513), (33, 32), (32, 33), (1, 1), (17, 18)])
def test_film_reads_back_with_every_pixel_in_place(tmp_path, h, w):
    frames = _film(6, h, w)
    _write(tmp_path / "a.mp4", frames, fps=15)
    meta, read = _read_back(tmp_path / "a.mp4")
    assert read.shape == (6, h + h % 2, w + w % 2, 3)
    assert np.abs(read[:, :h, :w].astype(int) - np.stack(frames)).mean() < 3
    assert meta["fps"] == 15
    assert _listing(tmp_path) == ["a.mp4"]


def test_odd_sides_repeat_their_last_row_and_column(tmp_path):
    frame = np.zeros((31, 31, 3), np.uint8)
    frame[:, 30] = frame[30] = 255
    _write(tmp_path / "a.mp4", [frame] * 3, quality=0)
    _, read = _read_back(tmp_path / "a.mp4")
    assert read.shape == (3, 32, 32, 3)
    assert read[:, 31].min() > 240
    assert read[:, :, 31].min() > 240
    assert read[:, :30, :30].max() < 16


def test_film_plays_in_a_browser(tmp_path):
    _write(tmp_path / "a.mp4", _film(4, 48, 64), fps=12.5)
    stream = _stream(tmp_path / "a.mp4")
    assert "h264" in stream
    assert "yuv420p(tv, bt709" in stream  # else players guess which colours are meant
    assert "12.50 fps" in stream
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")  # the index first: it can be streamed


def test_colours_are_those_of_the_frames(tmp_path):
    for colour in (
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (255, 255, 255),
        (0, 0, 0),
        (90, 130, 60),
    ):
        _write(tmp_path / "a.mp4", [np.full((32, 32, 3), colour, np.uint8)] * 2)
        _, read = _read_back(tmp_path / "a.mp4")
        assert np.abs(read.astype(int) - colour).max() <= 4, colour


def test_grey_frames_are_written(tmp_path):
    _write(tmp_path / "a.mp4", [np.full((16, 16), 77, np.uint8)] * 2)
    _, read = _read_back(tmp_path / "a.mp4")
    assert np.abs(read.astype(int) - 77).max() <= 2


def test_an_exception_keeps_what_was_written(tmp_path):
    def fail_after(frames: list[np.ndarray]) -> None:
        with VideoWriter(tmp_path / "a.mp4") as video:
            for frame in frames:
                video.write(frame)
            raise RuntimeError("the model broke")

    frames = _film(5, 32, 32)
    with pytest.raises(RuntimeError, match="the model broke"):
        fail_after(frames)
    assert len(_read_back(tmp_path / "a.mp4")[1]) == 5
    assert _listing(tmp_path) == ["a.mp4"]


_ENDLESS = """
import sys, numpy as np
from official.multimodal.taming_transformer.video import VideoWriter
with VideoWriter(sys.argv[1], fps=30, quality=30) as video:
    for i in range(100_000):
        frame = np.full((241, 321, 3), 10 + i % 200, np.uint8)
        frame[:8] = 0
        video.write(frame)
        if i == 3:
            print("started", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT as a terminal does")
@pytest.mark.parametrize("wait", [0.0, 0.13, 0.31, 0.5])
def test_ctrl_c_leaves_a_film_of_whole_frames(tmp_path, wait):
    path = tmp_path / "a.mp4"
    process = subprocess.Popen(
        [sys.executable, "-c", _ENDLESS, str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    time.sleep(wait)
    os.killpg(process.pid, signal.SIGINT)  # to the whole group, as a terminal does
    _, stderr = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in stderr
    assert b"OSError" not in stderr
    assert _listing(tmp_path) == ["a.mp4"]
    _, frames = _read_back(path)
    assert len(frames) >= 4
    expected = 10 + np.arange(len(frames)) % 200
    assert np.abs(frames[:, 20:, :, 1].mean(axis=(1, 2)) - expected).max() < 3
    assert frames[:, :6].max() < 30  # half a frame would have shifted this bar


_INTERRUPTED = """
import signal, sys, numpy as np
from official.multimodal.taming_transformer.video import VideoWriter

class Interrupt(Exception):
    pass

def interrupt(number, frame):
    global writing
    if writing:
        writing = False
        raise Interrupt

signal.signal(signal.SIGALRM, interrupt)
caught, writing = 0, False
with VideoWriter(sys.argv[1], quality=30) as video:
    frame = np.full((721, 1281, 3), 100, np.uint8)
    frame[:60] = 0
    video.write(frame)
    for i in range(100):
        signal.setitimer(signal.ITIMER_REAL, 0.004)
        try:
            writing = True
            video.write(frame)
            writing = False
        except Interrupt:
            caught += 1
print(caught)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="interrupts by an alarm signal")
def test_an_interrupted_write_leaves_no_half_frame_behind(tmp_path):
    command = [sys.executable, "-c", _INTERRUPTED, str(tmp_path / "a.mp4")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    caught = int(run.stdout)
    assert caught > 0
    _, frames = _read_back(tmp_path / "a.mp4")
    assert len(frames) >= 101 - caught
    assert frames[:, :50].max() < 30
    assert frames[:, 70:, :1281].min() > 80


def test_no_frames_no_file(tmp_path):
    _write(tmp_path / "a.mp4", [])
    assert _listing(tmp_path) == []


def test_an_older_film_is_replaced_only_by_a_whole_one(tmp_path):
    _write(tmp_path / "a.mp4", _film(2, 16, 16))
    before = (tmp_path / "a.mp4").read_bytes()
    video = VideoWriter(tmp_path / "a.mp4")
    video.write(_film(1, 32, 32)[0])
    assert (tmp_path / "a.mp4").read_bytes() == before
    video.close()
    assert (tmp_path / "a.mp4").read_bytes() != before
    video.close()
    with pytest.raises(ValueError, match="closed"):
        video.write(_film(1, 32, 32)[0])


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for ffmpeg")
@pytest.mark.parametrize("frames", [1, 200])
def test_failing_encoder_leaves_nothing_and_says_why(tmp_path, monkeypatch, frames):
    fake = tmp_path / "ffmpeg"
    fake.write_text(
        "#!/bin/sh\nhead -c 10 >/dev/null\necho 'No space left on device' >&2\nexit 1\n"
    )
    fake.chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(fake))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.mp4").write_bytes(b"old")
    with pytest.raises(OSError, match=r"No space left on device.*free space") as caught:
        _write(tmp_path / "out" / "a.mp4", _film(1, 64, 64) * frames)
    assert "\n" not in str(caught.value)
    assert _listing(tmp_path / "out") == ["a.mp4"]
    assert (tmp_path / "out" / "a.mp4").read_bytes() == b"old"


@pytest.mark.skipif(sys.platform == "win32", reason="limits file sizes as POSIX does")
def test_full_disk_leaves_nothing(tmp_path):
    import resource

    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # as if the disk were full then
    try:
        with pytest.raises(OSError, match="could not be written"):
            _write(tmp_path / "a.mp4", list(noise))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _listing(tmp_path) == []


def test_bad_frames_are_refused_and_the_film_goes_on(tmp_path):
    with VideoWriter(tmp_path / "a.mp4") as video:
        video.write(np.zeros((16, 16, 3), np.uint8))
        with pytest.raises(ValueError, match=r"\(16, 18, 3\)"):
            video.write(np.zeros((16, 18, 3), np.uint8))
        with pytest.raises(TypeError, match="float64"):
            video.write(np.zeros((16, 16, 3)))
        video.write(np.zeros((16, 16, 3), np.uint8))
    assert len(_read_back(tmp_path / "a.mp4")[1]) == 2


def test_bad_settings_are_refused_at_once(tmp_path):
    for fps in (0, -1, float("nan"), float("inf"), 5000):
        with pytest.raises(ValueError, match="fps"):
            VideoWriter(tmp_path / "a.mp4", fps=fps)
    with pytest.raises(ValueError, match="quality"):
        VideoWriter(tmp_path / "a.mp4", quality=52)
    with pytest.raises(ValueError, match=r"\.mp4"):
        VideoWriter(tmp_path / "a.avi")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        VideoWriter(tmp_path / "nowhere" / "a.mp4")
    assert _listing(tmp_path) == []


@pytest.mark.parametrize(("write", "name"), [(write_gif, "a.gif"), (write_webp, "a.webp")])
def test_animations_read_back(tmp_path, write, name):
    frames = _film(4, 31, 45)
    write(tmp_path / name, iter(frames), fps=10)
    with Image.open(tmp_path / name) as image:
        assert image.n_frames == 4
        assert image.info["loop"] == 0
        for i, frame in enumerate(frames):
            image.seek(i)
            image.load()
            assert image.info["duration"] == 100
            assert np.abs(np.asarray(image.convert("RGB")).astype(int) - frame).mean() < 5
    assert _listing(tmp_path) == [name]


@pytest.mark.parametrize(("write", "name"), [(write_gif, "a.gif"), (write_webp, "a.webp")])
def test_bad_animations_are_refused(tmp_path, write, name):
    path = tmp_path / name
    with pytest.raises(ValueError, match="no frames"):
        write(path, [])
    with pytest.raises(ValueError, match="one size"):
        write(path, [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)])
    with pytest.raises(ValueError, match="fps"):
        write(path, _film(2, 4, 4), fps=0)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write(tmp_path / "nowhere" / name, _film(2, 4, 4))
    assert _listing(tmp_path) == []


def test_gif_refuses_rates_that_players_slow_down(tmp_path):
    with pytest.raises(ValueError, match="at most 50"):
        write_gif(tmp_path / "a.gif", _film(2, 4, 4), fps=60)
