"""The bundle on a real Flink cluster, submitted as the service does it, by a Python that has apache-flink alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from cli.bundle import made
from cli.rehearsal import unpacked
from cli.rehearsal_cluster import Cluster, cluster
from cli.rehearsal_python import python, version_of
from core.config_file import load
from core.metrics import counts
from flink_jobs.rest import figures
from tests.flink_jobs.conftest import Workshop, eventually, workshop
from tests.flink_jobs.events import envelope
from tests.replay import differences, true_documents

__all__ = ["workshop"]

QUIET = Console(quiet=True)
AFTER_ALL = 1 << 40
"""A place in the log behind all that was recorded."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(python(QUIET), tmp_path_factory.mktemp("cluster"), slots=2) as cluster_:
        yield cluster_


def application(workshop: Workshop, running: Cluster, name: str, **changes: object) -> Path:
    """An unpacked bundle of the workshop's pipeline, which has neither address nor password in it."""
    store = {"pgvector": {"dsn": "${DSN}", "table": "documents"}}
    file = workshop.pipeline(bounded=False, store=store, **changes)
    pipeline = load(file, {"DSN": "unknown"})
    return unpacked(made(pipeline, file, QUIET, version_of(running.python)), workshop.folder / name)


def properties(workshop: Workshop) -> Path:
    file = workshop.folder / "application_properties.json"
    groups = {"freshet": {"documents.public.documents.chunk.tokens": "128"}, "freshet.variables": {"DSN": workshop.dsn}}
    file.write_text(
        json.dumps([{"PropertyGroupId": name, "PropertyMap": group} for name, group in groups.items()]),
        encoding="utf-8",
    )
    return file


def count(running: Cluster, job: str, name: str) -> int:
    with httpx.Client(timeout=10) as http:
        address = f"{running.rest}/jobs/{job}"
        return counts(figures(http, address, http.get(address).json())).get(name, 0)


def files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def change(workshop: Workshop, document: str, body: str, number: int) -> None:
    row = {"id": document, "title": "Changed", "body": body, "updated_at": "2026-01-01T00:00:00Z"}
    workshop.send(json.dumps({"id": document}).encode(), envelope(AFTER_ALL + number, row, "u"))


@pytest.mark.timeout(300)
def test_the_bundle_runs_is_upgraded_and_rescaled_with_its_state(workshop: Workshop, running: Cluster) -> None:
    workshop.replay()
    truth = true_documents()
    first, told = application(workshop, running, "first"), properties(workshop)
    before = files(first) | files(running.python.flink)

    began = time.monotonic()
    job = running.submit(first, told)
    eventually(lambda: workshop.prepared() and differences(workshop.rows(), truth) == [], "the true table")
    assert time.monotonic() - began < 90
    eventually(lambda: count(running, job, "chunks_embedded") >= len(truth), "the count")
    savepoint = running.stop(job)
    assert files(first) | files(running.python.flink) == before

    # upgraded, and on two slots
    second = application(workshop, running, "second", delete_retention="8 d")
    document = next(iter(truth)).rpartition("/")[2]
    for number, (bundle, parallelism, body) in enumerate(((second, 2, "two slots"), (first, 1, "one slot"))):
        job = running.submit(bundle, told, parallelism, savepoint)
        assert {vertex["parallelism"] for vertex in running.job(job)["vertices"]} >= {parallelism}
        change(workshop, document, body, number)
        truth = truth | {f"public.documents/{document}": f"Changed\n\n{body}"}
        eventually(lambda truth=truth: differences(workshop.rows(), truth) == [], "the change")
        # nothing but the change was read, embedded and written again
        eventually(lambda job=job: count(running, job, "applied_pgvector") == 1, "the count")
        assert count(running, job, "chunks_embedded") == 1
        savepoint = running.stop(job)
    logs = "".join(path.read_text(errors="replace") for path in (running.folder / "log").iterdir())
    assert "documents" in logs
    assert workshop.dsn not in logs
