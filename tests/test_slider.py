"""Before and after with a line between: page, still and films."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from official.multimodal.taming_transformer.reconstruction import Reconstruction
from tests.test_animation import frames_of, mp4_frames
from tests.test_evaluate import Links
from tests.tiny import tiny_vqgan
from tools import slider

BEFORE = np.full((40, 60, 3), 50, np.uint8)
AFTER = np.full((40, 60, 3), 200, np.uint8)


@pytest.fixture
def pair(tmp_path):
    for name, picture in (("before", BEFORE), ("after <b>", AFTER)):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    return [str(tmp_path / "before.png"), str(tmp_path / "after <b>.png")]


def run(capsys, *arguments):
    status = slider.main([str(word) for word in arguments], lambda name, weights: tiny_vqgan())
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("position", [0.0, 0.25, 0.5, 1.0])
def test_the_line_parts_the_pictures(position):
    joined = slider.still(BEFORE, AFTER, position)
    at = round(60 * position)
    assert (joined[:, : max(0, at - 2)] == 50).all()
    assert (joined[:, at + 2 :] == 200).all()
    assert (0 < at < 60) == bool((joined == 255).any())
    assert (BEFORE == 50).all()


def test_the_page_holds_both_pictures_and_loads_nothing(capsys, tmp_path, pair):
    status, out, err = run(capsys, *pair, "--output", tmp_path / "s.html")
    assert (status, err) == (0, "")
    assert out == f"{tmp_path / 's.html'}\n"
    text = (tmp_path / "s.html").read_text()
    links = Links()
    links.feed(text)
    assert len(set(links.sources)) == 2
    assert all(source.startswith("data:image/png;base64,") for source in links.sources)
    assert "after &lt;b&gt;.png" in text
    assert "<b>" not in text
    assert not re.search(r"https?://|@import|url\(", text)


def test_a_still_is_a_png(capsys, tmp_path, pair):
    assert run(capsys, *pair, "-o", tmp_path / "s.png", "--position", "0.2")[0] == 0
    written = np.asarray(Image.open(tmp_path / "s.png"))
    assert np.array_equal(written, slider.still(BEFORE, AFTER, 0.2))


@pytest.mark.parametrize("ending", ["gif", "webp", "mp4"])
def test_films_let_the_line_wander(capsys, tmp_path, pair, ending):
    path = tmp_path / f"s.{ending}"
    assert run(capsys, *pair, "-o", path)[0] == 0
    frames = mp4_frames(path) if ending == "mp4" else frames_of(path)
    means = [frame.mean() for frame in frames]
    assert means[0] == pytest.approx(200, abs=4)
    assert min(means) == pytest.approx(50, abs=4)
    assert means[len(means) // 4] == pytest.approx(125, abs=25)


def test_a_model_makes_the_picture_after(capsys, tmp_path):
    photo = np.kron(np.arange(12).reshape(3, 4) * 20, np.ones((7, 9))).astype(np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    asked = [tmp_path / "photo.png", "--model", "scenes_vqgan", "-o", tmp_path / "s.png"]
    assert run(capsys, *asked, "--position", "0")[0] == 0
    expected = Reconstruction(tiny_vqgan(), size=None)(tmp_path / "photo.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "s.png")), expected)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["-o", "s.txt"], r"expected one of \.html"),
        (["-o", "none/s.png"], "does not exist"),
        (["-o", "s.png", "--position", "2"], "--position is 2"),
        (["-o", "s.png", "--model", "scenes_vqgan"], "either the picture after"),
    ],
)
def test_wrong_calls_are_one_line(capsys, pair, monkeypatch, tmp_path, more, said):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *pair, *more)
    assert (status, out) == (1, "")
    assert re.fullmatch(rf"error: [^\n]*{said}[^\n]*\n", err)
    assert not list(tmp_path.glob("s.*"))


def test_pictures_of_two_sizes_are_refused(capsys, tmp_path, pair):
    Image.fromarray(BEFORE[:, :50]).save(tmp_path / "other.png")
    status, _, err = run(capsys, pair[0], tmp_path / "other.png", "-o", tmp_path / "s.png")
    assert status == 1
    assert "60x40" in err
    assert "50x40" in err


@pytest.mark.browser
def test_the_line_follows_the_slider_in_a_browser(tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if browser is None:
        pytest.skip("there is no Chromium here")
    drag = (
        "<script>const slider = document.querySelector('input'); slider.value = 80;"
        "slider.dispatchEvent(new Event('input'));"
        "document.body.dataset.left = getComputedStyle(document.querySelector('.line')).left;"
        "document.body.dataset.width = document.querySelector('.pictures').clientWidth;</script>"
    )
    text = slider.page(BEFORE, AFTER, ("a", "b")).replace("</body>", f"{drag}</body>")
    (tmp_path / "s.html").write_text(text)
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/u",
         "--dump-dom", str(tmp_path / "s.html")],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    left = float(re.search(r'data-left="([\d.]+)px"', done.stdout)[1])
    width = float(re.search(r'data-width="([\d.]+)"', done.stdout)[1])
    assert width == 512  # small pictures are enlarged
    assert left == pytest.approx(0.8 * width, abs=1)
