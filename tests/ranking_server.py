"""A real HTTP server that ranks by how many of a question's words a text has, in TEI's words and in Cohere's."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Ranking:
    """The server; `instead` is answered in place of the right answer, and each answer takes `takes_s`.

    `sent`: bytes of answers, in steps of 64 KiB.
    """

    url: str
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    instead: tuple[int, Any] | None = None
    takes_s: float = 0
    sent: int = 0


def score(question: str, text: str) -> float:
    return sum(word in text.lower() for word in question.lower().split()) / 8


def answer(body: dict[str, Any]) -> Any:
    texts = body.get("texts") or body["documents"]
    scored = sorted(((score(body["query"], text), at) for at, text in enumerate(texts)), reverse=True)
    if "documents" in body:
        return {"id": "x", "results": [{"index": at, "relevance_score": each} for each, at in scored]}
    return [{"index": at, "score": each} for each, at in scored]


@contextmanager
def ranking_server() -> Iterator[Ranking]:
    """On a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            ranking.asked.append({**body, "path": self.path})
            ranking.keys.append(self.headers.get("Authorization", ""))
            time.sleep(ranking.takes_s)
            status, said = ranking.instead or (200, answer(body))
            raw = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            try:
                for begin in range(0, len(raw), 1 << 16):
                    self.wfile.write(raw[begin : begin + (1 << 16)])
                    ranking.sent += 1 << 16
            except OSError:
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ranking = Ranking(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield ranking
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
