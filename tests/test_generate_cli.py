import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from official.multimodal.taming_transformer import zoo
from official.multimodal.taming_transformer.conditional import ConditionalSampler
from official.multimodal.taming_transformer.drawing import Drawing
from official.multimodal.taming_transformer.errors import WeightsUnavailableError
from official.multimodal.taming_transformer.net2net import Net2NetTransformer
from tests.tiny_models import depth_map, label_map, tiny_model
from tools import generate
from tools.cli.generate_options import SETTINGS

ROOT = Path(__file__).resolve().parent.parent


def build(name, weights, *, bare=False):
    """Stand in for the zoo: a small model of the same kind."""
    task = zoo.model_row(name).task
    model = tiny_model("class" if task == "reconstruction" else task)
    if task == "reconstruction":
        return model.first_stage_model
    return Net2NetTransformer(model.config) if bare else model


def run(capsys, *arguments, build=build):
    status = generate.main([str(word) for word in arguments], build)
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def inputs(tmp_path):
    Image.fromarray(label_map()).save(tmp_path / "labels.png")
    np.save(tmp_path / "depth.npy", depth_map())
    photo = np.random.RandomState(0).randint(0, 256, (10, 12, 3)).astype(np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    return tmp_path


CASES = {
    "segmentation": ["segmentation", "labels.png", "--seed", 7, "--top-k", 20],
    "depth": ["depth", "depth.npy", "--invert", "--n-samples", 2, "--top-k", "all"],
    "coordinates": ["coordinates", "12x10", "--top-k", 5, "--no-progress"],
    "class": ["class", 3, 5, "--size", "12x10", "-n", 3, "-b", 2, "--top-k", 20, "--top-p", 0.9],
    "unconditional": ["unconditional", "--size", "10x8", "--npz", "--name", "a", "--top-k", 20],
    "complete": [
        "complete",
        "photo.png",
        "--model",
        "drin_transformer",
        "--map",
        "depth.npy",
        "--blend",
        "--top-k",
        20,
    ],
    "reconstruct": ["reconstruct", "photo.png", "--size", "whole"],
}


@pytest.mark.parametrize("command", CASES)
def test_every_command_writes_its_files_and_tells_them(capsys, inputs, monkeypatch, command):
    monkeypatch.chdir(inputs)
    status, out, err = run(capsys, *CASES[command], "--root", "out", "--json")
    assert (status, err) == (0, "")
    answer = json.loads(out)
    written = {str(path) for path in (inputs / "out").rglob("*") if path.is_file()}
    told = {str(inputs / name) for name in answer["files"]}
    assert told <= written
    left = {Path(name).name for name in written - told}
    assert not left or command in ("class", "unconditional")
    assert not [name for name in left if name.endswith(".png")]
    if command == "reconstruct":
        return
    assert 0 <= answer["seed"] < 2**64
    assert [name for name in told if name.endswith(".png")]


def test_the_picture_is_that_of_the_sampler_with_recommended_settings(capsys, inputs):
    status, out, _ = run(
        capsys, "segmentation", inputs / "labels.png", "--seed", 7, "--top-k", 20,
        "-o", inputs / "out",
    )  # fmt: skip
    assert status == 0
    assert out.splitlines()[-1] == "seed 7"
    found = json.loads((inputs / "out" / "labels.json").read_text())
    row = zoo.model_row("scenes_segmentation_transformer").sampling
    expected = ConditionalSampler(
        tiny_model("segmentation"), row.temperature, 20, row.top_p, seed=7
    )(label_map())  # fmt: skip
    assert found["indices"] == expected.indices.tolist()
    assert found["parameters"]["temperature"] == row.temperature
    assert found["parameters"]["top_p"] == row.top_p


def test_a_wrong_input_is_told_before_weights_are_fetched(capsys, inputs):
    asked = []

    def watched(name, weights, *, bare=False):
        asked.append(bare)
        return build(name, weights, bare=bare)

    for arguments in (
        ["segmentation", inputs / "photo.png", "--top-k", 20],
        ["depth", inputs / "none.npy", "--top-k", 20],
        ["segmentation", inputs / "labels.png", "--top-k", 99],
        ["complete", inputs / "photo.png", "--model", "drin_transformer", "--top-k", 20],
        ["class", 99, "--size", "8x8", "--top-k", 20],
        ["class", 3, "--size", "9x8", "--top-k", 20],
        ["reconstruct", inputs / "labels.npy"],
        ["reconstruct", inputs / "depth.npy"],
    ):
        status, out, err = run(capsys, *arguments, "--root", inputs / "out", build=watched)
        assert (status, out) == (1, ""), arguments
        assert re.fullmatch(r"error: [^\n]+\n", err), err
    assert all(asked)
    assert not (inputs / "out").exists()


def test_errors_are_json_too(capsys, inputs):
    status, out, err = run(capsys, "segmentation", inputs / "photo.png", "--json", "--top-k", 20)
    answer = json.loads(out)
    assert status == answer["status"] == 1
    assert answer["error"] in err


def test_weights_that_are_not_to_be_had_have_their_own_status(capsys, inputs):
    def none(name, weights, *, bare=False):
        if not bare:
            raise WeightsUnavailableError("no weights for this test")
        return build(name, weights, bare=True)

    status, _, err = run(
        capsys, "segmentation", inputs / "labels.png", "--top-k", 20, build=none
    )  # fmt: skip
    assert status == 4
    assert "no weights for this test" in err


def test_a_stopped_run_says_so_and_goes_on(capsys, inputs, monkeypatch):
    arguments = ["segmentation", inputs / "labels.png", "--top-k", 20, "-o", inputs / "out"]
    steps = Drawing.steps

    def cut(self, *rest):
        for step in steps(self, *rest):
            if step.number > 5:
                raise KeyboardInterrupt
            yield step

    with monkeypatch.context() as patch:
        patch.setattr(Drawing, "steps", cut)
        status, _, err = run(capsys, *arguments)
    assert status == 130
    assert "goes on" in err
    assert run(capsys, *arguments)[0] == 0
    assert not list((inputs / "out").glob("*.partial.npz"))


def test_reconstruct_writes_over_nothing(capsys, inputs):
    arguments = ["reconstruct", inputs / "photo.png", "--size", "10", "-o", inputs / "out"]
    assert run(capsys, *arguments)[0] == 0
    status, _, err = run(capsys, *arguments)
    assert status == 1
    assert "--overwrite" in err
    assert run(capsys, *arguments, "--overwrite")[0] == 0
    with Image.open(inputs / "out" / "photo_reconstruction.png") as picture:
        assert picture.size == (10, 10)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["paint"],
        ["segmentation"],
        ["segmentation", "x", "--model", "cin_transformer"],
        ["depth", "x", "--top-k", "many"],
        ["class", "1", "--size", "large"],
        ["class", "1", "--shard", "1"],
    ],
)
def test_wrong_calls_have_status_2_and_usage(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        generate.main(arguments, build)
    assert stop.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("command", generate.COMMANDS)
def test_help_explains_every_option(capsys, command):
    with pytest.raises(SystemExit) as stop:
        generate.main([command, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert generate.COMMANDS[command][1] in shown
    for flags, about in SETTINGS[command][1]:
        assert flags[0] in shown or about["metavar"] in shown
        assert len(about["help"].split()) >= 2, flags


def test_the_program_runs_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "generate.py"), "segmentation", "none.png"],
        capture_output=True, text=True, cwd=tmp_path, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: 'none.png' does not exist")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
