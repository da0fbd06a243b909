"""The cache folder: where it is, what is recorded, and that changes to it are found out."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from weight_files import NAME, SHAPES, pickle_bytes, same, tensors

from official.multimodal.taming_transformer.bar import terminal_bar
from official.multimodal.taming_transformer.cache import (
    bundled_file,
    cache_dir,
    cached_weights,
    download_file,
    native_file,
    read_record,
    record_file,
    remove_weights,
    verify_weights,
)
from official.multimodal.taming_transformer.errors import CheckpointError
from official.multimodal.taming_transformer.files import human, read_json, write_json
from official.multimodal.taming_transformer.weights import add_weights, find_weights

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the cached file of the tiny model."""
    monkeypatch.setenv("TAMING_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine.pkl").write_bytes(pickle_bytes(tensors()))
    return add_weights(NAME, SHAPES, [tmp_path / "mine.pkl"])


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"TAMING_CACHE": "/a/b"}, "/a/b"),
        ({"TAMING_CACHE": "~/b"}, "/home/me/b"),
        ({"MGE_HOME": "/m"}, "/m/taming_transformer"),
        ({"MGE_HOME": "~/m", "XDG_CACHE_HOME": "/x"}, "/home/me/m/taming_transformer"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/megengine/taming_transformer"),
        ({}, "/home/me/.cache/megengine/taming_transformer"),
    ],
)
def test_cache_is_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str
) -> None:
    for name in ("TAMING_CACHE", "MGE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USERPROFILE", "/home/me")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_dir() == Path(folder).absolute()


def test_cache_is_in_the_home_that_megengine_uses(tmp_path: Path) -> None:
    code = (
        "import megengine.hub.hub as hub\n"
        "from official.multimodal.taming_transformer.cache import cache_dir\n"
        "print(hub._get_megengine_home()); print(cache_dir())"
    )
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("TAMING_", "XDG_", "MGE_"))}
    plain["XDG_CACHE_HOME"] = str(tmp_path)
    out = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=plain,
        capture_output=True,
        text=True,
        check=True,
    )
    theirs, ours = out.stdout.split()
    assert Path(ours).parent == Path(theirs)


def test_shipped_weights_are_looked_for_in_the_checkout() -> None:
    assert bundled_file("a_model") == ROOT / "assets" / "weights" / "a_model.safetensors"


def test_absent_weights_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TAMING_CACHE", str(tmp_path / "none"))
    assert cached_weights(NAME, SHAPES) is None
    assert list(tmp_path.iterdir()) == []


def test_intact_weights_are_found_and_verified(cached: Path) -> None:
    assert cached_weights(NAME, SHAPES) == cached
    assert verify_weights(NAME) == read_record(NAME)["file"]["sha256"]


def test_changed_tensor_is_found_by_verification(cached: Path) -> None:
    recorded = read_record(NAME)["file"]["sha256"]
    flip(cached, -5)
    assert cached_weights(NAME, SHAPES) == cached
    with pytest.raises(CheckpointError, match=f"is damaged.*{recorded}"):
        verify_weights(NAME)


@pytest.mark.parametrize("damage", ["shortened", "lengthened", "header"])
def test_changed_file_is_found_when_it_is_asked_for(cached: Path, damage: str) -> None:
    if damage == "header":
        at = cached.read_bytes().index(b"encoder.w")
        flip(cached, at)
    else:
        data = cached.read_bytes()
        cached.write_bytes(data[:-4] if damage == "shortened" else data + b"1234")
    before = cached.read_bytes()
    with pytest.raises(CheckpointError, match=rf"has changed.*tools/weights\.py remove {NAME}"):
        find_weights(NAME, SHAPES)
    assert cached.read_bytes() == before


def test_cached_weights_of_other_shapes_are_refused(cached: Path) -> None:
    with pytest.raises(CheckpointError, match=r"first difference: encoder\.b"):
        cached_weights(NAME, {**SHAPES, "encoder.b": (7,)})


def test_file_without_a_record_is_adopted_only_if_asked(cached: Path) -> None:
    record_file(NAME).unlink()
    assert cached_weights(NAME, SHAPES, adopt=False) is None
    assert not record_file(NAME).exists()
    assert cached_weights(NAME, SHAPES) == cached
    assert record_file(NAME).exists()


def test_reading_the_cache_writes_nothing(cached: Path) -> None:
    before = {path: path.stat() for path in cached.parent.rglob("*")}
    assert find_weights(NAME, SHAPES) == cached
    assert {path: path.stat() for path in cached.parent.rglob("*")} == before


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_is_drawn_for_people_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, drawn in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr(sys, "stderr", stream)
        show = terminal_bar()
        for done in (0, 50, 10, 100, 0, 100):  # a second source may have a file of that name
            show("some.ckpt", done, 100)
        assert ("some.ckpt" in stream.getvalue()) is drawn
        assert stream.getvalue().count("100%") == (2 if drawn else 0)


def test_unreadable_record_is_made_anew(cached: Path) -> None:
    record_file(NAME).write_text("{ no json")
    assert cached_weights(NAME, SHAPES) == cached
    assert verify_weights(NAME)


def test_verification_without_a_file_or_a_record_says_so(cached: Path) -> None:
    record_file(NAME).unlink()
    with pytest.raises(CheckpointError, match="has no record"):
        verify_weights(NAME)
    cached.unlink()
    with pytest.raises(FileNotFoundError, match="there is no cached file"):
        verify_weights(NAME)


def test_removal_takes_the_downloads_too_and_nothing_else(cached: Path) -> None:
    downloads = cached.parent / "downloads"
    mine = download_file(NAME, "https://a/b", ".ckpt")
    for name in (mine.name, mine.name + ".part", mine.name + ".part.json", "." + mine.name):
        (downloads / name).write_bytes(b"x")
    other = download_file(NAME + "_2", "https://a/b", ".ckpt")
    other.write_bytes(b"x")
    assert remove_weights(NAME)
    assert not remove_weights(NAME)
    assert list(downloads.iterdir()) == [other]
    assert not native_file(NAME).exists()


def test_kill_between_two_files_of_a_replacement_does_no_harm(
    cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new.pkl").write_bytes(pickle_bytes(tensors(1)))
    with monkeypatch.context() as patch:
        patch.setattr("official.multimodal.taming_transformer.cache._record", _killed)
        with pytest.raises(SystemExit):
            add_weights(NAME, SHAPES, [tmp_path / "new.pkl"])
    assert cached_weights(NAME, SHAPES) == cached
    assert same(cached, tensors(1))
    assert verify_weights(NAME)


def _killed(*args: object) -> None:
    raise SystemExit


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
    path.write_text("[1]")
    assert read_json(path) == {}


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (980_092_370, "980.1 MB"), (4.3e9, "4.3 GB")],
)
def test_sizes_are_written_for_people(size: float, text: str) -> None:
    assert human(size) == text
