"""A way to a real OpenSearch that can be cut, slowed down by 429s and listened to."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Proxy:
    """What has come, and what to do with it: from request number `cut_at` on (0-based) nothing is answered any more.

    delivers_last  whether the first of those still reaches the server
    busy           a status for an operation of a bulk, given as its action and its number in the request, or None
    lets_in        the header Authorization without which nothing reaches the server; "": whatever comes
    most           bytes of the longest request that reaches the server; longer ones are answered `too_long`, a status
    """

    url: str
    asked: list[Asked] = field(default_factory=list)
    cut_at: int | None = None
    delivers_last: bool = False
    busy: Callable[[dict[str, Any], int], int | None] = lambda action, number: None
    lets_in: str = ""
    most: int = 2**30
    too_long: int = 413


@contextmanager
def proxy(to: str, certificate: tuple[str, str] | None = None) -> Iterator[Proxy]:
    """A proxy on a free port; with TLS where it has a certificate and its key."""
    backend = urlsplit(to)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            return

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(self.command, self.path, dict(self.headers.items()), body)
            number = len(state.asked)
            state.asked.append(asked)
            cut = state.cut_at is not None and number >= state.cut_at
            if cut and not (state.delivers_last and number == state.cut_at):
                self.close_connection = True
                return
            status, answer = _forward(backend.netloc, asked, state)
            if cut:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    state = Proxy(f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _forward(netloc: str, asked: Asked, state: Proxy) -> tuple[int, bytes]:
    sent = {name.lower(): value for name, value in asked.headers.items()}
    if state.lets_in and sent.get("authorization") != state.lets_in:
        return 401, b"Unauthorized"
    if len(asked.body) > state.most:
        return state.too_long, json.dumps({"error": {"type": "circuit_breaking_exception"}}).encode()
    if not asked.path.startswith("/_bulk"):
        return _send(netloc, asked, asked.body)
    operations = bulk_operations(asked.body)
    statuses = [state.busy(json.loads(operation.split(b"\n")[0]), at) for at, operation in enumerate(operations)]
    passed = [operation for operation, status in zip(operations, statuses, strict=True) if status is None]
    code, answer = _send(netloc, asked, b"".join(passed)) if passed else (200, b'{"items": []}')
    if code != 200:
        return code, answer
    answered = iter(json.loads(answer).get("items", []))
    items = [next(answered) if status is None else _refusal(status) for status in statuses]
    return 200, json.dumps({"items": items}).encode()


def _refusal(status: int) -> dict[str, Any]:
    return {"index": {"status": status, "error": {"type": "rejected_execution_exception", "reason": "queue is full"}}}


def _send(netloc: str, asked: Asked, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(netloc, timeout=30)
    try:
        connection.request(asked.method, asked.path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def bulk_operations(body: bytes) -> list[bytes]:
    """The operations of a bulk: one line for a delete, two for others."""
    lines = iter(body.splitlines(keepends=True))
    return [line if line.startswith(b'{"delete"') else line + next(lines) for line in lines]
