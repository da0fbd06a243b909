"""Finding weights: the order of looking, what is refused, and that the old cache survives."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Iterator

import numpy as np
import pytest
from http_server import Site, serving
from weight_files import (
    NAME,
    SHAPES,
    half,
    native_bytes,
    pickle_bytes,
    prefixed,
    read,
    same,
    tensors,
    zip_file,
)

from official.multimodal.taming_transformer import files
from official.multimodal.taming_transformer.cache import read_record, remove_weights
from official.multimodal.taming_transformer.errors import CheckpointError, WeightsUnavailableError
from official.multimodal.taming_transformer.sources import Source
from official.multimodal.taming_transformer.weights import add_weights, find_weights

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "official.multimodal.taming_transformer"
Usage = namedtuple("Usage", "total used free")
VALUES = tensors()
PICKLE = pickle_bytes(VALUES)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache folder that does not exist yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("TAMING_CACHE", str(folder))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("TAMING_MIRROR", raising=False)
    monkeypatch.delenv("TAMING_OFFLINE", raising=False)
    impatient = SimpleNamespace(sleep=lambda seconds: None)
    monkeypatch.setattr(f"{PACKAGE}.download.time", impatient)
    return folder


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


def find(*sources: Source, **options: Any) -> Path:
    return find_weights(NAME, SHAPES, sources=sources, **options)


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def unavailable(*sources: Source, **options: Any) -> str:
    with pytest.raises(WeightsUnavailableError) as caught:
        find(*sources, **options)
    return str(caught.value)


def test_source_is_fetched_converted_once_and_cached(site: Site, cache: Path) -> None:
    url = site.put("/tiny.pkl", body=PICKLE)
    path = find(Source(url))
    assert path == cache / f"{NAME}.safetensors"
    assert same(path, VALUES)
    assert names(cache) == {f"{NAME}.safetensors", f"{NAME}.json"}
    record = json.loads((cache / f"{NAME}.json").read_text())
    assert record["source"] == url
    assert record["file"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record["file"]["size"] == path.stat().st_size
    assert record["fetched"][url]["sha256"] == hashlib.sha256(PICKLE).hexdigest()
    assert find(Source(url)) == path
    assert len(site.asked("/tiny.pkl")) == 1


def test_progress_names_the_file(site: Site) -> None:
    seen: list[tuple[str, int, int | None]] = []
    find(Source(site.put("/tiny.pkl", body=PICKLE)), progress=lambda *args: seen.append(args))
    assert seen[-1] == ("tiny.pkl", len(PICKLE), len(PICKLE))


def test_half_precision_stays_half(site: Site) -> None:
    small = {name: value.astype(np.float16) for name, value in VALUES.items()}
    assert same(find(Source(site.put("/t.pkl", body=pickle_bytes(small)))), small)


def test_sources_are_tried_in_order_until_one_works(site: Site) -> None:
    broken = [
        Source(site.put("/gone.pkl", statuses=[404])),
        Source(site.put("/page.pkl", body=b"<html>hello</html>")),
        Source(site.put("/code.pkl", body=b"\x80\x04cos\nsystem\n(S'true'\ntR.")),
        Source(site.put("/wrong.pkl", body=PICKLE + b"x"), sha256="0" * 64),
        Source(site.put("/other.pkl", body=pickle_bytes({"x": np.zeros(3, np.float32)}))),
    ]
    path = find(*broken, Source(site.put("/good.pkl", body=PICKLE)))
    assert same(path, VALUES)
    assert read_record(NAME)["source"].endswith("/good.pkl")
    assert set(read_record(NAME)["fetched"]) == {site.root + "/good.pkl"}


def test_final_error_lists_every_source_and_the_cure(site: Site, cache: Path) -> None:
    sources = [
        Source(site.put("/gone.pkl", statuses=[404])),
        Source(site.put("/wrong.pkl", body=b"\x80\x04wrong"), sha256="0" * 64),
        Source(site.put("/other.pkl", body=pickle_bytes({"x": np.zeros(3, np.float32)}))),
    ]
    text = unavailable(*sources)
    lines = text.splitlines()
    assert f"no weights for {NAME}; places tried: 3" in lines[0]
    assert "/gone.pkl" in lines[1]
    assert "404" in lines[1]
    assert "/wrong.pkl" in lines[2]
    assert "0" * 64 in lines[2]
    assert "/other.pkl" in lines[3]
    assert "encoder.w" in lines[3]
    assert str(cache) in text
    assert f"tools/weights.py add {NAME} FILE" in text
    assert names(cache) == set()


def test_model_without_sources_says_so() -> None:
    assert "no published source is known" in unavailable()


def test_part_is_taken_out_of_a_larger_checkpoint(site: Site) -> None:
    whole = {**prefixed(VALUES, "first_stage_model."), "transformer.x": np.zeros(9, np.float32)}
    source = Source(site.put("/t.pkl", body=pickle_bytes(whole)), part="first_stage_model")
    assert same(find(source), VALUES)


def set_of_files(site: Site) -> Source:
    first = site.put("/encoder.pkl", body=pickle_bytes(half(VALUES, "encoder.")))
    second = site.put("/decoder.pkl", body=pickle_bytes(half(VALUES, "decoder.")))
    return Source(first, prefix="encoder.", rest=(Source(second, prefix="decoder."),))


def test_set_of_files_makes_one_model(site: Site) -> None:
    assert same(find(set_of_files(site)), VALUES)
    assert len(read_record(NAME)["fetched"]) == 2


def test_set_of_files_fails_as_a_whole(site: Site, cache: Path) -> None:
    source = set_of_files(site)
    site.pages["/decoder.pkl"].statuses = [404] * 9
    assert "404" in unavailable(source)
    assert not (cache / f"{NAME}.safetensors").exists()


def test_checkpoint_is_taken_out_of_a_zip(site: Site, tmp_path: Path, cache: Path) -> None:
    data = zip_file(tmp_path / "z", {"run/a.yaml": b"x", "run/model.ckpt": PICKLE}).read_bytes()
    digest = hashlib.sha256(PICKLE).hexdigest()
    source = Source(site.put("/t.zip", body=data), digest, len(PICKLE), member="*model.ckpt")
    assert same(find(source), VALUES)
    assert names(cache) == {f"{NAME}.safetensors", f"{NAME}.json"}


def test_host_that_might_have_used_a_zip_may_serve_the_file_itself(site: Site) -> None:
    assert same(find(Source(site.put("/f", body=PICKLE), member="*model.ckpt")), VALUES)


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"a/model.ckpt": PICKLE, "b/model.ckpt": PICKLE}, "holds 2 files"),
        ({"readme": b"x"}, "Unpack the archive"),
        ({"model.ckpt": PICKLE + b"x"}, "expected " + hashlib.sha256(PICKLE).hexdigest()),
    ],
)
def test_unusable_zip_is_refused(
    site: Site, tmp_path: Path, cache: Path, members: dict[str, bytes], complaint: str
) -> None:
    url = site.put("/t.zip", body=zip_file(tmp_path / "z", members).read_bytes())
    digest = hashlib.sha256(PICKLE).hexdigest() if "expected" in complaint else None
    assert complaint in unavailable(Source(url, digest, member="*model.ckpt"))
    assert names(cache) == set()


@pytest.mark.parametrize("place", [0.01, 0.5])
def test_damaged_zip_is_refused_and_fetched_anew(
    site: Site, tmp_path: Path, cache: Path, place: float
) -> None:
    data = bytearray(zip_file(tmp_path / "z", {"model.ckpt": PICKLE}).read_bytes())
    good = bytes(data)
    at = int(place * len(data))
    data[at : at + 30] = bytes(30)
    source = Source(site.put("/t.zip", body=bytes(data)), member="*model.ckpt")
    assert "cannot be unpacked" in unavailable(source)
    assert names(cache) == set()
    site.pages["/t.zip"].body = good
    assert same(find(source), VALUES)


def test_zip_bomb_is_refused_by_its_stated_size(
    site: Site, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = zip_file(tmp_path / "z", {"model.ckpt": bytes(50_000_000)}).read_bytes()
    monkeypatch.setattr(
        files.shutil, "disk_usage", lambda _: Usage(0, 0, files.RESERVE + 10_000_000)
    )
    text = unavailable(Source(site.put("/t.zip", body=bomb), member="*model.ckpt"))
    assert "not enough room" in text
    assert not any(name.endswith(".ckpt") for name in names(cache))


def test_full_disk_is_found_out_before_anything_is_written(
    site: Site, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: Usage(0, 0, files.RESERVE + 100))
    assert "not enough room" in unavailable(Source(site.put("/t.pkl", body=PICKLE)))
    assert names(cache) == set()


def test_shipped_file_comes_first(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "shipped.safetensors"
    shipped.write_bytes(native_bytes(tmp_path, VALUES))
    monkeypatch.setattr(f"{PACKAGE}.weights.bundled_file", lambda name: shipped)
    assert find(Source(site.put("/t.pkl", body=PICKLE))) == shipped
    assert site.seen == []


@pytest.mark.parametrize("file", [f"{NAME}.ckpt", f"{NAME}.pkl", f"{NAME}.pth", "published.pkl"])
def test_file_put_by_hand_is_converted_and_kept(site: Site, cache: Path, file: str) -> None:
    cache.mkdir()
    (cache / file).write_bytes(PICKLE)
    path = find(Source(site.root + "/published.pkl"))
    assert same(path, VALUES)
    assert (cache / file).read_bytes() == PICKLE
    assert site.seen == []


def test_published_name_that_any_model_has_is_not_taken(site: Site, cache: Path) -> None:
    cache.mkdir()
    (cache / "last.ckpt").write_bytes(PICKLE)
    assert "places tried: 1" in unavailable(Source(site.root + "/last.ckpt"))


def test_set_of_files_put_by_hand_is_converted(cache: Path, site: Site) -> None:
    cache.mkdir()
    for side in ("encoder", "decoder"):
        (cache / f"{side}.pkl").write_bytes(pickle_bytes(half(VALUES, f"{side}.")))
    assert same(find(set_of_files(site)), VALUES)
    assert site.seen == []


def test_wrong_file_put_by_hand_is_told_and_kept(
    site: Site, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.mkdir()
    wrong = pickle_bytes({"x": np.zeros(3, np.float32)})
    (cache / f"{NAME}.ckpt").write_bytes(wrong)
    assert same(find(Source(site.put("/t.pkl", body=PICKLE))), VALUES)
    assert (cache / f"{NAME}.ckpt").read_bytes() == wrong
    assert [r.levelname for r in caplog.records if f"{NAME}.ckpt" in r.getMessage()] == ["WARNING"]


def test_native_file_put_by_hand_is_recorded(cache: Path, tmp_path: Path) -> None:
    cache.mkdir()
    (cache / f"{NAME}.safetensors").write_bytes(native_bytes(tmp_path, VALUES))
    assert same(find(), VALUES)
    assert "put by hand" in read_record(NAME)["source"]


def test_file_of_another_model_under_the_native_name_is_refused(
    cache: Path, tmp_path: Path
) -> None:
    cache.mkdir()
    other = native_bytes(tmp_path, {"x": np.zeros(3, np.float32)})
    (cache / f"{NAME}.safetensors").write_bytes(other)
    with pytest.raises(CheckpointError, match="expected safetensors with the 4 of the model"):
        find()
    assert (cache / f"{NAME}.safetensors").read_bytes() == other


def test_mirror_folder_is_used_before_any_server(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file, data in ((f"{NAME}.safetensors", native_bytes(tmp_path, VALUES)), ("t.pkl", PICKLE)):
        mirror = tmp_path / file.replace(".", "_")
        mirror.mkdir()
        (mirror / file).write_bytes(data)
        monkeypatch.setenv("TAMING_MIRROR", str(mirror))
        assert same(find(Source(site.root + "/t.pkl"), offline=True), VALUES)
        assert read_record(NAME)["source"] == str(mirror / file)
        remove_weights(NAME)
    assert site.seen == []


@pytest.mark.parametrize("file", [f"{NAME}.safetensors", "t.pkl"])
def test_mirror_address_is_asked_before_the_sources(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    data = PICKLE if file.endswith("pkl") else native_bytes(tmp_path, VALUES)
    site.put(f"/mirror/{file}", body=data)
    monkeypatch.setenv("TAMING_MIRROR", site.root + "/mirror/")
    assert same(find(Source("https://nowhere.invalid/t.pkl")), VALUES)
    assert read_record(NAME)["source"] == f"{site.root}/mirror/{file}"


def test_mirror_that_lacks_the_model_is_passed_over(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mirror in (str(tmp_path / "absent"), site.root + "/mirror"):
        monkeypatch.setenv("TAMING_MIRROR", mirror)
        assert same(find(Source(site.put("/t.pkl", body=PICKLE))), VALUES)
        remove_weights(NAME)


@pytest.mark.parametrize("switch", ["argument", "1", "true"])
def test_offline_asks_nobody(site: Site, monkeypatch: pytest.MonkeyPatch, switch: str) -> None:
    source = Source(site.put("/t.pkl", body=PICKLE))
    monkeypatch.setenv("TAMING_MIRROR", site.root)
    if switch == "argument":
        text = unavailable(source, offline=True)
    else:
        monkeypatch.setenv("TAMING_OFFLINE", switch)
        text = unavailable(source)
    assert text.count("offline") >= 2
    assert site.seen == []


def test_offline_uses_the_cache(site: Site) -> None:
    path = find(Source(site.put("/t.pkl", body=PICKLE)))
    assert find(offline=True) == path


def test_source_that_changed_since_first_use_is_refused(site: Site, cache: Path) -> None:
    source = Source(site.put("/t.pkl", body=PICKLE))
    find(source)
    remove_weights(NAME)
    assert names(cache) == {f"{NAME}.json"}
    site.pages["/t.pkl"].body = pickle_bytes(tensors(1))
    text = unavailable(source)
    assert "has changed" in text
    assert hashlib.sha256(PICKLE).hexdigest() in text
    assert names(cache) == {f"{NAME}.json"}
    remove_weights(NAME, forget=True)
    assert same(find(source), tensors(1))


def test_unusable_cache_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TAMING_CACHE", str(tmp_path / "file" / "cache"))
    assert "TAMING_CACHE" in unavailable(Source("https://nowhere.invalid/t.pkl"))


def test_name_that_leads_out_of_the_folder_is_refused() -> None:
    with pytest.raises(ValueError, match="letters, digits and underscores"):
        find_weights("../evil", SHAPES)


def test_added_file_becomes_the_weights(tmp_path: Path) -> None:
    (tmp_path / "mine.pkl").write_bytes(PICKLE)
    assert same(add_weights(NAME, SHAPES, [tmp_path / "mine.pkl"]), VALUES)
    (tmp_path / "newer.pkl").write_bytes(pickle_bytes(tensors(1)))
    add_weights(NAME, SHAPES, [tmp_path / "newer.pkl"])
    assert same(find(), tensors(1))


def test_added_files_make_one_model(tmp_path: Path) -> None:
    paths = [tmp_path / "my_decoder.pkl", tmp_path / "my_encoder.pkl"]
    for path, side in zip(paths, ("decoder.", "encoder.")):
        path.write_bytes(pickle_bytes(half(VALUES, side)))
    assert same(add_weights(NAME, SHAPES, paths), VALUES)


def test_added_part_is_taken_out(tmp_path: Path) -> None:
    (tmp_path / "whole.pkl").write_bytes(pickle_bytes(prefixed(VALUES, "cond_stage_model.")))
    path = add_weights(NAME, SHAPES, [tmp_path / "whole.pkl"], part="cond_stage")
    assert same(path, VALUES)


def test_missing_part_and_unknown_part_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.pkl").write_bytes(PICKLE)
    with pytest.raises(CheckpointError, match="holds no first_stage_model"):
        add_weights(NAME, SHAPES, [tmp_path / "mine.pkl"], part="first_stage")
    with pytest.raises(ValueError, match="there is no part 'head'"):
        add_weights(NAME, SHAPES, [tmp_path / "mine.pkl"], part="head")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (None, FileNotFoundError),
        (b"nonsense", CheckpointError),
        (PICKLE[:-40], CheckpointError),
        (pickle_bytes({"x": np.zeros(3, np.float32)}), CheckpointError),
    ],
)
def test_old_cache_survives_a_wrong_addition(
    tmp_path: Path, cache: Path, data: bytes | None, error: type[Exception]
) -> None:
    (tmp_path / "mine.pkl").write_bytes(PICKLE)
    add_weights(NAME, SHAPES, [tmp_path / "mine.pkl"])
    before = {path: (cache / path).read_bytes() for path in names(cache)}
    wrong = tmp_path / "wrong.pkl"
    if data is not None:
        wrong.write_bytes(data)
    with pytest.raises(error, match=r"wrong\.pkl") as caught:
        add_weights(NAME, SHAPES, [wrong])
    assert "\n" not in str(caught.value)
    assert {path: (cache / path).read_bytes() for path in names(cache)} == before


def test_wrong_addition_names_the_model_that_it_is(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle_bytes({"x": np.zeros(3, np.float32)}))
    models = {"other_model": {"x": (3,)}, NAME: SHAPES}
    with pytest.raises(CheckpointError, match="other_model"):
        add_weights(NAME, SHAPES, [tmp_path / "x.pkl"], candidates=lambda: models)


SCRIPT = """
import sys
sys.path.insert(0, "tests")
from weight_files import NAME, SHAPES
from official.multimodal.taming_transformer.sources import Source
from official.multimodal.taming_transformer.weights import find_weights
print("start", flush=True)
print(find_weights(NAME, SHAPES, sources=[Source(sys.argv[1])]))
"""


def spawn(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_fetch_and_convert_once(site: Site, cache: Path) -> None:
    url = site.put("/t.pkl", body=PICKLE, pause=0.02)
    both = [spawn(url) for _ in range(2)]
    outs = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    assert len(site.asked("/t.pkl")) == 1
    assert names(cache) == {f"{NAME}.safetensors", f"{NAME}.json"}


def test_killed_fetch_is_continued(site: Site, cache: Path) -> None:
    url = site.put("/t.pkl", body=PICKLE, pause=0.05)
    process = spawn(url)
    deadline = time.monotonic() + 120
    while not any(p.stat().st_size > 20_000 for p in cache.glob("downloads/*.part")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
    process.kill()
    process.communicate()
    assert not (cache / f"{NAME}.safetensors").exists()
    site.pages["/t.pkl"].pause = 0
    assert same(find(Source(url)), VALUES)
    assert [seen.range is not None for seen in site.asked("/t.pkl")] == [False, True]
    assert names(cache) == {f"{NAME}.safetensors", f"{NAME}.json"}


def test_reading_helper_sees_differences(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(PICKLE)
    assert same(tmp_path / "a.pkl", read(tmp_path / "a.pkl"))
    assert not same(tmp_path / "a.pkl", tensors(1))
