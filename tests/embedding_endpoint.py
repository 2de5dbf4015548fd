"""A real HTTP server that embeds by hashes, in each provider's words, and fails as a test asks."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from udfs.embedding.embedder import HashEmbedder


@dataclass(frozen=True)
class Asked:
    """A request as it came: `number` counts from 0, `at` is when, on `time.monotonic`'s clock."""

    number: int
    at: float
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def texts(self) -> list[str]:
        given = next(
            self.body[name] for name in ("input", "inputs", "text_inputs", "texts", "inputText") if name in self.body
        )
        return [given] if isinstance(given, str) else given


@dataclass(frozen=True)
class Reply:
    """An answer in place of the right one; without a body, the right one, later. `byte_s`: each byte by itself."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    after_s: float = 0
    byte_s: float = 0


@dataclass
class Endpoint:
    """The server. `fault` says what to answer instead; `most_at_once` is how many requests were in flight."""

    address: str
    asked: list[Asked] = field(default_factory=list)
    fault: Callable[[Asked], Reply | None] = lambda asked: None
    most_at_once: int = 0
    now: int = 0

    @property
    def openai(self) -> str:
        return f"{self.address}/v1"

    def texts(self) -> list[str]:
        return [text for asked in self.asked for text in asked.texts]


def rows_of(texts: Sequence[str]) -> list[list[float]]:
    rows: list[list[float]] = HashEmbedder().embed(texts).tolist()
    return rows


def openai_body(rows: Sequence[Any]) -> dict[str, Any]:
    return {"object": "list", "data": [{"index": at, "embedding": row} for at, row in enumerate(rows)]}


def right_answer(asked: Asked) -> Any:
    """In the words of the provider whose path it is; embeddings of OpenAI's in reverse, as their indexes allow."""
    rows = rows_of(asked.texts)
    if asked.path.endswith("/embeddings"):
        body = openai_body(rows)
        return body | {"data": body["data"][::-1]}
    if asked.path == "/embed":
        return rows
    if asked.path.startswith("/endpoints/"):
        return rows if "inputs" in asked.body else {"embedding": rows}
    if "inputText" in asked.body:
        return {"embedding": rows[0], "inputTextTokenCount": 1}
    return {"embeddings": {"float": rows} if "cohere.embed-v4" in asked.path else rows}


@contextmanager
def endpoint() -> Iterator[Endpoint]:
    """On a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # headers and body leave in two packets, which Nagle's algorithm would hold for the client's late ACK
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            return

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                asked = Asked(
                    len(state.asked), time.monotonic(), unquote(self.path), dict(self.headers.items()), json.loads(raw)
                )
                state.asked.append(asked)
                state.now += 1
                state.most_at_once = max(state.most_at_once, state.now)
            try:
                self._reply(asked, state.fault(asked) or Reply())
            except OSError:
                self.close_connection = True
            finally:
                with lock:
                    state.now -= 1

        def _reply(self, asked: Asked, reply: Reply) -> None:
            time.sleep(reply.after_s)
            answer = right_answer(asked) if reply.body is None and reply.status == 200 else reply.body
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            for at in range(len(body) if reply.byte_s else 0):
                time.sleep(reply.byte_s)
                self.wfile.write(body[at : at + 1])
            self.wfile.write(b"" if reply.byte_s else body)

    lock = threading.Lock()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state = Endpoint(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
