"""The whole job on real servers, run as a user runs it: `freshet run pipeline.yaml`."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import psutil
import pytest

from core.formats.debezium.decoding import UNAVAILABLE
from tests.flink_jobs.conftest import Workshop, eventually, kill
from tests.flink_jobs.events import envelope, key, row
from tests.replay import differences, true_documents


@pytest.mark.parametrize("parallelism", [1, 2])
def test_the_recorded_workload_ends_in_the_true_table(workshop: Workshop, parallelism: int) -> None:
    workshop.replay()
    pipeline = workshop.pipeline(parallelism=parallelism)
    assert "documents finished" in workshop.freshet("run", pipeline)
    assert differences(workshop.rows(), true_documents()) == []
    assert workshop.letters() == []

    # Every chunk's row version stays: nothing was embedded, nothing written.
    versions = workshop.rows("SELECT chunk_id, xmin::text, ctid::text FROM documents ORDER BY 1")
    workshop.replay()
    printed = workshop.freshet("run", pipeline)
    assert workshop.rows("SELECT chunk_id, xmin::text, ctid::text FROM documents ORDER BY 1") == versions
    assert "chunks embedded" not in printed


def test_killed_in_the_middle_and_started_again(workshop: Workshop) -> None:
    workshop.replay()
    pipeline = workshop.pipeline(bounded=False, flink={"execution.checkpointing.interval": "500 ms"})
    kills = 0
    for enough in (50, 150):
        with workshop.running(pipeline) as job:
            eventually(lambda goal=enough: _stored(workshop) >= goal, f"{enough} documents")
            kill(job)
            kills += 1
    assert kills == 2
    workshop.replay()
    assert "documents finished" in workshop.freshet("run", workshop.pipeline())
    assert differences(workshop.rows(), true_documents()) == []


def test_the_jvm_dies_and_the_command_says_so_in_a_line_and_leaves_nothing(workshop: Workshop) -> None:
    pipeline = workshop.pipeline(bounded=False)
    workshop.send(key(1), envelope(1, row(1, "first")))
    with workshop.running(pipeline, alone=True) as job:
        eventually(lambda: _stored(workshop) == 1, "the first row")
        below = psutil.Process(job.pid).children(recursive=True)
        next(child for child in below if child.name() == "java").kill()
        assert job.wait(30) == 2
        assert psutil.wait_procs(below, timeout=30)[1] == []
    said = workshop.printed().splitlines()
    assert "the JVM that ran the job is gone" in said[-1]
    assert "Traceback" not in workshop.printed()


def _standing(workshop: Workshop, pipeline: Path) -> dict[str, object]:
    status: dict[str, object] = json.loads(workshop.freshet("status", pipeline, "--once", "--json"))
    return status


def _stored(workshop: Workshop) -> int:
    return (
        len(workshop.rows("SELECT document_id FROM documents_ledger WHERE document_id NOT LIKE '/%'"))
        if workshop.prepared()
        else 0
    )


def test_stops_with_a_savepoint_and_resumes_from_it(workshop: Workshop) -> None:
    pipeline = workshop.pipeline(bounded=False)
    workshop.send(key(1), envelope(1, row(1, "first")))
    with workshop.running(pipeline) as job:
        eventually(lambda: workshop.prepared() and len(workshop.rows()) == 1, "the first row")
        job.send_signal(signal.SIGTERM)
        assert job.wait(60) == 0
    assert "the next run resumes from savepoint-" in workshop.printed()
    home = workshop.folder / ".freshet" / "pipelines" / "documents"
    with workshop.running(pipeline) as job:
        eventually(lambda: (home / "job.json").exists(), "the job")
        # it has read nothing yet, so Flink counts nothing that waits
        eventually(lambda: _standing(workshop, pipeline)["caught_up"] is True, "that it has caught up")
        # The body did not travel with this one: only the state that the savepoint kept knows it.
        workshop.send(key(1), envelope(2, row(1, UNAVAILABLE, title="second"), op="u"))
        workshop.send(key(2), envelope(3, row(2, "other")))
        eventually(lambda: len(workshop.rows()) == 2, "the second row")
        job.send_signal(signal.SIGINT)
        assert job.wait(60) == 0
    assert "resuming from savepoint-" in workshop.printed()
    # the source goes on where it was: nothing comes again
    assert "stale" not in workshop.printed()
    assert sorted(workshop.rows()) == [
        ("public.documents/1", 0, "second\n\nfirst"),
        ("public.documents/2", 0, "t\n\nother"),
    ]
    events = [json.loads(line) for line in (home / "log" / "events.jsonl").open()]
    assert [each["event"] for each in events] == ["start", "savepoint", "stop", "resume", "savepoint", "stop"]
    assert events[3]["state"] == Path(events[1]["path"]).name
    assert not (home / "job.json").exists()


BAD = [
    ("bytes that aren't JSON", b"\xff\x00nonsense", "DecodeError", "not JSON"),
    ("an envelope without after", envelope(2, None), "DecodeError", "'after' is None"),
    ("an unknown op", envelope(2, row(2, "b"), op="?"), "DecodeError", "op is '?'"),
    ("a missing column", envelope(2, {"id": 2, "title": "t"}), "DocumentError", "column 'body'"),
    ("an unavailable column", envelope(2, row(2, UNAVAILABLE)), "DocumentError", "REPLICA IDENTITY FULL"),
    ("lone surrogates", envelope(2, row(2, "\ud800")), "DecodeError", "not JSON"),
]


def test_bad_input_becomes_dead_letters_and_stops_nothing(workshop: Workshop) -> None:
    workshop.send(key(1), envelope(1, row(1, "good")))
    for _, value, _, _ in BAD:
        workshop.send(key(2), value, {"trace": b"\x00\x01"})
    huge = " ".join(f"word{number}" for number in range(550_000))
    workshop.send(key(3), envelope(3, row(3, huge)))
    workshop.send(key(4), envelope(4, row(4, "", title="")))
    workshop.send(key(5), envelope(5, row(5, "nul \x00 here")))
    workshop.send(key(5), None)
    workshop.send(None, envelope(6, row(6, "no key")))
    workshop.freshet("run", workshop.pipeline())

    stored = workshop.rows()
    texts = {row(3, huge)["id"]: f"t\n\n{huge}"}
    truth = {
        "public.documents/1": "t\n\ngood",
        "public.documents/3": texts[3],
        "public.documents/5": "t\n\nnul \ufffd here",
    }
    assert {document for document, _, _ in stored} == set(truth)
    assert differences([each for each in stored if "/3" not in each[0]], {**truth, "public.documents/3": " "}) == []
    assert sum(len(text) for document, _, text in stored if document.endswith("/3")) >= len(texts[3])

    letters = {value: (found_key, headers) for found_key, value, headers in workshop.letters()}
    assert len(letters) == len(BAD) + 1
    for name, value, error, says in BAD:
        found_key, headers = letters[value]
        assert (found_key, headers["trace"]) == (key(2), b"\x00\x01"), name
        assert headers["freshet.error.class"].decode() == error, name
        assert says in headers["freshet.reason"].decode(), name
        assert headers["freshet.source.topic"].decode() == workshop.topic
    assert b"no primary key" in letters[envelope(6, row(6, "no key"))][1]["freshet.reason"]


def test_late_and_repeated_changes_are_refused(workshop: Workshop) -> None:
    for position, body in [(10, "ten"), (30, "thirty"), (20, "late"), (30, "thirty")]:
        workshop.send(key(1), envelope(1, row(1, body), lsn=position))
    workshop.send(key(2), envelope(2, row(2, "gone"), lsn=40))
    workshop.send(key(2), envelope(2, None, op="d", lsn=50))
    workshop.send(key(2), envelope(2, row(2, "late"), lsn=45))
    printed = workshop.freshet("run", workshop.pipeline())
    assert workshop.rows() == [("public.documents/1", 0, "t\n\nthirty")]
    assert "finished" in printed


def test_a_store_that_is_down_is_named_at_start(workshop: Workshop) -> None:
    store = {"pgvector": {"dsn": "postgresql://me:hunter2@127.0.0.1:1/db", "table": "documents"}}
    printed = workshop.freshet("run", workshop.pipeline(store=store), ok=False)
    assert "store.pgvector.dsn" in printed
    assert "127.0.0.1:1" in printed
    assert "hunter2" not in printed


def test_a_broker_that_is_down_is_named_at_start(workshop: Workshop) -> None:
    kafka = {"topic": "a", "properties.bootstrap.servers": "127.0.0.1:1"}
    printed = workshop.freshet("run", workshop.pipeline(source={"kafka": kafka}), ok=False)
    assert "source.kafka.properties.bootstrap.servers" in printed
    assert "127.0.0.1:1" in printed
