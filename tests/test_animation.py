"""Films of a run: formats, the window drawn into them, runs that are stopped."""

from __future__ import annotations

import json

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from official.multimodal.taming_transformer import animation
from official.multimodal.taming_transformer.animation import (
    AnimationWriter,
    checked_formats,
    open_film,
    outlined,
)
from official.multimodal.taming_transformer.conditional import ConditionalSampler
from official.multimodal.taming_transformer.window import Frame, frame_at
from tests.tiny_models import WINDOW, label_map, tiny_model
from tools import generate

EVERY = 10


def sampler(**settings) -> ConditionalSampler:
    return ConditionalSampler(
        tiny_model("segmentation"), top_k=20, seed=7, update_every=EVERY, progress=False, **settings
    )


def frames_of(path) -> list[np.ndarray]:
    with Image.open(path) as film:
        found = []
        for number in range(film.n_frames):
            film.seek(number)
            found.append(np.asarray(film.convert("RGB")))
        return found


def grey(picture) -> np.ndarray:
    return picture[:10, :12].mean(axis=2)


def mp4_frames(path) -> list[np.ndarray]:
    reader = imageio_ffmpeg.read_frames(str(path), pix_fmt="rgb24")
    width, height = next(reader)["size"]
    return [np.frombuffer(data, np.uint8).reshape(height, width, 3) for data in reader]


def test_every_format_shows_the_same_previews(tmp_path):
    result = sampler(root=tmp_path, animate=["webp", "mp4", "gif"])(label_map(), name="a")
    made = json.loads((tmp_path / "a.json").read_text())
    assert made["parameters"]["animate"] == ["mp4", "gif", "webp"]
    films = {one: tmp_path / f"a_sampling.{one}" for one in ("mp4", "gif", "webp")}
    assert set(films.values()) <= set(result.files)
    numbers = made["previews"]
    assert numbers == [10, 20, 30]
    stills = [tmp_path / "a_first_sample.png"]
    stills += [tmp_path / f"a_sample_{number}.png" for number in numbers]
    assert np.array_equal(np.asarray(Image.open(stills[-1])), result.picture)
    expected = [grey(np.asarray(Image.open(path))) for path in stills]
    for ending, path in films.items():
        found = mp4_frames(path) if ending == "mp4" else frames_of(path)
        assert len(found) == len(expected) == 4
        for number, frame in enumerate(found):  # lossy: each is nearest to its own preview
            apart = [np.abs(grey(frame) - still).mean() for still in expected]
            assert np.argmin(apart) == number


def test_the_window_is_that_of_the_cell(tmp_path, monkeypatch):
    written: list[np.ndarray] = []
    monkeypatch.setattr(AnimationWriter, "write", lambda self, frame: written.append(frame))
    run = sampler(root=tmp_path, animate="gif", draw_window=True)
    result = run(label_map(14, 18), name="a")
    stills = [np.asarray(Image.open(tmp_path / "a_first_sample.png"))]
    for number in range(EVERY, 7 * 9, EVERY):
        stills.append(np.asarray(Image.open(tmp_path / f"a_sample_{number}.png")))
    assert len(written) == len(stills) + 1  # 63 cells: the end is no tenth one
    assert np.array_equal(written[0], stills[0])
    assert np.array_equal(written[-1], result.picture)
    for number, (frame, still) in enumerate(zip(written, stills)):
        if number == 0:
            continue
        row, column = divmod(number * EVERY - 1, 9)
        window = frame_at(row, column, (7, 9), WINDOW, WINDOW // 2)
        changed = np.argwhere((frame != still).any(axis=2))
        top, left = window.top * 2, window.left * 2
        assert changed.min(0).tolist() == [top, left]
        assert changed.max(0).tolist() == [top + window.height * 2 - 1, left + window.width * 2 - 1]
        assert (frame[2 * row, 2 * column] == (255, 40, 40)).all()


def test_the_outline_is_drawn_on_a_copy():
    picture = np.full((64, 96, 3), 90, np.uint8)
    drawn = outlined(picture, Frame(2, 3, 4, 5), (4, 6), 8)
    assert (picture == 90).all()
    assert (drawn[16, 24:64] == 255).all()  # the upper edge and below it a dark line
    assert (drawn[17, 25:63] == 0).all()
    assert (drawn[15] == 90).all()
    assert (drawn[48:] == 90).all()
    assert (drawn[32:40, 48] == (255, 40, 40)).all()
    assert (drawn[20, 30] == 90).all()


def test_long_runs_are_thinned_and_end_with_the_last_frame(tmp_path, monkeypatch):
    monkeypatch.setattr(animation, "MOST_FRAMES", 8)
    with AnimationWriter(tmp_path / "a.gif") as film:
        for number in range(41):
            film.write(np.full((4, 4, 3), number * 6, np.uint8))
    values = [int(frame[0, 0, 0]) // 6 for frame in frames_of(tmp_path / "a.gif")]
    assert values[0] == 0
    assert values[-1] == 40
    assert len(values) <= 9
    assert len(set(np.diff(values))) == 1


def test_a_stopped_run_leaves_a_film_of_what_there_was(tmp_path):
    def stopped() -> None:
        with AnimationWriter(tmp_path / "a.webp") as film:
            film.write(np.zeros((4, 4, 3), np.uint8))
            film.write(np.full((4, 4, 3), 200, np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert len(frames_of(tmp_path / "a.webp")) == 2
    with AnimationWriter(tmp_path / "none.gif"):
        pass
    assert not (tmp_path / "none.gif").exists()


def test_the_same_call_again_may_ask_for_another_film(tmp_path):
    first = sampler(root=tmp_path, animate=True)(label_map(), name="a")
    again = sampler(root=tmp_path, animate="gif", draw_window=True)(label_map(), name="a")
    assert np.array_equal(first.pictures, again.pictures)
    assert (tmp_path / "a_sampling.gif").exists()


def test_foreign_films_are_not_written_over(tmp_path):
    (tmp_path / "a_sampling.gif").write_bytes(b"someone's")
    with pytest.raises(ValueError, match=r"a_sampling\.gif"):
        sampler(root=tmp_path, animate="gif")(label_map(), name="a")
    assert (tmp_path / "a_sampling.gif").read_bytes() == b"someone's"


@pytest.mark.parametrize(
    ("asked", "formats"),
    [(False, ()), (True, ("mp4",)), ("gif", ("gif",)), (("webp", "mp4", "mp4"), ("mp4", "webp"))],
)
def test_formats_are_told_by_their_names(asked, formats):
    assert checked_formats(asked) == formats


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"animate": "avi"}, "animate is 'avi'"),
        ({"animate": ["gif", 3]}, "expected True"),
        ({"animate": 1}, "animate is 1"),
        ({"animate": "gif", "root": None}, "give root="),
        ({"draw_window": True}, "ask for one by animate"),
        ({"animate": "gif", "fps": 60}, "a GIF plays at most 50"),
    ],
)
def test_settings_that_make_no_film_are_refused(tmp_path, settings, said):
    with pytest.raises(ValueError, match=said):
        sampler(**{"root": tmp_path, **settings})


def test_a_film_needs_a_name_that_tells_its_format(tmp_path):
    with pytest.raises(ValueError, match=r"\.gif or \.webp"):
        open_film(tmp_path / "a.png", 15)


def test_the_command_line_writes_them(tmp_path, capsys):
    Image.fromarray(label_map()).save(tmp_path / "map.png")
    status = generate.main(
        ["segmentation", str(tmp_path / "map.png"), "--root", str(tmp_path / "o"), "--top-k", "20",
         "--film", "gif", "--film", "webp", "--draw-window"],
        lambda name, weights, bare=False: tiny_model("segmentation"),
    )  # fmt: skip
    assert status == 0, capsys.readouterr().err
    assert {path.suffix for path in (tmp_path / "o").glob("map_sampling.*")} == {".gif", ".webp"}
    with pytest.raises(SystemExit):
        generate.main(["segmentation", "map.png", "--film", "avi"])
    assert "invalid choice: 'avi'" in capsys.readouterr().err
