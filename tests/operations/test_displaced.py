"""A run whose store a later one took stops, and says so, however Flink wraps what its worker raised."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from core.config.pipeline import Pipeline
from core.errors import Displaced, Unavailable
from core.stores.fingerprint import Fingerprint, Owner, owner_to_text
from flink_jobs.running.jobs import Progress
from flink_jobs.running.rest import Failure, failure
from operations import owning, run
from operations.reporting import unheard
from operations.resuming import Beginning
from stack.layout import free_port
from terminal.lines import printer

SAID = "store.pgvector: table t: a later run of articles has taken it over, so this one stops"
TRACE = f"""java.lang.RuntimeException: Failed to close remote bundle
\tat org.apache.flink.streaming.api.runners.python.beam.BeamPythonFunctionRunner.finishBundle(Beam.java:452)
Caused by: java.lang.RuntimeException: Error received from SDK harness for instruction 7: Traceback:
  File "connectors/pgvector/store.py", line 250, in _take
    raise Displaced(displaced(place, self._owner, there))
core.errors.Displaced: {SAID}

\tat java.base/java.util.concurrent.CompletableFuture.reportGet(CompletableFuture.java:396)
"""


def failure_of(stacktrace: str) -> Failure | None:
    entries = [{"stacktrace": stacktrace, "timestamp": 5}]
    answer = httpx.Response(200, json={"exceptionHistory": {"entries": entries}})
    with httpx.Client(transport=httpx.MockTransport(lambda _: answer)) as http:
        return failure(http, "http://x/jobs/1")


def test_it_is_found_in_what_flink_says() -> None:
    found = failure_of(TRACE)
    assert found is not None
    assert (found.cause, found.at_ms, found.final) == (SAID, 5, "Displaced")
    gone = failure_of(TRACE.replace("Displaced", "StoreGone"))
    assert gone is not None and (gone.cause, gone.final) == (SAID, "StoreGone")
    other = failure_of(TRACE.replace("Displaced", "Unavailable"))
    assert other is not None and not other.final


@dataclass
class Job:
    """One that fails as `TRACE` says and restarts for ever."""

    done: list[str] = field(default_factory=list)

    def ended(self) -> bool:
        return False

    def progress(self) -> Progress:
        return Progress("RESTARTING", {}, failure_of(TRACE))

    def cancel(self) -> None:
        self.done.append("cancelled")


SETTINGS: dict[str, Any] = {
    "name": "articles",
    "source": {"kafka": {"topic": "t", "properties.bootstrap.servers": "x:1"}},
    "format": "debezium",
    "documents": {"public.a": {"text": "{body}"}},
    "store": {"pgvector": {"dsn": "host=x", "table": "t"}},
    "dead_letters": {"kafka": {"topic": "l"}},
}


@dataclass
class Idle(Job):
    """One that has nothing to write, and so doesn't fail."""

    def progress(self) -> Progress:
        return Progress("RUNNING", {}, None)


@dataclass
class Broken(Job):
    """One whose TaskManager went down with its worker."""

    def progress(self) -> Progress:
        raise Unavailable("Flink's TaskManager has failed and isn't there any more")


def _reach(monkeypatch: pytest.MonkeyPatch, prepare: Callable[..., object]) -> None:
    """Has no server asked for."""
    for name in ("refuse_absent", "refuse_lacking"):
        monkeypatch.setattr(run, name, lambda *_: None)
    monkeypatch.setattr(run, "prepare", prepare)


def run_of(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose job is this one."""
    _reach(monkeypatch, lambda *_: None)
    monkeypatch.setattr(run, "with_types", lambda pipeline: (pipeline, []))
    monkeypatch.setattr(run, "start", lambda *_: job)
    monkeypatch.setattr(run, "_WATCH_SECONDS", 0.0)
    monkeypatch.setattr(run.signal, "signal", lambda *_: None)
    run.run(Pipeline.model_validate(SETTINGS), unheard, Beginning())


def test_a_run_that_is_stopped_before_its_job_is_there_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _reach(monkeypatch, lambda *_: signal.raise_signal(signal.SIGTERM))
    before, printed = signal.getsignal(signal.SIGTERM), StringIO()
    try:
        assert run.run(Pipeline.model_validate(SETTINGS), printer(Console(file=printed, width=200)), Beginning()) == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    assert printed.getvalue().splitlines()[-1] == (
        "stopped without a savepoint (its job wasn't there yet); the next run begins as this one did"
    )
    log = (tmp_path / ".freshet/pipelines/articles/log/events.jsonl").read_text()
    assert '"event": "stop", "without_savepoint": "its job wasn\'t there yet"' in log


def test_the_run_cancels_its_job_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = Job()
    with pytest.raises(Displaced, match="a later run of articles has taken it over"):
        run_of(job, monkeypatch)
    assert job.done == ["cancelled"]
    assert SAID in (tmp_path / ".freshet/pipelines/articles/log/events.jsonl").read_text()


@pytest.mark.parametrize(("job", "done"), [(Idle(), ["cancelled"]), (Broken(), [])])
def test_it_is_looked_for_where_flink_does_not_say_it(
    job: Job, done: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mine, theirs = (Owner("articles", epoch, Fingerprint("hash")) for epoch in (5, 6))
    kept = tmp_path / ".freshet/pipelines/articles/made.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps({"owner": owner_to_text(mine)}))
    monkeypatch.setattr(owning, "owners", lambda _: [("store.pgvector: table t", theirs)])
    with pytest.raises(Displaced) as raised:
        run_of(job, monkeypatch)
    assert str(raised.value) == SAID
    assert job.done == done
    assert SAID in (tmp_path / ".freshet/pipelines/articles/log/events.jsonl").read_text()


def test_a_run_that_is_still_the_last_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = Owner("articles", 5, Fingerprint("hash"))
    pipeline = Pipeline.model_validate(SETTINGS)
    assert owning.displaced_by(pipeline) == ""
    kept = tmp_path / ".freshet/pipelines/articles/made.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps({"owner": owner_to_text(mine)}))
    monkeypatch.setattr(owning, "owners", lambda _: [("store.pgvector: table t", mine)])
    assert owning.displaced_by(pipeline) == ""


def test_the_model_is_not_asked_whose_a_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A remote one says only when asked how long its vectors are, and here nobody answers, as at the stores."""
    monkeypatch.chdir(tmp_path)
    away = f"http://127.0.0.1:{free_port()}"
    stores = {"pgvector": {"dsn": "host=127.0.0.1 port=1", "table": "t"}, "opensearch": {"hosts": [away], "index": "a"}}
    pipeline = Pipeline.model_validate(
        {**SETTINGS, "store": stores, "embedding": {"model": "m", "tei": {"url": f"{away}/embed"}}}
    )
    kept = tmp_path / ".freshet/pipelines/articles/made.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps({"owner": owner_to_text(Owner("articles", 5, Fingerprint("hash")))}))
    monkeypatch.setattr("udfs.embedding.embedder.embedder", lambda *_: pytest.fail("the model was asked"))
    begun = time.monotonic()
    assert owning.displaced_by(pipeline) == ""
    pipeline = pipeline.model_copy(update={"store": pipeline.store.model_copy(update={"pgvector": None})})
    assert owning.displaced_by(pipeline) == ""
    assert time.monotonic() - begun < 10
