"""Downloads against a real server that misbehaves: what arrives is right, or nothing is left."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path
from typing import Iterator

import numpy as np
import pytest
import requests
from http_server import Site, serving

from official.multimodal.taming_transformer import files
from official.multimodal.taming_transformer.download import download
from official.multimodal.taming_transformer.errors import DownloadError
from official.multimodal.taming_transformer.files import locked, require_space
from official.multimodal.taming_transformer.transfer import _Session

ROOT = Path(__file__).resolve().parent.parent
BODY = np.random.default_rng(7).bytes(700_001)
SHA = hashlib.sha256(BODY).hexdigest()
FAST = {"backoff": 0.01, "timeout": (2.0, 2.0)}
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def part_bytes(target: Path) -> int:
    part = target.with_name(target.name + ".part")
    return part.stat().st_size if part.exists() else 0


def fails(url: str, target: Path, **options: object) -> str:
    """Download, expect a one-line failure, and return the line."""
    with pytest.raises(DownloadError) as caught:
        download(url, target, **{**FAST, **options})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_file_arrives_whole_and_alone(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.bin"
    seen: list[tuple[int, int | None]] = []
    url = site.put("/file", body=BODY)
    found = download(
        url, target, sha256=SHA.upper(), size=len(BODY), progress=lambda *a: seen.append(a)
    )
    assert found == target
    assert target.read_bytes() == BODY
    assert names(target.parent) == {"file.bin"}
    assert seen[0] == (0, len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_headers_are_sent(site: Site, tmp_path: Path) -> None:
    url = site.put("/file", body=BODY)
    download(url, tmp_path / "f", headers={"Referer": "https://example.org/folder"})
    asked = site.asked("/file")[0].headers
    assert asked["Referer"] == "https://example.org/folder"
    assert asked["Accept-Encoding"] == "identity"


def test_file_without_declared_length_arrives(site: Site, tmp_path: Path) -> None:
    download(site.put("/file", body=BODY, chunked=True), tmp_path / "f", **FAST)
    assert (tmp_path / "f").read_bytes() == BODY


def test_dropped_line_is_resumed_where_it_broke(site: Site, tmp_path: Path) -> None:
    url = site.put("/file", body=BODY, drop_after=200_000, drops=3)
    download(url, tmp_path / "f", **FAST)
    assert (tmp_path / "f").read_bytes() == BODY
    assert [seen.range for seen in site.asked("/file")] == [
        None, "bytes=200000-", "bytes=400000-", "bytes=600000-",
    ]  # fmt: skip
    assert site.asked("/file")[1].headers["If-Range"] == '"first"'


def test_progress_brings_patience_back(site: Site, tmp_path: Path) -> None:
    url = site.put("/file", body=BODY, drop_after=100_000, drops=7)
    download(url, tmp_path / "f", retries=1, **FAST)
    assert (tmp_path / "f").read_bytes() == BODY


def test_server_that_ignores_range_is_started_anew(site: Site, tmp_path: Path) -> None:
    url = site.put("/file", body=BODY, ranges=False, drop_after=200_000, drops=2)
    download(url, tmp_path / "f", **FAST)
    assert (tmp_path / "f").read_bytes() == BODY


def test_server_that_calls_the_whole_file_a_part_is_not_believed(
    site: Site, tmp_path: Path
) -> None:
    url = site.put("/file", body=BODY, drop_after=200_000, drops=1, lying_range=True)
    download(url, tmp_path / "f", **FAST)
    assert (tmp_path / "f").read_bytes() == BODY


def test_file_that_changed_meanwhile_is_started_anew(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "f"
    fails(site.put("/file", body=bytes(700_001), drop_after=200_000, drops=9), target, retries=0)
    assert part_bytes(target) == 200_000
    download(site.put("/file", body=BODY, etag='"second"'), target, **FAST)
    assert target.read_bytes() == BODY


def test_changed_file_is_noticed_where_the_server_does_not(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "f"
    fails(site.put("/file", body=bytes(700_001), drop_after=200_000, drops=9), target, retries=0)
    download(site.put("/file", body=BODY, etag='"second"', if_range=False), target, **FAST)
    assert target.read_bytes() == BODY


def test_piece_without_proof_is_not_continued(site: Site, tmp_path: Path) -> None:
    page = {"body": BODY, "etag": None}
    fails(site.put("/file", **page, drop_after=200_000, drops=9), tmp_path / "f", retries=0)
    download(site.put("/file", **page), tmp_path / "f", **FAST)
    assert [seen.range for seen in site.asked("/file")] == [None, None]


def test_digest_is_proof_enough_to_continue(site: Site, tmp_path: Path) -> None:
    page = {"body": BODY, "etag": None}
    fails(site.put("/file", **page, drop_after=200_000, drops=9), tmp_path / "f", retries=0)
    download(site.put("/file", **page), tmp_path / "f", sha256=SHA, **FAST)
    assert site.asked("/file")[1].range == "bytes=200000-"


def test_continued_file_with_wrong_bytes_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    wrong = {"body": bytes(700_001), "etag": None, "drop_after": 200_000, "drops": 9}
    fails(site.put("/file", **wrong), tmp_path / "f", retries=0)
    download(site.put("/file", body=BODY, etag=None), tmp_path / "f", sha256=SHA, **FAST)
    assert (tmp_path / "f").read_bytes() == BODY


def test_piece_of_another_address_is_not_continued(site: Site, tmp_path: Path) -> None:
    fails(site.put("/a", body=BODY, drop_after=200_000, drops=9), tmp_path / "f", retries=0)
    download(site.put("/b", body=BODY), tmp_path / "f", **FAST)
    assert site.asked("/b")[0].range is None


def test_piece_longer_than_the_file_is_discarded(site: Site, tmp_path: Path) -> None:
    url = site.put("/file", body=BODY, drop_after=200_000, drops=1)
    fails(url, tmp_path / "f", retries=0)
    (tmp_path / "f.part").write_bytes(bytes(len(BODY) + 5))
    download(url, tmp_path / "f", **FAST)
    assert [seen.range for seen in site.asked("/file")] == [None, None]
    assert (tmp_path / "f").read_bytes() == BODY


def test_range_refused_by_the_server_is_started_anew(site: Site, tmp_path: Path) -> None:
    url = site.put("/file", body=BODY, drop_after=200_000, drops=1)
    fails(url, tmp_path / "f", retries=0)
    site.pages["/file"].statuses = [416]
    download(url, tmp_path / "f", **FAST)
    assert (tmp_path / "f").read_bytes() == BODY


def test_server_that_claims_too_much_fails_after_its_retries(site: Site, tmp_path: Path) -> None:
    url = site.put("/file", body=BODY, claim=len(BODY) + 1000, etag=None)
    line = fails(url, tmp_path / "f", retries=2)
    assert f"{len(BODY)} of {len(BODY) + 1000} bytes" in line
    assert len(site.asked("/file")) == 4  # the first brought something, three brought nothing
    assert not (tmp_path / "f").exists()


def test_server_that_claims_too_little_is_found_out_by_the_size(site: Site, tmp_path: Path) -> None:
    line = fails(site.put("/file", body=BODY, claim=1000), tmp_path / "f", size=len(BODY))
    assert "offers 1000 bytes, expected 700001" in line
    assert names(tmp_path) == set()


def test_server_that_claims_too_little_is_found_out_by_the_digest(
    site: Site, tmp_path: Path
) -> None:
    cut = hashlib.sha256(BODY[:1000]).hexdigest()
    line = fails(site.put("/file", body=BODY, claim=1000), tmp_path / "f", sha256=SHA)
    assert SHA in line
    assert cut in line
    assert names(tmp_path) == set()


def test_unannounced_surplus_is_cut_off(site: Site, tmp_path: Path) -> None:
    line = fails(site.put("/file", body=BODY, chunked=True), tmp_path / "f", size=1000)
    assert "more than the expected 1000 bytes" in line
    assert names(tmp_path) == set()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_refusal_is_final(site: Site, tmp_path: Path, status: int) -> None:
    url = site.put("/file", body=BODY, statuses=[status] * 9)
    assert f"the server answered {status}" in fails(url, tmp_path / "f")
    assert len(site.asked("/file")) == 1
    assert names(tmp_path) == set()


def test_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    url = site.put("/file", body=BODY, statuses=[503, 429, 500])
    download(url, tmp_path / "f", **FAST)
    assert (tmp_path / "f").read_bytes() == BODY


def test_server_that_asks_for_a_pause_gets_it(site: Site, tmp_path: Path) -> None:
    url = site.put("/file", body=BODY, statuses=[503], headers={"Retry-After": "1"})
    begun = time.monotonic()
    download(url, tmp_path / "f", **FAST)
    assert time.monotonic() - begun >= 1


def test_server_that_stays_busy_fails(site: Site, tmp_path: Path) -> None:
    url = site.put("/file", body=BODY, statuses=[503] * 99)
    assert "503" in fails(url, tmp_path / "f", retries=2)
    assert len(site.asked("/file")) == 3


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_web_page_instead_of_a_file_is_refused(site: Site, tmp_path: Path, kind: str) -> None:
    page = b"\n<!DOCTYPE html><html>Please log in</html>"
    url = site.put("/file", body=page, headers={"Content-Type": kind})
    assert "sent a web page, expected a file" in fails(url, tmp_path / "f")
    assert names(tmp_path) == set()


def test_compressed_answer_is_refused(site: Site, tmp_path: Path) -> None:
    url = site.put("/file", body=BODY, headers={"Content-Encoding": "gzip"})
    assert "gzip" in fails(url, tmp_path / "f")


def test_wrong_bytes_are_discarded_and_both_digests_named(site: Site, tmp_path: Path) -> None:
    wrong = bytes(700_001)
    line = fails(site.put("/file", body=wrong), tmp_path / "f", sha256=SHA)
    assert SHA in line
    assert hashlib.sha256(wrong).hexdigest() in line
    assert names(tmp_path) == set()


def test_old_file_survives_every_failure(site: Site, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    for url in (
        site.put("/wrong", body=bytes(700_001)),
        site.put("/gone", statuses=[404]),
        site.put("/cut", body=BODY, drop_after=99, drops=9),
    ):
        fails(url, tmp_path / "f", sha256=SHA, retries=0)
        assert (tmp_path / "f").read_bytes() == b"old"
    download(site.put("/right", body=BODY), tmp_path / "f", sha256=SHA)
    assert (tmp_path / "f").read_bytes() == BODY


def test_complete_target_needs_no_server(site: Site, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(BODY)
    download(site.root + "/nothing", tmp_path / "f", sha256=SHA, size=len(BODY))
    assert site.seen == []


def test_redirect_is_followed(site: Site, tmp_path: Path) -> None:
    site.put("/file", body=BODY)
    download(site.put("/old", redirect="/file"), tmp_path / "f", **FAST)
    assert (tmp_path / "f").read_bytes() == BODY


@pytest.mark.parametrize("place", ["file:///etc/hostname", "ftp://127.0.0.1/file"])
def test_redirect_out_of_http_is_refused(site: Site, tmp_path: Path, place: str) -> None:
    assert "refused to follow" in fails(site.put("/old", redirect=place), tmp_path / "f")


def test_redirect_from_https_to_http_is_refused() -> None:
    answer = requests.Response()
    answer.status_code = 302
    answer.url = "https://example.org/file"
    answer.headers["location"] = "http://example.org/file"
    with pytest.raises(DownloadError, match="https may lead to https only"):
        _Session().get_redirect_target(answer)


def test_redirect_in_circles_fails(site: Site, tmp_path: Path) -> None:
    assert "TooManyRedirects" in fails(site.put("/a", redirect="/a"), tmp_path / "f")


def test_unreachable_server_fails_fast(tmp_path: Path) -> None:
    with serving() as site:
        url = site.root + "/file"
    begun = time.monotonic()
    assert "cannot be reached" in fails(url, tmp_path / "f", retries=50)
    assert time.monotonic() - begun < 3
    assert names(tmp_path) == set()


def test_silent_line_times_out(site: Site, tmp_path: Path) -> None:
    url = site.put("/file", body=BODY, pause=30.0)
    assert "the line broke" in fails(url, tmp_path / "f", timeout=(1, 0.3), retries=0)


def test_dripping_line_times_out(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("official.multimodal.taming_transformer.transfer.SLOWEST", 10**6)
    url = site.put("/file", body=BODY, pause=0.1)
    begun = time.monotonic()
    assert "bytes in" in fails(url, tmp_path / "f", timeout=(1, 0.5), retries=0)
    assert time.monotonic() - begun < 5


def test_declared_size_is_checked_against_the_disk(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: Usage(0, 0, files.RESERVE + 1000))
    line = fails(site.put("/file", body=BODY), tmp_path / "f")
    assert "not enough room" in line
    assert "TAMING_CACHE" in line
    assert names(tmp_path) == set()


def test_undeclared_size_stops_before_the_disk_is_full(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = "official.multimodal.taming_transformer.transfer."
    monkeypatch.setattr(package + "_SPACE_CHECK", 100_000)
    looks = iter([files.RESERVE + 1, *[files.RESERVE - 1] * 9])
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: Usage(0, 0, next(looks)))
    line = fails(site.put("/file", body=BODY, chunked=True), tmp_path / "f")
    assert "nearly full" in line
    assert names(tmp_path) == set()


def test_room_that_is_there_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: Usage(0, 0, files.RESERVE + 1000))
    require_space(tmp_path / "not" / "there", 1000)
    with pytest.raises(DownloadError, match="not enough room"):
        require_space(tmp_path / "not" / "there", 1001)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://a/b", "weights.ckpt", "http://"])
def test_address_that_is_not_http_is_a_value_error(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="expected an http or https address"):
        download(url, tmp_path / "f")


def test_malformed_digest_is_a_value_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        download("https://example.org/f", tmp_path / "f", sha256="abc")


def test_password_of_an_address_is_not_shown(site: Site, tmp_path: Path) -> None:
    url = site.root.replace("//", "//user:secret@") + "/gone"
    assert "secret" not in fails(url, tmp_path / "f")


def spawn(url: str, target: Path) -> subprocess.Popen[str]:
    """Start a process that downloads `url` and says so when it is done."""
    code = (
        "import sys; from pathlib import Path\n"
        "from official.multimodal.taming_transformer.download import download\n"
        "print('start', flush=True)\n"
        "download(sys.argv[1], Path(sys.argv[2])); print('done')"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, url, str(target)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: object, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.01)


def test_killed_download_is_continued(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "f"
    url = site.put("/file", body=BODY, pause=0.01)
    process = spawn(url, target)
    try:
        wait_for(lambda: part_bytes(target) > 100_000)
    finally:
        process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        process.communicate()
    kept = part_bytes(target)
    assert 0 < kept < len(BODY)
    assert not target.exists()
    site.pages["/file"].pause = 0
    download(url, target, **FAST)
    assert target.read_bytes() == BODY
    assert site.asked("/file")[-1].range == f"bytes={kept}-"
    assert names(tmp_path) == {"f"}


def test_two_processes_make_one_download(site: Site, tmp_path: Path) -> None:
    url = site.put("/file", body=BODY, pause=0.005)
    both = [spawn(url, tmp_path / "f") for _ in range(2)]
    outs = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    assert len(site.asked("/file")) == 1
    assert (tmp_path / "f").read_bytes() == BODY
    assert names(tmp_path) == {"f"}


def test_wait_for_a_lock_is_bounded_and_announced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lock = tmp_path / "lock"
    with locked(lock):
        second = locked(lock, wait=0.3, purpose="it")
        with pytest.raises(DownloadError, match="another process has been busy with it"), second:
            pytest.fail("two hold one lock")
    assert [record.getMessage() for record in caplog.records] == [
        "another process is busy with it: waiting for it"
    ]
    assert not lock.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_lock_on_a_file_that_was_just_removed_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock"
    real, removed = files.fcntl.flock, []

    def late(handle: int, operation: int) -> None:
        if not removed:
            removed.append(lock.unlink())  # as its holder does between our open and our lock
        real(handle, operation)

    monkeypatch.setattr(files.fcntl, "flock", late)
    with locked(lock):
        assert lock.exists()


def test_lock_admits_one_at_a_time(tmp_path: Path) -> None:
    inside, worst = [], []

    def work() -> None:
        for _ in range(20):
            with locked(tmp_path / "lock"):
                inside.append(1)
                worst.append(len(inside))
                time.sleep(0.0005)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(worst) == 80
    assert max(worst) == 1
