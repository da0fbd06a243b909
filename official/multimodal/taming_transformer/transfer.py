"""One attempt to fetch one file over HTTP: what is asked, what is accepted, what is written."""

from __future__ import annotations

import re
import time
from typing import Any, BinaryIO, Iterator, Mapping
from urllib.parse import urlsplit

import requests
import urllib3

from .errors import DownloadError
from .files import RESERVE, free_space, require_space, write_json
from .partial import DroppedError, Job, shown

SLOWEST = 1024
"""Bytes a second below which a line counts as dead."""

_CHUNK = 1 << 18
_SPACE_CHECK = 1 << 26  # bytes between two looks at the disk
_LATER = (408, 425, 429, 500, 502, 503, 504)  # answers that may be better later
_LONGEST_PAUSE = 60.0
_PAGE = re.compile(rb"\s*(<!doctype|<html|<head|<\?xml)", re.IGNORECASE)
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class _Session(requests.Session):
    """A session that no redirect leads out of HTTP(S), or from HTTPS to HTTP."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target is None:
            return None
        old, new = urlsplit(resp.url).scheme, urlsplit(target).scheme
        if new not in ("", "http", "https") or (old == "https" and new == "http"):
            raise DownloadError(
                f"{shown(resp.url)}: refused to follow it to {shown(target)}; "
                f"{old} may lead to {'https' if old == 'https' else 'http or https'} only"
            )
        return target


def fetch(job: Job, held: int, known: Mapping[str, Any]) -> int:
    """Ask for the file, or for what follows `held` bytes of it, and write what is sent.

    Returns:
        The bytes that were continued: 0 if the server began anew.

    Raises:
        DroppedError: the line broke or the server wants us to come back.
        DownloadError: the answer will not get better.
    """
    with _Session() as session, _ask(session, job, held, known) as response:
        offset, known = _judge(job, response, held, known)
        _receive(job, response, offset, known)
    return offset


def _ask(
    session: requests.Session, job: Job, held: int, known: Mapping[str, Any]
) -> requests.Response:
    headers = {"User-Agent": "taming-transformer", **job.headers, "Accept-Encoding": "identity"}
    if held:
        headers["Range"] = f"bytes={held}-"
        if known.get("validator"):
            headers["If-Range"] = known["validator"]
    try:
        return session.get(job.url, headers=headers, stream=True, timeout=job.timeout)
    except requests.exceptions.SSLError as error:
        raise job.error(f"no trusted connection ({_reason(error)})") from error
    except (requests.ConnectionError, requests.Timeout) as error:
        raise DroppedError(f"cannot be reached ({_reason(error)})", reached=False) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
        raise job.error(f"cannot be asked for ({_reason(error)})") from error


def _reason(error: BaseException) -> str:
    """Return the innermost cause in one short line."""
    while error.__context__ is not None:
        error = error.__context__
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__


def _judge(
    job: Job, response: requests.Response, held: int, known: Mapping[str, Any]
) -> tuple[int, Mapping[str, Any]]:
    """Return the offset of what the answer brings and what is known of the whole file."""
    if response.status_code == 206 and held:
        return held, _continued(job, response, held, known)
    if response.status_code == 416 and held:
        job.discard()
        raise DroppedError("the server will not continue the file; starting anew")
    if response.status_code in _LATER:
        raise DroppedError(f"the server answered {response.status_code}", pause=_pause(response))
    if response.status_code != 200:
        raise job.error(f"the server answered {response.status_code} {response.reason or ''}")
    _check_kind(job, response)
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdigit() else None
    if job.size is not None and total is not None and total != job.size:
        raise job.error(f"the server offers {total} bytes, expected {job.size}; another file?")
    job.discard()
    require_space(job.target, total if total is not None else job.size or 0)
    fresh = {"url": job.url, "total": total, "validator": _validator(response)}
    write_json(job.note, fresh)
    return 0, fresh


def _continued(
    job: Job, response: requests.Response, held: int, known: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Check that a partial answer is the rest of the file that we have a piece of."""
    match = _RANGE.match(response.headers.get("Content-Range", ""))
    start, total = match.groups() if match else ("", "*")
    same = start == str(held) and total in ("*", str(known.get("total") or total))
    validator = _validator(response)
    if not same or validator not in (None, known.get("validator")):
        job.discard()
        raise DroppedError("the server continued another file or place; starting anew")
    require_space(job.target, (known.get("total") or held) - held)
    return known


def _check_kind(job: Job, response: requests.Response) -> None:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        raise job.error("the server sent a web page, expected a file; open it in a browser to see")
    coding = response.headers.get("Content-Encoding", "identity").lower()
    if coding != "identity":
        raise job.error(f"the server sent the file in {coding} coding though told not to")


def _validator(response: requests.Response) -> str | None:
    """Return what `If-Range` may carry: a strong ETag, else the date of the last change."""
    tag = response.headers.get("ETag")
    if tag and not tag.startswith("W/"):
        return tag
    return response.headers.get("Last-Modified")


def _pause(response: requests.Response) -> float:
    asked = response.headers.get("Retry-After", "")
    return min(float(asked), _LONGEST_PAUSE) if asked.isdigit() else 0.0


def _receive(job: Job, response: requests.Response, offset: int, known: Mapping[str, Any]) -> None:
    total = known.get("total") or job.size
    try:
        with job.part.open("ab" if offset else "wb") as file:
            _write(job, response, file, offset, total)
    except DroppedError as drop:
        raise DroppedError(f"{drop} after {job.held()} of {total or 'unknown'} bytes") from drop
    if total is not None and job.held() < total:
        raise DroppedError(f"the line broke after {job.held()} of {total} bytes")


def _write(
    job: Job, response: requests.Response, file: BinaryIO, done: int, total: int | None
) -> None:
    next_look = done + _SPACE_CHECK
    job.progress(done, total)
    for chunk in _chunks(response, job.timeout[1]):
        if done == 0 and _PAGE.match(chunk):
            job.discard()
            raise job.error("the server sent a web page, expected a file")
        done += len(chunk)
        if total is not None and done > total:
            job.discard()
            raise job.error(f"the server sent more than the expected {total} bytes")
        if done >= next_look:
            next_look = done + _SPACE_CHECK
            if free_space(job.target) < RESERVE:
                job.discard()
                raise job.error(f"stopped, the disk of {job.target} is nearly full")
        file.write(chunk)
        job.progress(done, total)


def _chunks(response: requests.Response, patience: float) -> Iterator[bytes]:
    """Yield what arrives; a line that brings less than `SLOWEST` on average has dropped."""
    # read1 gives what is there; older urllib3 lack it, and their read waits for the whole chunk
    read = getattr(response.raw, "read1", None) or response.raw.read
    since, got = time.monotonic(), 0
    while True:
        try:
            chunk = read(_CHUNK, decode_content=False)
        except (urllib3.exceptions.HTTPError, requests.RequestException, OSError) as error:
            raise DroppedError(f"the line broke ({type(error).__name__})") from error
        if not chunk:
            return
        yield chunk
        got += len(chunk)
        if time.monotonic() - since > patience:
            if got < SLOWEST * patience:
                raise DroppedError(f"only {got} bytes in {patience:.0f} s")
            since, got = time.monotonic(), 0
