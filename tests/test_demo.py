from __future__ import annotations

import os
import subprocess
import sys
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
        timeout=300,
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
