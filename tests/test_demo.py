from __future__ import annotations

import ast
import html
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
MODEL = "vqgan_openimages_f4_8192_noattn"


def demo(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "demo.py"), *map(str, arguments)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=900,  # seconds: against hanging alone, slow machines take minutes
    )


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    values = np.random.RandomState(0).randint(0, 256, (45, 70, 3)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_without_weights_it_says_how_to_get_them(photo, tmp_path):
    nothing = {"TAMING_CACHE": str(tmp_path / "cache"), "TAMING_MIRROR": "", "TAMING_OFFLINE": "1"}
    done = demo(photo, "--model", MODEL, "--output", tmp_path / "out", **nothing)
    assert done.returncode == 4
    assert "TAMING_MIRROR" in done.stderr
    assert "weights=" in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_unknown_model_is_refused_with_the_names_of_the_others():
    done = demo("photo.jpg", "--model", "nothing")
    assert done.returncode == 2
    assert MODEL in done.stderr


def test_weights_that_are_no_checkpoint_are_one_line(photo, tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"not a checkpoint")
    done = demo(photo, "--model", MODEL, "--weights", tmp_path / "last.ckpt")
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "last.ckpt" in lines[0]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_photograph_and_a_checkpoint_give_a_picture_side_by_side(photo, tmp_path):
    from official.multimodal import taming_transformer as taming
    from official.multimodal.taming_transformer.checkpoint import write_safetensors

    state = {k: np.array(v) for k, v in getattr(taming, MODEL)().state_dict().items()}
    write_safetensors(tmp_path / "own.safetensors", state)
    out = tmp_path / "out"
    weights = tmp_path / "own.safetensors"
    done = demo(photo, "--model", MODEL, "--weights", weights, "--output", out)
    assert done.returncode == 0, done.stderr
    with Image.open(out / "photo_side_by_side.png") as both, Image.open(photo) as before:
        assert both.size == (140, 45)
        left = np.asarray(both)[:, :70]
        assert np.array_equal(left, np.asarray(before))
    assert (out / "photo_reconstruction.png").exists()


@pytest.mark.slow
def test_a_fresh_clone_makes_a_sheet_and_a_page_with_nothing_but_its_requirements(tmp_path):
    clone = tmp_path / "a clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True, timeout=120)
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHON", "VIRTUAL_ENV")}
    alone = {"TAMING_CACHE": str(tmp_path / "cache"), "TAMING_MIRROR": "", "TAMING_OFFLINE": "1"}
    done = subprocess.run(
        ["sh", str(clone / "tools" / "run.sh"), "demo"],
        cwd=tmp_path,
        env={**environment, **alone},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    shutil.rmtree(clone / ".venv", ignore_errors=True)  # 2 GB, which pytest would keep
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "cache").exists()
    out = clone / "outputs" / "demo"
    page = (out / "index.html").read_text(encoding="utf-8")
    sources = re.findall(r'src="([^"]+)"', page)
    assert len(sources) >= 12
    for source in sources:
        assert (out / source).stat().st_size > 0, source
    assert "panorama_sampling.mp4" in sources
    for block in re.findall(r"<pre>(.*?)</pre>", page, re.S):
        ast.parse("def step(root):\n" + textwrap.indent(html.unescape(block), "    "))
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.width == 1240
    with Image.open(out / "panorama.png") as panorama:
        assert panorama.size == (512, 128)


def test_the_page_shows_each_file_and_the_code_that_made_it(tmp_path):
    from tools.demonstration.page import contact_sheet, page
    from tools.demonstration.steps import STEPS

    done = []
    for number, step in enumerate(STEPS):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((64, 64 * (number + 1), 3), number, np.uint8)).save(path)
        done.append((step, {"a <b>": path, "film": tmp_path / "f.mp4"}, 1.0))
    text = page(done)
    assert text.count("<pre>") == len(STEPS)
    assert "Reconstruction(scenes_vqgan(pretrained=True), size=None)" in text
    assert "fmt: skip" not in text
    assert "a <b>" not in text
    assert contact_sheet(done).width == 1240


def test_a_missing_input_is_told_before_any_work(tmp_path):
    done = demo("--map", tmp_path / "none.png", "--output", tmp_path / "out")
    assert done.returncode == 1
    assert "none.png" in done.stderr
    assert not (tmp_path / "out").exists()
