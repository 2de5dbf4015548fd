"""A run whose store a later one took stops, and says so, however Flink wraps what its worker raised."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from cli import run
from cli.resuming import Beginning
from core.config import Pipeline
from core.errors import Displaced
from flink_jobs.rest import Failure, failure
from flink_jobs.running import Progress

SAID = "store.pgvector: table t: a later run of articles has taken it over, so this one stops"
TRACE = f"""java.lang.RuntimeException: Failed to close remote bundle
\tat org.apache.flink.streaming.api.runners.python.beam.BeamPythonFunctionRunner.finishBundle(Beam.java:452)
Caused by: java.lang.RuntimeException: Error received from SDK harness for instruction 7: Traceback:
  File "connectors/pgvector.py", line 250, in _take
    raise Displaced(displaced(place, self._owner, there))
core.errors.Displaced: {SAID}

\tat java.base/java.util.concurrent.CompletableFuture.reportGet(CompletableFuture.java:396)
"""


def told(stacktrace: str) -> Failure | None:
    entries = [{"stacktrace": stacktrace, "timestamp": 5}]
    answer = httpx.Response(200, json={"exceptionHistory": {"entries": entries}})
    with httpx.Client(transport=httpx.MockTransport(lambda _: answer)) as http:
        return failure(http, "http://x/jobs/1")


def test_it_is_found_in_what_flink_says() -> None:
    found = told(TRACE)
    assert found is not None
    assert (found.cause, found.at_ms, found.displaced) == (SAID, 5, True)
    other = told(TRACE.replace("Displaced", "Unavailable"))
    assert other is not None and not other.displaced


@dataclass
class Job:
    """One that fails as `TRACE` says and restarts for ever."""

    done: list[str] = field(default_factory=list)

    def ended(self) -> bool:
        return False

    def progress(self) -> Progress:
        return Progress("RESTARTING", {}, told(TRACE))

    def cancel(self) -> None:
        self.done.append("cancelled")


def test_the_run_cancels_its_job_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = Job()
    settings: dict[str, Any] = {
        "name": "articles",
        "source": {"kafka": {"topic": "t", "properties.bootstrap.servers": "x:1"}},
        "format": "debezium",
        "documents": {"public.a": {"text": "{body}"}},
        "store": {"pgvector": {"dsn": "host=x", "table": "t"}},
        "dead_letters": {"kafka": {"topic": "l"}},
    }
    monkeypatch.setattr(run, "prepare", lambda *_: None)
    monkeypatch.setattr(run, "told_or_named", lambda pipeline: (pipeline, []))
    monkeypatch.setattr(run, "start", lambda *_: job)
    monkeypatch.setattr(run, "_WATCH_SECONDS", 0.0)
    monkeypatch.setattr(run.signal, "signal", lambda *_: None)
    with pytest.raises(Displaced, match="a later run of articles has taken it over"):
        run.run(Pipeline.model_validate(settings), Console(file=StringIO()), Beginning())
    assert job.done == ["cancelled"]
    assert SAID in (tmp_path / ".freshet/pipelines/articles/log/events.jsonl").read_text()
