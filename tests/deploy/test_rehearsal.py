"""The bundle on a real Flink cluster, submitted as the service does it, by a Python that has apache-flink alone."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import numpy as np
import pytest

from core.config.file import load
from core.config.msf import LARGEST_ZIP
from core.stores.fingerprint import owner_from_text
from flink_jobs.running.target import TargetJob
from operations.bundle import made
from operations.rehearsal.cluster import Python, cluster
from operations.rehearsal.python import python, version_of
from operations.rehearsal.rehearse import unpacked
from operations.reporting import unheard
from tests.flink_jobs import people
from tests.flink_jobs.conftest import Workshop, eventually, workshop
from tests.flink_jobs.events import envelope
from tests.flink_jobs.test_profiles import prepared
from tests.replay import differences, true_documents
from udfs.embedding.embedder import embedder
from udfs.embedding.model_files import DEFAULT

__all__ = ["workshop"]

AFTER_ALL = 1 << 40
"""A place in the log behind all that was recorded."""


def application(workshop: Workshop, there: Python, name: str, **changes: object) -> Path:
    """An unpacked bundle of the workshop's pipeline, which has neither address nor password in it."""
    store = {"pgvector": {"dsn": "${DSN}", "table": "documents"}}
    return bundled(workshop.pipeline(bounded=False, store=store, **changes), there, workshop.folder / name)


def bundled(file: Path, there: Python, folder: Path, *, with_model: bool = False) -> Path:
    pipeline = load(file, {"DSN": "unknown"})
    built = made(pipeline, file, unheard, version_of(there), with_model=with_model)
    assert len(built.content) < LARGEST_ZIP
    return unpacked(built, folder)


def properties(workshop: Workshop, **settings: str) -> Path:
    file = workshop.folder / "application_properties.json"
    groups = {"freshet": settings, "freshet.variables": {"DSN": workshop.dsn}}
    file.write_text(
        json.dumps([{"PropertyGroupId": name, "PropertyMap": group} for name, group in groups.items()]),
        encoding="utf-8",
    )
    return file


def written(workshop: Workshop) -> dict[str, str]:
    """Each document that the store knows of, with the transaction that wrote its entry."""
    return {
        name: by
        for name, by, *_ in workshop.rows(
            "SELECT document_id, xmin::text, 0 FROM documents_ledger WHERE document_id NOT LIKE '/%'"
        )
    }


def files(folder: Path) -> dict[str, int]:
    # what Python compiles as it first imports it is no writing of the job's, and only a new rehearsal's Python does it
    there = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path): path.stat().st_mtime_ns for path in there}


def change(workshop: Workshop, document: str, body: str, number: int = 0) -> None:
    row = {"id": document, "title": "Changed", "body": body, "updated_at": "2026-01-01T00:00:00Z"}
    workshop.send(json.dumps({"id": document}).encode(), envelope(AFTER_ALL + number, row, "u"))


def widest(job: TargetJob) -> int:
    """The largest parallelism that a part of the job has."""
    return max(vertex["parallelism"] for vertex in httpx.get(f"{job.rest}/jobs/{job.id}").json()["vertices"])


@pytest.mark.timeout(1200)
def test_the_bundle_runs_is_upgraded_and_rescaled_with_its_state(workshop: Workshop) -> None:
    workshop.replay()
    truth = true_documents()
    there, folder = python(unheard), workshop.folder / "cluster"
    settings = properties(workshop, **{"documents.public.documents.chunk.tokens": "128"})
    first = application(workshop, there, "first")
    kept = files(first) | files(there.flink)

    with cluster(there, folder, slots=1) as running:
        job = running.submit(first, settings)
        eventually(lambda: workshop.prepared() and differences(workshop.rows(), truth) == [], "the true table")
        eventually(lambda: job.progress().counts.get("chunks_embedded", 0) >= len(truth), "the count")
        eventually(lambda: "public.documents" in written(workshop), "the end of the snapshot")
        savepoint = job.stop_with_savepoint(running.savepoints)
    assert files(first) | files(there.flink) == kept

    # upgraded, and on two slots. The service has a new cluster for each start.
    second = application(workshop, there, "second", delete_retention="8 d")
    document, before = next(iter(truth)).rpartition("/")[2], written(workshop)
    with cluster(there, folder, slots=2) as running:
        job = running.submit(second, settings, 2, savepoint)
        assert widest(job) == 2
        change(workshop, document, "on two")
        truth = truth | {f"public.documents/{document}": "Changed\n\non two"}
        eventually(lambda: differences(workshop.rows(), truth) == [], "the change")
        # nothing but the change was applied: every other document's entry is the one of before
        after = written(workshop)
        assert {name for name in after if after[name] != before.get(name)} == {f"public.documents/{document}"}
        job.stop_with_savepoint(running.savepoints)
    query = "SELECT document_id, position, 0 FROM documents_ledger WHERE document_id = '/owner'"
    ((_, owner, _),) = workshop.rows(query)
    known = owner_from_text(owner.partition(" ")[2]).log.logs
    assert f"topic {workshop.topic}" in known and {len(each) for each in known.values()} == {22}
    logs = "".join(path.read_text(errors="replace") for path in (folder / "log").iterdir())
    assert "documents" in logs
    assert workshop.dsn not in logs


@pytest.mark.timeout(1200)
def test_the_job_of_profiles_embeds_by_the_model_in_its_bundle_and_goes_on_from_its_savepoint(
    workshop: Workshop,
) -> None:
    there, folder, history = (
        python(unheard),
        workshop.folder / "cluster",
        people.history(seed=7, changes=600, people=40),
    )
    known = properties(workshop)
    store = {"postgres": {"dsn": "${DSN}"}, "pgvector": {"dsn": "${DSN}", "table": "people"}}
    embedding = {"model": DEFAULT, "text": people.TEXT}
    file = people.pipeline(workshop, bounded=False, store=store, embedding=embedding)
    bundle = bundled(file, there, workshop.folder / "profiles", with_model=True)
    local = people.pipeline(workshop, embedding=embedding)
    savepoint = None
    # on fewer slots than before, as the job of documents went on on more
    for begun, ended, slots in ((0, 400, 2), (400, 600, 1)):
        people.send(workshop, history[begun:ended])
        with cluster(there, folder, slots) as running:
            job = running.submit(bundle, known, slots, savepoint)
            assert widest(job) == slots
            eventually(
                lambda sent=history[:ended]: prepared(workshop) and people.differences(workshop, local, sent) == [],
                f"what {ended} changes come to",
            )
            savepoint = job.stop_with_savepoint(running.savepoints)
    assert workshop.letters() == []
    rows = workshop.rows("SELECT text, ordinal, embedding::text FROM people")
    expected = embedder(DEFAULT).embed([text for text, *_ in rows])
    stored = np.array([json.loads(vector) for *_, vector in rows])
    assert len(rows) > 20
    # the two processes may cut a batch otherwise
    assert np.abs(stored - expected).max() < 1e-5
