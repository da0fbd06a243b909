"""The command ``tools/weights.py``: its answers, its exit status, and no traceback."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
from http_server import Site, serving
from weight_files import NAME, SHAPES, pickle_bytes, same, tensors

from official.multimodal.taming_transformer.sources import Source
from official.multimodal.taming_transformer.zoo import MODELS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "official.multimodal.taming_transformer"
Run = Callable[..., int]


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAMING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("TAMING_MIRROR", raising=False)
    monkeypatch.delenv("TAMING_OFFLINE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def run(site: Site, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return the tool's ``main`` in a zoo of one tiny model, served at ``/tiny.pkl``."""
    spec = importlib.util.spec_from_file_location("weights_tool", ROOT / "tools" / "weights.py")
    assert spec is not None
    assert spec.loader is not None
    tool: Any = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec.loader.exec_module(tool)
    sources = (Source(site.put("/tiny.pkl", body=pickle_bytes(tensors())), note="upstream"),)
    row = replace(MODELS["vqgan_gumbel_f8"], name=NAME, sources=sources, licence="free")
    monkeypatch.setattr(tool, "MODELS", {NAME: row})
    monkeypatch.setattr(tool, "expected_shapes", lambda name: SHAPES)
    monkeypatch.setattr(f"{PACKAGE}.weights.SOURCES", {NAME: sources})
    return lambda *arguments: tool.main([str(a) for a in arguments])


def out(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_fetched_weights_are_listed_verified_and_removed(
    run: Run, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = cache / f"{NAME}.safetensors"
    assert run("fetch", NAME) == 0
    assert out(capsys) == f"{NAME}: {path}\n"
    assert same(path, tensors())
    assert run("list") == 0
    assert f"{NAME}  " in (text := out(capsys))
    assert "cached 161.5 kB" in text
    assert "1 source; free" in text
    assert run("verify") == 0
    assert "intact, SHA-256" in out(capsys)
    assert run("remove", NAME) == 0
    assert out(capsys) == f"{NAME}: removed\n"
    assert not path.exists()
    assert run("remove", NAME) == 0
    assert "was not cached" in out(capsys)


def test_list_for_programs_is_json(
    run: Run, cache: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("list", "--json") == 0
    (row,) = json.loads(out(capsys))["models"]
    assert (row["name"], row["state"], row["file"], row["size"]) == (NAME, "absent", None, None)
    assert row["sources"] == [[site.root + "/tiny.pkl"]]
    run("fetch", NAME)
    out(capsys)
    run("list", "--json")
    (row,) = json.loads(out(capsys))["models"]
    assert (row["state"], row["file"]) == ("cached", str(cache / f"{NAME}.safetensors"))
    assert row["size"] == Path(row["file"]).stat().st_size
    assert len(row["sha256"]) == 64
    assert row["from"] == site.root + "/tiny.pkl"


def test_path_answers_where_a_file_got_by_hand_goes(
    run: Run, cache: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("path", NAME) == 0
    lines = out(capsys).splitlines()
    assert lines[0] == str(cache / f"{NAME}.safetensors")
    assert f"  {cache}" in lines
    assert f"  {NAME}.ckpt" in lines
    assert "  tiny.pkl" in lines
    assert f"  {site.root}/tiny.pkl  (upstream)" in lines
    cache.mkdir()
    (cache / "tiny.pkl").write_bytes(pickle_bytes(tensors(1)))
    assert run("fetch", "--offline", NAME) == 0
    assert same(cache / f"{NAME}.safetensors", tensors(1))


def test_offline_fetch_asks_nobody_and_fails(
    run: Run, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("fetch", "--offline", NAME) == 1
    assert "not asked: offline" in capsys.readouterr().err
    assert site.seen == []


def test_failed_fetch_says_what_was_tried(
    run: Run, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.pages["/tiny.pkl"].statuses = [404]
    assert run("fetch", NAME) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: no weights for tiny_model; places tried: 1")
    assert "404" in error
    assert "Traceback" not in error


def test_damage_is_found_by_verify(
    run: Run, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("fetch", NAME)
    path = cache / f"{NAME}.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert run("verify") == 1
    assert "is damaged" in capsys.readouterr().err
    assert run("verify", NAME) == 1


def test_own_file_is_added(run: Run, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(pickle_bytes(tensors(2)))
    assert run("add", NAME, tmp_path / "last.ckpt") == 0
    assert same(cache / f"{NAME}.safetensors", tensors(2))


@pytest.mark.parametrize(
    "data", [None, b"", b"nonsense", pickle_bytes({"x": tensors()["encoder.b"]})]
)
def test_unusable_addition_is_one_line(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes | None
) -> None:
    if data is not None:
        (tmp_path / "last.ckpt").write_bytes(data)
    assert run("add", NAME, tmp_path / "last.ckpt") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    assert "last.ckpt" in error


def test_interruption_is_no_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"{PACKAGE}.install.download", interrupted)
    assert run("fetch", NAME) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["fetch"], ["fetch", "no_such"], ["add", NAME], ["nope"]]
)
def test_wrong_arguments_are_status_2(run: Run, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2


def tool(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "weights.py"), *arguments],
        cwd=folder,
        env={**os.environ, "TAMING_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_tool_runs_from_anywhere_and_lists_every_model(tmp_path: Path) -> None:
    done = tool("list", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [row["name"] for row in json.loads(done.stdout)["models"]] == list(MODELS)
    assert list(tmp_path.iterdir()) == []


def test_real_model_offline_is_an_error_without_noise(tmp_path: Path) -> None:
    done = tool("fetch", "--offline", "vqgan_gumbel_f8", folder=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: no weights for vqgan_gumbel_f8")
    assert "Traceback" not in done.stderr
