"""Watching a job: what its REST API tells, as Flink 2.2 answers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from core.errors import Unavailable
from flink_jobs.engine.worker_deaths import FOLDER
from flink_jobs.running import jobs as running
from flink_jobs.running.jobs import Job
from flink_jobs.running.rest import Failure, report


class Client:
    """As much of a JobClient as is asked."""

    def get_job_id(self) -> str:
        return "0a"


@contextmanager
def rest(answers: dict[str, Any]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answers[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Outcome:
    """A job's end, that is reported some looks after its cluster is taken down."""

    def __init__(self, after: int | None) -> None:
        self._left = after

    def done(self) -> bool:
        if self._left is None:
            return False
        self._left -= 1
        return self._left < 0


def test_a_job_whose_task_manager_is_gone_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_FAREWELL_S", 0.5)
    failed = {"stacktrace": "a: b\nCaused by: c", "timestamp": 7}
    answers: dict[str, Any] = {
        "/overview": {"taskmanagers": 1, "slots-total": 2, "slots-available": 0, "jobs-running": 1},
        "/jobs/0a": {"state": "RUNNING", "vertices": []},
        "/jobs/0a/exceptions": {"exceptionHistory": {"entries": [failed]}},
        "/jobs/0a/metrics?get=numRestarts": [{"id": "numRestarts", "value": "2"}],
        "/jobs/0a/checkpoints": {},
    }
    with rest(answers) as address:
        job = Job(cast("Any", Client()), address, cast("Any", Outcome(None)))
        assert (job.progress().state, job.progress().failure) == (
            "RUNNING",
            Failure("c (Flink's log has the whole)", 7, "c"),
        )
        with httpx.Client() as http:
            assert report(http, address, "0a").restarts == 2
        # its tasks wait for slots, and Flink calls that running too
        answers["/overview"] = {"taskmanagers": 0, "slots-total": 0, "slots-available": 0, "jobs-running": 1}
        with pytest.raises(Unavailable, match="TaskManager has failed"):
            job.progress()


@pytest.mark.parametrize("answer", [[], {"vertices": [{}]}, {"vertices": 1}, {"duration": "long"}])
def test_what_flink_does_not_answer_is_refused(answer: Any) -> None:
    refused = pytest.raises(httpx.HTTPError, match="/jobs/0a answers what Flink's REST API doesn't")
    with rest({"/jobs/0a": answer}) as address, httpx.Client() as http, refused:
        report(http, address, "0a")
    with httpx.Client() as http, pytest.raises(httpx.HTTPError, match="is no address"):
        report(http, "http://[::1", "0a")


def test_checkpoints_that_never_began_are_no_failures() -> None:
    def failed(counts: dict[str, int], latest: dict[str, Any], *ids: int) -> int:
        said = {"counts": counts, "latest": latest, "history": [{"id": each} for each in ids]}
        answers = {
            "/jobs/0a": {"state": "RUNNING", "vertices": []},
            "/jobs/0a/exceptions": {},
            "/jobs/0a/metrics?get=numRestarts": [],
            "/jobs/0a/checkpoints": said,
        }
        with rest(answers) as address, httpx.Client() as http:
            return report(http, address, "0a").checkpoints.failed

    # as a first run has them whose tasks take half a minute to start: Flink gives such a failure no id
    begins = {"restored": 0, "completed": 20, "in_progress": 0, "failed": 26}
    assert failed(begins, {"failed": None}, 20, 19, 18) == 0
    one = {"failed": {"id": 21, "failure_message": "Checkpoint expired before completing."}}
    assert failed({**begins, "failed": 27}, one, 21, 20, 19) == 1
    assert failed({**begins, "restored": 1, "failed": 2}, one, 21, 20) == 2


def test_a_job_that_ends_is_not_given_up_as_its_cluster_is_taken_down() -> None:
    answers: dict[str, Any] = {"/overview": {"taskmanagers": 0}, "/jobs/0a": {"errors": ["Not found: 0a"]}}
    with rest(answers) as address:
        ending = Job(cast("Any", Client()), address, cast("Any", Outcome(3)))
        assert ending.progress().state == running.UNKNOWN
        assert ending.ended()


def test_a_dead_worker_is_reported_with_its_signal_and_where_the_job_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = "a.B: Failed to start remote bundle\nCaused by: io.grpc.StatusRuntimeException: CANCELLED: x"
    (tmp_path / "died.17").write_text("9\n")
    monkeypatch.setenv(FOLDER, str(tmp_path))
    at_ms = time.time_ns() // 1_000_000
    restored: dict[str, Any] = {"id": 110, "restore_timestamp": at_ms - 1, "external_path": "file:/x/chk-110"}
    answers: dict[str, Any] = {
        "/overview": {"taskmanagers": 1},
        "/jobs/0a": {"state": "RUNNING", "vertices": []},
        "/jobs/0a/exceptions": {"exceptionHistory": {"entries": [{"stacktrace": trace, "timestamp": at_ms}]}},
        "/jobs/0a/checkpoints": {"latest": {"restored": restored}},
    }
    with rest(answers) as address:
        job = Job(cast("Any", Client()), address, cast("Any", Outcome(None)))
        assert str(job.progress().failure) == "the embedding worker died (signal 9)"
        restored["restore_timestamp"] = at_ms + 900
        assert str(job.progress().failure) == "the embedding worker died (signal 9); restarted from chk-110"
