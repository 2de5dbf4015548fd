"""What a context takes beside its search, and a chat of its own until its first token comes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median
from time import perf_counter
from typing import Any

from bench.client import IN_TURN, connected, seconds, sent
from core.errors import FreshetError

MODEL = "instant"
K = 20
_TOKEN = {"index": 0, "delta": {"role": "assistant", "content": "So."}, "finish_reason": None}
_END = {"index": 0, "delta": {}, "finish_reason": "stop"}


@dataclass(frozen=True, slots=True)
class Answering:
    """Medians of searches, contexts and streamed chats of the same questions, by turns, one after the other.

    context_beside_search_ms  of a context over HTTP, less that of a search for as many chunks
    chat_own_ms               of a chat until its first token, less that of a search, and less that of the model
                              where it is asked directly
    """

    context_beside_search_ms: float
    chat_own_ms: float
    search_ms: float
    context_ms: float
    first_token_ms: float
    model_ms: float


@contextmanager
def instant_model() -> Iterator[str]:
    """The URL of a model that answers at once, by OpenAI's protocol, streamed."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            return

        def handle(self) -> None:
            # the server that asks ends before this one
            with suppress(ConnectionError):
                super().handle()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for choice in (_TOKEN, _END):
                chunk = {"id": "x", "object": "chat.completion.chunk", "model": MODEL, "choices": [choice]}
                self._part(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            self._part(b"data: [DONE]\n\n")
            self._part(b"")

        def _part(self, part: bytes) -> None:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def measure(url: str, model: str, index: str, questions: Sequence[str]) -> Answering:
    """Ask a server at a URL, whose model is at another one, about one of its indexes. Raises FreshetError."""
    taken: dict[str, list[float]] = {"search": [], "context": [], "chat": [], "model": []}
    with closing(connected(url)) as server, closing(connected(model.removesuffix("/v1"))) as direct:
        ways = _ways(server, direct, index)
        for begin in range(0, len(questions), IN_TURN):
            turn = questions[begin : begin + IN_TURN]
            for name, ask in ways.items():
                taken[name] += [ask(question) for question in turn]
    # the first turn doesn't count
    search, context, chat, bare = (
        median(taken[name][IN_TURN:] or taken[name]) * 1000 for name in ("search", "context", "chat", "model")
    )
    return Answering(context - search, chat - search - bare, search, context, chat, bare)


def _ways(server: HTTPConnection, direct: HTTPConnection, index: str) -> dict[str, Callable[[str], float]]:
    def search(question: str) -> float:
        return seconds(partial(_whole, server, f"/v1/indexes/{index}/search", {"query": question, "k": K}))

    def context(question: str) -> float:
        return seconds(partial(_whole, server, "/v1/context", {"question": question, "indexes": [index], "k": K}))

    def chat(question: str) -> float:
        return _first_token(server, {**_chat(question), "freshet": {"indexes": [index], "k": K}})

    return {"search": search, "context": context, "chat": chat, "model": lambda text: _first_token(direct, _chat(text))}


def _chat(question: str) -> dict[str, Any]:
    return {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": question}]}


def _whole(connection: HTTPConnection, path: str, body: object) -> None:
    sent(connection, "POST", path, body).read()


def _first_token(connection: HTTPConnection, body: object) -> float:
    began = perf_counter()
    answer = sent(connection, "POST", "/v1/chat/completions", body)
    while b'"content"' not in (line := answer.readline()):
        if not line:
            raise FreshetError("bench: a chat was answered without a token")
    took = perf_counter() - began
    answer.read()
    return took
