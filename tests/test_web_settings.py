"""The page's settings, models and command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from official.multimodal.taming_transformer import zoo
from tools.web.settings import read_seed, read_settings, read_size
from tools.web.shelf import TASKS, Shelf, need_weights
from tools.web_demo import main

ROOT = Path(__file__).resolve().parent.parent
NAME = "scenes_class_transformer"


@pytest.fixture(autouse=True)
def _same_environment():
    """Take back what the program sets for itself."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def shelf(tmp_path, monkeypatch) -> Shelf:
    """A shelf on which a file was named for two models, and nothing else is cached."""
    monkeypatch.setenv("TAMING_CACHE", str(tmp_path))
    files = {NAME: tmp_path / "mine.ckpt", "cin_transformer": tmp_path / "cin.ckpt"}
    return Shelf(files, build=lambda name: pytest.fail("nothing is loaded before it is asked for"))


@pytest.mark.parametrize(
    ("text", "seed"), [("", None), (None, None), (" 7 ", 7), ("0", 0), (str(2**64 - 1), 2**64 - 1)]
)
def test_seeds_are_read(text, seed):
    assert read_seed(text) == seed


@pytest.mark.parametrize("text", ["-1", "1.5", "1e3", "seven", "²", str(2**64), "9" * 5000])
def test_other_seeds_are_refused(text):
    with pytest.raises(ValueError, match=r"seed .*(expected a whole number|must be in 0)") as told:
        read_seed(text)
    assert len(str(told.value)) < 200


def test_sizes_are_whole_cells():
    assert read_size(16, 263, 128, 512 * 512) == (128, 256)
    with pytest.raises(ValueError, match="too small"):
        read_size(16, 263, 12, 512 * 512)
    with pytest.raises(ValueError, match="expected at most 512x512"):
        read_size(16, 1024, 512, 512 * 512)


def test_settings_are_read(shelf):
    how = read_settings(shelf, "class", (NAME, "5", 0.9, 0, 0.8, 3, 16, 8), 16)
    assert (how.model, how.seed, how.temperature, how.top_k) == (NAME, 5, 0.9, None)
    assert (how.top_p, how.count, how.every, how.window) == (0.8, 3, 16, 8)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({0: "s_flckr_transformer"}, "not among the models offered"),
        ({0: "../../etc/passwd"}, "not among the models offered"),
        ({0: None}, "not among the models offered"),
        ({2: 0}, "temperature must be a finite number > 0"),
        ({3: 5000}, "top_k 5000 exceeds the 1920 tokens"),
        ({3: -1}, "top-k is -1"),
        ({4: 1.5}, "top_p must be in"),
        ({5: 17}, "expected 1 to 16"),
        ({5: None}, "number of pictures is None"),
        ({6: 2.5}, "between previews is 2.5"),
        ({7: -1}, "the window is -1"),
    ],
)
def test_settings_out_of_range_are_refused(shelf, change, match):
    values = [NAME, "", 1.0, 100, 0.95, 1, 0, 0]
    for index, value in change.items():
        values[index] = value
    with pytest.raises(ValueError, match=match):
        read_settings(shelf, "class", tuple(values), 16)


def test_models_are_offered_by_what_they_can_do(shelf):
    assert shelf.names("class")[:2] == [NAME, "cin_transformer"]  # small ones answer at once
    assert NAME in shelf.names("complete")
    assert NAME not in shelf.names("unconditional")
    assert shelf.shape(NAME).names[0] == "any"
    assert shelf.shape("cin_transformer").n_classes == 1000


def test_models_of_maps_reconstruct_no_photographs(tmp_path):
    files = {"vqgan_imagenet_depth": tmp_path / "a.ckpt", "dalle_dvae_f8": tmp_path / "b.ckpt"}
    names = Shelf(files).names("reconstruct")
    assert "dalle_dvae_f8" in names
    assert "vqgan_imagenet_depth" not in names


@pytest.mark.parametrize("task", TASKS)
def test_a_tab_without_models_says_how_to_get_some(task):
    said = need_weights(task)
    name = said.split("weights fetch ")[1].split("`")[0]
    assert zoo.model_row(name).task in TASKS[task]


def test_files_and_names_are_checked_before_the_page_is_served(tmp_path, capsys):
    assert main(["--weights", f"no_such_model={tmp_path}"]) == 1
    assert "there is no model 'no_such_model'" in capsys.readouterr().err
    assert main(["--weights", f"scenes_vqgan={tmp_path / 'none.ckpt'}"]) == 1
    assert "there is no file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--weights", "scenes_vqgan"], ["--waiting", "0"], ["--upload-mb", "1.5"]]
)
def test_wrong_calls_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "expected" in capsys.readouterr().err


def test_without_gradio_it_says_what_to_do():
    code = (
        "import sys; sys.modules['gradio'] = None; import tools.web_demo as w; sys.exit(w.main([]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 3
    assert "requirements-demo.txt" in done.stderr
    assert "Traceback" not in done.stderr
