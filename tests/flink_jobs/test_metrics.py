"""What is seen of a real job: by its operator, in Prometheus, `freshet status` and the log of events; by strangers."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from core.metrics.figures import FEWER, FLINKS, METRICS, quantile, total
from flink_jobs.running.rest import report
from stack.local import Stack
from tests.databases import as_user
from tests.deploy.dashboards import asked as asked_by
from tests.deploy.dashboards import queries
from tests.flink_jobs.conftest import Workshop, eventually, workshop_in
from tests.flink_jobs.events import envelope, key, row
from tests.flink_jobs.test_secrets import SECRET, files_with
from tests.listeners import elsewhere, files_of, obeyed, submitted_by_a_page
from tests.resident import ROOT
from udfs.pinned import JARS, cache

pytestmark = pytest.mark.jobs

DOCUMENTS = 20
WITHOUT_SERIES = {
    METRICS["retries"].prometheus: "no call was repeated",
    METRICS["outdated"].prometheus: "no store knew better",
    METRICS["behind_ms"].prometheus: "streams of shards have it",
}
"""Metrics that a job of this kind has only once something went wrong, or never."""


@dataclass(frozen=True)
class Seen:
    """One run, looked at from every side."""

    page: str
    status: dict[str, Any]
    shown: str
    stopped: str
    listed: dict[str, Any]
    probed: str
    events: list[dict[str, Any]]
    folder: Path
    listening: tuple[int, list[str]]
    submitted: dict[str, tuple[int, str | None]]
    obeyed: list[bytes]
    temporary: set[Path]
    left: list[str]

    @property
    def families(self) -> dict[str, Family]:
        return {family.name: family for family in text_string_to_metric_families(self.page)}


@pytest.fixture(scope="module")
def seen(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """Twenty documents, one of them changed and changed late, one deleted, and two events that are no use."""
    workshop = workshop_in(stack, tmp_path_factory.mktemp("seen"))
    _send(workshop)
    dsn = as_user(workshop.dsn, SECRET)
    store = {"pgvector": {"dsn": dsn, "table": "documents"}}
    # what an endpoint of fewer lines leaves is all that dashboards and alarms ask for
    pipeline = workshop.pipeline(bounded=False, store=store, flink=dict(FEWER))
    home = workshop.folder / ".freshet" / "pipelines" / "documents"
    log = home / "log" / "events.jsonl"
    with workshop.running(pipeline, alone=True) as job:
        eventually(lambda: (home / "job.json").exists(), "the job's address")
        place = json.loads((home / "job.json").read_text())
        eventually(lambda: _done(place), "every change")
        page = _scraped(place["prometheus"])
        status = json.loads(workshop.freshet("status", pipeline, "--once", "--json"))
        shown = workshop.freshet("status", pipeline)
        listening = elsewhere([job.pid])
        submitted, commands = submitted_by_a_page(place["rest"]), obeyed(job.pid)
        listed = json.loads(workshop.freshet("status", "--json"))
        probed = workshop.freshet("status", pipeline, "--exit-code")
        temporary = files_of(job.pid, Path(gettempdir()))
        _worker(job.pid).kill()
        # nobody misses the worker until there is something for it to do
        workshop.send(key(3), envelope(200, row(3, "changed after the worker died"), "u"))
        eventually(lambda: '"restart"' in log.read_text(), "the restart")
    # killed meanwhile, so the job's address is still written down
    stopped = workshop.freshet("status", pipeline, ok=False)
    happened = [json.loads(line) for line in log.open()]
    left = [file.name for file in (home / "tmp").iterdir()]
    yield Seen(
        page, status, shown, stopped, listed, probed, happened, workshop.folder, listening, submitted, commands,
        temporary, left,
    )  # fmt: skip


def _send(workshop: Workshop) -> None:
    now = int(time.time() * 1000)

    def committed(event: bytes) -> bytes:
        return event.replace(b'"ts_ms": 1}', b'"ts_ms": %d}' % now)

    for number in range(DOCUMENTS):
        workshop.send(key(number), committed(envelope(number + 1, row(number, f"body {number}"))))
    for place in (100, 50):
        workshop.send(key(1), committed(envelope(place, row(1, f"changed at {place}"), "u")))
    deletion = json.loads(envelope(101, row(2, "gone"), "d"))
    deletion |= {"before": deletion["after"], "after": None}
    workshop.send(key(2), committed(json.dumps(deletion).encode()))
    workshop.send(key(2), None)
    workshop.send(key(9), b"nonsense")
    workshop.send(key(9), b"{}")


def _done(job: dict[str, str]) -> bool:
    with httpx.Client() as http:
        figures = report(http, job["rest"], job["job"]).figures
    counted = [total(figures, name) for name in ("applied", "dead_letters", "letters")]
    return counted == [DOCUMENTS + 2, 2, 2]


def _scraped(address: str) -> str:
    """Once a checkpoint was reported, which is among what is asked for."""
    found = ""

    def complete() -> bool:
        nonlocal found
        found = httpx.get(address, timeout=10).raise_for_status().text
        return "flink_taskmanager_job_task_busyTimeMsPerSecond" in found

    eventually(complete, "Prometheus' endpoint")
    return found


def _worker(pid: int) -> psutil.Process:
    below = psutil.Process(pid).children(recursive=True)
    return next(child for child in below if child.cmdline()[1:2] == ["-m"])


def _value(seen: Seen, name: str, **labels: str) -> float:
    samples = seen.families[METRICS[name].prometheus].samples
    return sum(each.value for each in samples if labels.items() <= each.labels.items())


def test_the_job_counts_what_it_was_given(seen: Seen) -> None:
    assert _value(seen, "changes", feed="debezium", operation="upsert") == DOCUMENTS + 2
    assert _value(seen, "changes", feed="debezium", operation="delete") == 1
    assert _value(seen, "stale") == 1
    assert _value(seen, "skipped", reason="tombstone") == 1
    assert _value(seen, "dead_letters", stage="decode", reason="DecodeError") == 2
    # by one subtask, whatever the parallelism
    assert [each.value for each in seen.families[METRICS["letters"].prometheus].samples] == [2]
    assert _value(seen, "applied", store="pgvector") == _value(seen, "batched") == DOCUMENTS + 2
    assert 1 <= _value(seen, "batches") <= DOCUMENTS + 2
    # what a later change of the same batch overwrites is not embedded
    assert DOCUMENTS - 1 <= _value(seen, "chunks_embedded") <= DOCUMENTS + 1
    assert _value(seen, "store_us") > 0 and _value(seen, "model_us") > 0


def test_the_time_to_searchable_is_a_histogram_that_prometheus_can_use(seen: Seen) -> None:
    samples = seen.families[METRICS["commit_to_searchable_ms_bucket"].prometheus].samples
    buckets = {each.labels["le"]: int(each.value) for each in samples}
    assert list(buckets) != [] and "+Inf" in buckets
    found = [buckets[label] for label in sorted(buckets, key=float)]
    assert found == sorted(found)
    # of changes of one document in one batch the latest counts alone
    assert DOCUMENTS <= found[-1] <= DOCUMENTS + 2
    assert found[-1] == _value(seen, "commit_to_searchable_ms_count")
    assert _value(seen, "commit_to_searchable_p99_ms") == pytest.approx(quantile(found, 0.99), abs=1)
    assert 0 < _value(seen, "source_lag_ms") < 120_000


def test_every_metric_that_a_dashboard_or_an_alarm_asks_for_is_there(seen: Seen) -> None:
    wanted = set().union(*map(asked_by, queries().values()))
    assert wanted - seen.families.keys() - WITHOUT_SERIES.keys() == set()


def test_status_tells_the_same_as_json(seen: Seen) -> None:
    status = seen.status
    named = [status[name] for name in ("pipeline", "state", "restarts", "failure")]
    assert named == ["documents", "running", 0, None]
    assert status["changes"] == {"upsert": DOCUMENTS + 2, "delete": 1}
    assert status["changes_per_second"] == {"upsert": 0.0, "delete": 0.0}
    assert status["applied"] == {"pgvector": DOCUMENTS + 2}
    assert status["dead_letters"] == {"decode: DecodeError": 2}
    assert status["chunks"]["embedded"] == _value(seen, "chunks_embedded")
    assert status["pending_events"] == 0
    assert status["commit_to_searchable_ms"]["p99"] >= status["commit_to_searchable_ms"]["p50"] > 0
    assert status["checkpoints"]["failure"] is None or isinstance(status["checkpoints"]["failure"], str)


def test_status_shows_it_to_people(seen: Seen) -> None:
    lines = [" ".join(line.split()) for line in seen.shown.splitlines()]
    assert lines[0].startswith("documents: running for ")
    assert "dead letters 2 2 decode: DecodeError" in lines
    assert any(line.startswith("changes/s 0 ▁") for line in lines)
    assert any(line.startswith("lag ") and line.endswith("caught up") for line in lines)


def test_an_endpoint_of_fewer_lines_has_ours_and_what_is_asked_for(seen: Seen) -> None:
    names = {line.partition("{")[0] for line in seen.page.splitlines() if line and not line.startswith("#")}
    of_flink = {name for name in names if "_freshet_" not in name}
    assert of_flink == set(FLINKS)


def test_status_without_a_file_lists_what_runs_in_the_folder(seen: Seen) -> None:
    listed = seen.listed
    assert (listed["pipeline"], listed["state"], listed["waiting"]) == ("documents", "running", "caught up")
    assert listed["pid"] > 0 and seen.probed == "documents: running, caught up\n"


def test_status_of_a_job_that_is_not_there_says_so(seen: Seen) -> None:
    assert "documents isn't running: its last job, at http://127.0.0.1:" in seen.stopped
    assert "Traceback" not in seen.stopped


def test_what_happened_is_in_the_log_of_events(seen: Seen) -> None:
    happened = [each["event"] for each in seen.events]
    assert happened[0] == "start"
    # that it was restored is logged once Flink knows from what
    assert [event for event in happened if event not in ("dead-letters", "restored")] == ["start", "restart"]
    letters = next(each for each in seen.events if each["event"] == "dead-letters")
    assert letters["decode"] in (1, 2)
    restart = next(each for each in seen.events if each["event"] == "restart")
    assert restart["cause"] and restart["state"] != "FAILED"
    assert all(each["pipeline"] == "documents" and each["time"].endswith("+00:00") for each in seen.events)


def test_no_secret_is_in_any_of_them(seen: Seen) -> None:
    output = seen.page + seen.shown + seen.stopped + json.dumps([seen.status, seen.events])
    assert SECRET not in output
    assert "postgresql://" not in seen.page
    assert files_with(seen.folder, SECRET) == []
    labels = {
        label
        for family in seen.families.values()
        if "_freshet_" in family.name
        for each in family.samples
        for label in each.labels
    }
    ours = {label for metric in METRICS.values() for label in metric.labels}
    flinks = {"job_id", "job_name", "task_id", "task_name", "task_attempt_id", "task_attempt_num", "subtask_index"}
    assert labels <= ours | flinks | {"operator_id", "operator_name", "tm_id", "host"}


def test_no_other_machine_reaches_the_job(seen: Seen) -> None:
    count, open_to_all = seen.listening
    # REST, blobs, Prometheus, py4j in both directions, and Beam's six for the worker
    assert count >= 11
    assert open_to_all == []


def test_no_page_has_the_job_run_its_code(seen: Seen) -> None:
    statuses = {name: status for name, (status, _) in seen.submitted.items()}
    assert statuses == {"jar": 400, "job": 413, "job in chunks": 413, "what it is set to": 200}
    assert {allowed for _, allowed in seen.submitted.values()} <= {None, "none"}


def test_nobody_else_commands_its_jvm(seen: Seen) -> None:
    assert any(b"Authentication error" in said for said in seen.obeyed)
    # a version begins with a digit, behind py4j's mark of a text
    assert not any(said.startswith(b"!ys") for said in seen.obeyed)


def test_its_temporary_files_lie_in_its_own_folder(seen: Seen) -> None:
    own = seen.folder / ".freshet" / "pipelines" / "documents" / "tmp"
    assert [file for file in seen.temporary if own in file.parents] != []
    # the code, where that lies there too, and a JVM's counters for jps, which no one else may read
    known = {seen.folder, ROOT, Path(sys.prefix), cache(JARS)}
    others = {file for file in seen.temporary if known.isdisjoint(file.parents)}
    assert {file for file in others if not file.parent.name.startswith("hsperfdata_")} == set()
    assert seen.left != [], "a killed run leaves them to the next one"
