"""What the server answers at all: a list of routes, bounded requests, results, strict headers.

Gradio has routes that take paths of files (``file=``, ``upload``, ``proxy=``); the page uses none
of them, so none is reachable. It also opens (and fetches) what an event's values name by ``path``;
the page's values have no such key, so events with one are refused. Pictures travel as bytes in
events, downloads by token.
"""

from __future__ import annotations

import json
import re
from typing import Any, Awaitable, Callable, MutableMapping

from tools.web.results import TYPES, Results

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PAGE = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json|/pwa_icon(/\d+)?"
    r"|/(assets|static|svelte)/[\w./@+-]*"
    r"|/gradio_api/(startup-events|theme\.css|app_id|heartbeat/\w+|queue/data)/?"
)
EVENTS = re.compile(r"/gradio_api/(queue/join|cancel|reset)/?")
RESULT = re.compile(r"/results/([\w-]{24})/(\w+\.(\w+))", re.ASCII)
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self'; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class Gate:
    """ASGI middleware before gradio.

    Args:
        app: What is behind.
        results: What can be downloaded.
        most: Bytes of a request's body.
    """

    def __init__(self, app: App, results: Results, most: int):
        self._app, self._results, self._most = app, results, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, refuse or pass on one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        method, path = scope["method"], scope["path"]
        found = RESULT.fullmatch(path)
        if found and method in ("GET", "HEAD"):
            await self._download(send, *found.groups())
        elif method in ("GET", "HEAD") and PAGE.fullmatch(path) and ".." not in path:
            await self._app(scope, receive, _with_headers(send))
        elif method == "POST" and EVENTS.fullmatch(path):
            await self._event(scope, receive, send)
        else:
            await _answer(send, 404, b"not found\n", "text/plain")

    async def _event(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the whole body, as far as it is allowed to go, and pass it on."""
        length = dict(scope["headers"]).get(b"content-length", b"0")
        body, more = bytearray(), True
        too_much = not length.isdigit() or int(length) > self._most
        while more and not too_much:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            too_much = len(body) > self._most
        if too_much:
            await _answer(send, 413, b"too large\n", "text/plain")
            return
        if names_a_path(bytes(body)):
            await _answer(send, 400, b"no event of this page\n", "text/plain")
            return
        whole = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> MutableMapping[str, Any]:
            return whole.pop() if whole else await receive()

        await self._app(scope, replay, _with_headers(send))

    async def _download(self, send: Send, token: str, name: str, kind: str) -> None:
        data = self._results.get(token, name)
        if data is None or kind not in TYPES:
            await _answer(send, 404, b"this result is not kept any more\n", "text/plain")
            return
        named = (b"content-disposition", f'attachment; filename="{name}"'.encode())
        await _answer(send, 200, data, TYPES[kind], named)


def names_a_path(body: bytes) -> bool:
    """Tell whether a JSON text has an object with the key ``path``, or is no JSON at all."""
    if b"path" not in body and b"\\u" not in body:  # which is nearly always so
        return False
    try:
        left = [json.loads(body)]
    except (ValueError, RecursionError):
        return True
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if "path" in value:
                return True
            left += value.values()
        elif isinstance(value, list):
            left += value
    return False


def _with_headers(send: Send) -> Send:
    async def answer(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *HEADERS]
        await send(message)

    return answer


async def _answer(
    send: Send, status: int, body: bytes, kind: str, *more: tuple[bytes, bytes]
) -> None:
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *HEADERS,
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
