"""What the page's server answers: its own routes and results, bounded requests, no paths."""

from __future__ import annotations

import asyncio

import pytest

from tools.web.gate import Gate, names_a_path
from tools.web.results import Results


async def behind(scope, receive, send):
    """Stand in for gradio: answer with the body that was received."""
    body = b""
    if scope["method"] == "POST":
        message = await receive()
        assert not message["more_body"]
        body = message["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def ask(gate: Gate, method: str, path: str, chunks=(b"",), length: int | None = None):
    """Return status, headers and body of an answer."""
    sent, left = [], list(chunks)
    headers = [] if length is None else [(b"content-length", str(length).encode())]

    async def receive():
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    asyncio.run(gate(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


@pytest.fixture
def gate():
    return Gate(behind, Results(), most=100)


PAGE = [
    "/", "/config", "/theme.css", "/favicon.ico", "/assets/index-abc.js", "/static/fonts/a/b.woff2",
    "/gradio_api/startup-events", "/gradio_api/queue/data", "/gradio_api/heartbeat/abc123",
]  # fmt: skip
OTHERS = [
    "/gradio_api/file=/etc/passwd", "/gradio_api/file=tools/web/gate.py", "/file=/etc/passwd",
    "/gradio_api/file/etc/passwd", "/gradio_api/proxy=http://example.com/", "/gradio_api/upload",
    "/assets/../../etc/passwd", "/static/../gate.py", "/gradio_api/vibe-code", "/monitoring",
    "/gradio_api/stream/a/b/c/playlist-file", "/results/", "/results/short/a.png", "/login",
    "/gradio_api/deep_link", "/custom_component/a/b/c/d", "/gradio_api/component_server",
]  # fmt: skip


@pytest.mark.parametrize("path", PAGE)
def test_the_pages_own_routes_pass_with_strict_headers(gate, path):
    status, headers, _ = ask(gate, "GET", path)
    assert status == 200
    policy = headers[b"content-security-policy"].decode()
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert headers[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", OTHERS)
def test_everything_else_is_not_there(gate, method, path):
    assert ask(gate, method, path)[0] == 404


def test_events_pass_whole(gate):
    status, _, body = ask(gate, "POST", "/gradio_api/queue/join", [b'{"a":', b"1}"], 7)
    assert (status, body) == (200, b'{"a":1}')


@pytest.mark.parametrize(
    ("chunks", "length"),
    [([b"x"], 101), ([b"x" * 60, b"x" * 60], None), ([b"x" * 101], 10), ([b"x"], None)],
)
def test_events_are_bounded_whatever_they_say_of_their_length(gate, chunks, length):
    status = ask(gate, "POST", "/gradio_api/queue/join", chunks, length)[0]
    assert status == (200 if sum(map(len, chunks)) <= 100 and length is None else 413)


@pytest.mark.parametrize(
    "body",
    [
        b'{"data": [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}]}',
        b'{"data": [[{"\\u0070ath": "http://example.com/"}]]}',
        b'{"path": ',
        b"[" * 20_000 + b'"path"' + b"]" * 20_000,
    ],
)
def test_events_that_name_a_path_are_refused(body):
    gate = Gate(behind, Results(), most=10**6)
    assert names_a_path(body)
    assert ask(gate, "POST", "/gradio_api/queue/join", [body])[0] == 400


@pytest.mark.parametrize("body", [b'{"data": ["a path", 1]}', b'{"file": "\\u0070ath"}', b"{}"])
def test_a_path_in_a_text_is_none(body):
    assert not names_a_path(body)


def test_results_are_downloaded_by_their_token_alone():
    results = Results()
    token = results.put({"depth_1.png": b"picture", "secret.key": b"no"})
    gate = Gate(behind, results, most=100)
    status, headers, body = ask(gate, "GET", f"/results/{token}/depth_1.png")
    assert (status, body, headers[b"content-type"]) == (200, b"picture", b"image/png")
    assert headers[b"content-disposition"] == b'attachment; filename="depth_1.png"'
    for path in (f"{token}/other.png", f"{token}/secret.key", f"{'A' * 24}/depth_1.png"):
        assert ask(gate, "GET", f"/results/{path}")[0] == 404


def test_old_results_make_room():
    results = Results(memory=100)
    first, second = results.put({"a.png": b"x" * 60}), results.put({"a.png": b"y" * 60})
    assert results.get(first, "a.png") is None
    assert results.get(second, "a.png") == b"y" * 60
    third = results.put({"a.png": b"z" * 500})  # the latest stays, however large
    assert results.get(third, "a.png") == b"z" * 500
    assert results.get(second, "a.png") is None


def test_websockets_are_refused(gate):
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(gate({"type": "websocket", "path": "/"}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
