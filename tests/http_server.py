"""A real HTTP server on this machine that misbehaves as it is told to."""

from __future__ import annotations

import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Iterator


@dataclass
class Page:
    """What one path serves, and how badly.

    Attributes:
        body: The file.
        statuses: Answers that are given first, one a request, before the page is served.
        headers: Sent with every answer; they win over the ones that would be sent.
        etag: The validator, or None for none.
        ranges: Whether `Range` is understood.
        drop_after: Break the line after so many bytes of an answer.
        drops: How many answers are broken so.
        claim: The `Content-Length` that full answers claim, or None for the truth.
        chunked: Send no length.
        pause: Seconds between pieces of 4096 bytes.
        redirect: Where to send everybody.
        if_range: Whether `If-Range` is understood.
        lying_range: Answer every `Range` from byte 0 on while calling it a part.
    """

    body: bytes = b""
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    etag: str | None = '"first"'
    ranges: bool = True
    if_range: bool = True
    drop_after: int | None = None
    drops: int = 0
    claim: int | None = None
    chunked: bool = False
    pause: float = 0.0
    redirect: str | None = None
    lying_range: bool = False


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]

    @property
    def range(self) -> str | None:
        """The asked range."""
        return self.headers.get("Range")


class Site:
    """The pages of a server and the requests that it has seen."""

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}"
        self.pages: dict[str, Page] = {}
        self.seen: list[Seen] = []

    def put(self, path: str, **page: object) -> str:
        """Serve a page and return its address."""
        self.pages[path] = Page(**page)  # type: ignore[arg-type]
        return self.root + path

    def asked(self, path: str) -> list[Seen]:
        """Return the requests for one path."""
        return [seen for seen in self.seen if seen.path == path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""

    def do_GET(self) -> None:
        self.site.seen.append(Seen(self.path, dict(self.headers)))
        page = self.site.pages.get(self.path)
        self.close_connection = True
        if page is None:
            self._plain(404, b"<html>no such page</html>", {"Content-Type": "text/html"})
        elif page.statuses:
            self._plain(page.statuses.pop(0), b"not now", page.headers)
        elif page.redirect is not None:
            self._plain(302, b"", {"Location": page.redirect})
        else:
            self._serve(page)

    def _plain(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Connection", "close")
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _serve(self, page: Page) -> None:
        start = self._start(page)
        if start is not None and start >= len(page.body):
            self._plain(416, b"", {"Content-Range": f"bytes */{len(page.body)}"})
            return
        body = page.body if page.lying_range else page.body[start or 0 :]
        self.send_response(200 if start is None else 206)
        self.send_header("Connection", "close")
        for name, value in self._headers(page, start, len(body)).items():
            self.send_header(name, value)
        self.end_headers()
        self._send(page, body)

    def _start(self, page: Page) -> int | None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not match or not page.ranges:
            return None
        if page.if_range and self.headers.get("If-Range", page.etag) != page.etag:
            return None
        return int(match.group(1))

    def _headers(self, page: Page, start: int | None, length: int) -> dict[str, str]:
        headers = {"Content-Type": "application/octet-stream"}
        if page.etag is not None:
            headers["ETag"] = page.etag
        if page.chunked:
            headers["Transfer-Encoding"] = "chunked"
        else:
            claim = page.claim if start is None and page.claim is not None else length
            headers["Content-Length"] = str(claim)
        if start is not None:
            first = 0 if page.lying_range else start
            headers["Content-Range"] = f"bytes {first}-{len(page.body) - 1}/{len(page.body)}"
        return {**headers, **page.headers}

    def _send(self, page: Page, body: bytes) -> None:
        broken = page.drop_after is not None and page.drops > 0
        if broken:
            page.drops -= 1
            body = body[: page.drop_after]
        step = 4096 if page.pause else 1 << 16
        try:
            for at in range(0, len(body), step):
                self._piece(page, body[at : at + step])
                time.sleep(page.pause)
            if page.chunked and not broken:
                self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client went away: a test wanted that

    def _piece(self, page: Page, piece: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if page.chunked else piece)
        self.wfile.flush()


@contextmanager
def serving() -> Iterator[Site]:
    """Run a server on a free port of 127.0.0.1 and yield its site."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.site = site = Site(server.server_address[1])  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
