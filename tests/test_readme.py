"""Everything that the READMEs show is run, and what they name exists."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from official.multimodal.taming_transformer.pretrained import SHIPPED
from official.multimodal.taming_transformer.registry import MODELS
from tests.hub_remote import REPOSITORY, make_remote
from tests.readme_stand_ins import PROMISE
from tests.torch_zip import torch_file

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "official" / "multimodal" / "taming_transformer"
ENGLISH, CHINESE = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md")
)
# What a block says -> what runs. Each must occur in the README.
REPLACED = {
    "num_samples=50000": "num_samples=3",
    "batch_size=25": "batch_size=2",
    "<owner>/<repo>": REPOSITORY,
}
# What a block says -> a file that it must leave.
WRITTEN = {
    'file_name="reconstructed_image.png"': "reconstructed_image.png",
    'name="norway"': "test/norway.png",
    "animate=True": "test/norway_sampling.mp4",
    'root="landscapes"': "landscapes/test_000002.png",
}
# Tool -> exit status where no weights but those that ship are to be had.
STATUS = {"demo": 4, "generate": 0, "weights": 0, "convert_weights": 0, "evaluate": 0, "slider": 0}
HUB = """
import functools, sys, megengine
megengine.hub.load = functools.partial(megengine.hub.load, protocol="SSH")
exec(open(sys.argv[1], encoding="utf-8").read())
print(type(model).__name__, sum(p.numpy().size for p in model.parameters()))
"""


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.S | re.M)


def spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M))


def links(text: str) -> set[str]:
    return set(re.findall(r"\]\(([^)\s]+)\)", text))


def tables(text: str) -> list[str]:
    return re.findall(r"<!-- table: .*?<!-- end -->", text, re.S)


PYTHON = blocks(ENGLISH, "python")
COMMANDS = [c for b in blocks(ENGLISH, "sh") for c in b.splitlines() if "git clone" not in c]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the inputs that the README names."""
    examples = ROOT / "assets" / "examples"
    with Image.open(examples / "scene_photo.png") as photo:
        photo.save(tmp_path / "photo.jpg")
    with Image.open(examples / "scene_map.png") as labels:
        for name in ("segmentation.png", "map.png"):
            labels.crop((0, 0, 128, 128)).save(tmp_path / name)
    shutil.copy(examples / "scene_depth.png", tmp_path / "depth.png")
    (tmp_path / "photos").mkdir()
    shutil.copy(examples / "scene_photo.png", tmp_path / "photos" / "a.png")
    (tmp_path / "last.ckpt").write_bytes(torch_file({"a": np.ones((2, 3), np.float32)}))
    return tmp_path


def run(arguments: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env={**os.environ, **variables},
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip


def runnable(block: str) -> str:
    for said, meant in REPLACED.items():
        block = block.replace(said, meant)
    return block


@pytest.mark.parametrize("block", [b for b in PYTHON if "hub.load" not in b])
def test_blocks_run_and_give_what_they_promise(block: str, folder: Path) -> None:
    named = {name for name in MODELS if re.search(rf"\b{name}\b", block)}
    assert named
    assert named <= set(SHIPPED), "the README's blocks use the models that ship"
    (folder / "block.py").write_text(runnable(block), encoding="utf-8")
    done = run(["-m", "tests.readme_stand_ins", "block.py"], folder, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr[-3000:]
    promised = PROMISE.findall(block)
    given = json.loads(done.stdout.splitlines()[-1])
    assert [got[:2] for got in given] == [list(said[:2]) for said in promised]
    for (_, _, shape), got in zip(promised, given):
        sides = [side.strip() for side in shape.split(",")]
        assert len(sides) == len(got[2])
        assert [int(s) for s in sides if s.isdigit()] == [
            side for side, said in zip(got[2], sides) if said.isdigit()
        ]
    for said, file in WRITTEN.items():
        assert (folder / file).is_file() == (said in block)


def test_the_hub_gives_a_model_with_its_weights(tmp_path: Path) -> None:
    (block,) = [b for b in PYTHON if "hub.load" in b]
    assert '"scenes_vqgan", pretrained=True' in block
    found = make_remote(tmp_path / "remote")
    (tmp_path / "block.py").write_text(runnable(block), encoding="utf-8")
    alone = {**found, "PYTHONPATH": "", "TAMING_OFFLINE": "1"}
    done = run(["-c", HUB, "block.py"], tmp_path, **alone)
    assert done.returncode == 0, done.stderr[-3000:]
    size = MODELS["scenes_vqgan"].parameters
    assert done.stdout.splitlines()[-1] == f"VQModel {size}"


@pytest.mark.parametrize("said", [*REPLACED, *WRITTEN])
def test_replacements_are_of_what_the_blocks_say(said: str) -> None:
    assert any(said in block for block in PYTHON)


def tool_of(line: str) -> tuple[str, list[str]]:
    """Return the tool's name and arguments of `sh tools/run.sh ...` or `python tools/...`."""
    first, second, *rest = shlex.split(line)
    if (first, second) == ("sh", "tools/run.sh"):
        return rest[0], rest[1:]
    assert first == "python", line
    assert Path(second).parent == Path("tools"), line
    return Path(second).stem, rest


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a tool in this process; return its exit status and all that it printed."""

    def run_main(tool: str, *arguments: str) -> tuple[int, str]:
        main = import_module(f"tools.{'web_demo' if tool == 'web' else tool}").main
        monkeypatch.setattr(sys, "argv", [f"{tool}.py", *arguments])
        try:
            status = main(list(arguments)) if signature(main).parameters else main()
        except SystemExit as end:
            status = end.code
        return int(status or 0), "".join(capsys.readouterr())

    return run_main


@pytest.mark.parametrize("line", [*COMMANDS, *(s for s in spans(ENGLISH) if " demo " in s)])
def test_commands_are_accepted(line: str, folder: Path, monkeypatch, call) -> None:
    tool, arguments = tool_of(line)
    alone = {"TAMING_CACHE": str(folder / "cache"), "TAMING_MIRROR": "", "TAMING_OFFLINE": "1"}
    for variable, value in alone.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.chdir(folder)
    if tool == "demo" and "--model" not in arguments:  # tests/test_demo.py runs the whole of it
        arguments = []
    status, printed = call(tool, *(arguments or ["--help"]))
    assert status == (STATUS[tool] if arguments else 0), printed


def test_commands_in_the_text_exist_with_their_options(call) -> None:
    lines = [s for s in spans(ENGLISH) if re.match(r"sh tools/run\.sh|python tools/", s)]
    assert len(lines) >= 8
    for line in lines:
        tool, arguments = tool_of(re.sub(r"[\[\]]", "", line))
        if tool == "test":
            assert all(a in (ROOT / "tools" / "run.sh").read_text() for a in arguments)
            continue
        if tool == "python":
            assert run([*arguments, "--help"], ROOT).returncode == 0, line
            continue
        status, text = call(tool, *arguments[: tool == "weights"], "--help")
        assert status == 0, f"{line}: {text}"
        for option in (a for a in arguments if a.startswith("--")):
            assert re.search(rf"{option}\b", text), f"{tool} has no {option}"


def test_commands_of_the_weights_tool_are_those_of_the_text(call) -> None:
    listed = r"^positional arguments:\n(.*?)^options:"
    commands = re.search(listed, call("weights", "-h")[1], re.S | re.M)
    for command in re.findall(r"^    (\w+) ", commands[1], re.M):
        assert any(re.search(rf"\b{command}\b", said) for said in [*spans(ENGLISH), *COMMANDS])


@pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["English", "Chinese"])
def test_what_is_named_exists(text: str) -> None:
    for link in links(text):
        assert re.match(r"https://", link) or (ROOT / link).exists(), link
    for span in spans(text):
        for name in re.findall(r"(?<![\w/.])[\w/-]+\.(?:py|txt|sh)\b", span.replace("\\", "/")):
            assert any((place / name).is_file() for place in (ROOT, PACKAGE)), name
    models = set(re.findall(r"\b(?:vqgan_\w+|dalle_\w+|\w+_transformer)\b", text))
    assert models - {"taming_transformer"} <= set(MODELS)


@pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["English", "Chinese"])
def test_variables_of_the_environment_are_the_code_s(text: str) -> None:
    kinds = r"\b(?:TAMING|MGE|XDG)_[A-Z_]+\b|\bPYTHON(?==)"
    files = [*PACKAGE.glob("*.py"), *(ROOT / "tools").glob("*.*"), *(ROOT / "tests").glob("*.py")]
    code = "\n".join(
        path.read_text(encoding="utf-8") for path in files if path.name != Path(__file__).name
    )
    named = set(re.findall(kinds, text))
    for variable in named:
        assert re.search(rf"[\"'$({{]{variable}\b", code), variable
    assert set(re.findall(r"\bTAMING_[A-Z_]+\b", code)) <= named


def test_both_languages_say_the_same() -> None:
    for language in ("python", "sh"):
        assert blocks(ENGLISH, language) == blocks(CHINESE, language)
    assert tables(ENGLISH) == tables(CHINESE)
    assert len(tables(ENGLISH)) == 5
    assert sorted(set(spans(ENGLISH))) == sorted(set(spans(CHINESE)))
    assert links(ENGLISH) - {"README.zh-CN.md"} == links(CHINESE) - {"README.md"}
    levels = [re.findall(r"^#+(?= )", text, re.M) for text in (ENGLISH, CHINESE)]
    assert levels[0] == levels[1]


def test_tables_are_up_to_date() -> None:
    done = run([str(ROOT / "tools" / "readme.py"), "--check"], ROOT)
    assert done.returncode == 0, done.stderr
