"""Which checkpoint counts, by what a REST API like Flink's says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from flink_jobs.running.checkpoints import Checkpoints

COMPLETED = {"latest": {"completed": {"id": 7, "trigger_timestamp": 1_700_000_000_123}, "savepoint": None}}


@contextmanager
def rest(jobs: list[dict[str, str]], statistics: dict[str, Any]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = {"/jobs/overview": {"jobs": jobs}, "/jobs/ours/checkpoints": statistics}.get(self.path)
            self.send_response(404 if answer is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def job(identity: str, name: str = "pages", state: str = "RUNNING") -> dict[str, str]:
    return {"jid": identity, "name": name, "state": state}


@pytest.mark.parametrize(
    ("jobs", "statistics", "completed_ms"),
    [
        ([job("ours")], COMPLETED, 1_700_000_000_123),
        ([job("ours", name="by Flink's own name")], COMPLETED, 1_700_000_000_123),
        ([job("ours"), job("other", name="other")], COMPLETED, 1_700_000_000_123),
        ([job("ours"), job("past", state="FAILED")], COMPLETED, 1_700_000_000_123),
        ([job("ours"), job("other")], COMPLETED, 0),
        ([job("ours", name="x"), job("other", name="y")], COMPLETED, 0),
        ([job("ours", state="CANCELED")], COMPLETED, 0),
        ([job("ours")], {"latest": {"completed": None}}, 0),
        ([job("ours")], {"latest": None}, 0),
        ([job("gone")], COMPLETED, 0),
        ([], COMPLETED, 0),
    ],
)
def test_when_the_newest_checkpoint_was_triggered(
    jobs: list[dict[str, str]], statistics: dict[str, Any], completed_ms: int
) -> None:
    with rest(jobs, statistics) as address:
        assert Checkpoints(address, "pages").completed_ms() == completed_ms


def test_nobody_answers() -> None:
    assert Checkpoints("http://127.0.0.1:9", "pages").completed_ms() == 0
