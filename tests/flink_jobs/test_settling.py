"""What waits in the job: key changes across partitions, ends of snapshots, values that only the source has."""

from __future__ import annotations

import json
import signal
import time

import psycopg
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from core.documents.forgetting import FIRST_LOOK_MS
from core.formats.debezium.decoding import UNAVAILABLE
from tests.databases import new_database
from tests.flink_jobs.conftest import Workshop, eventually
from tests.flink_jobs.events import envelope, key, row


def texts(workshop: Workshop) -> dict[str, str]:
    return {document.removeprefix("public.documents/"): text for document, _, text in workshop.rows()}


def headers(**new_or_old: int) -> dict[str, bytes]:
    """`newkey=2` as the connector writes it on the old key's deletion, `oldkey=1` on the new key's row."""
    return {f"__debezium.{name}": json.dumps({"id": number}).encode() for name, number in new_or_old.items()}


@pytest.mark.parametrize("arrives_first", [False, True])
def test_a_moved_row_takes_text_and_vectors_along(workshop: Workshop, arrives_first: bool) -> None:
    workshop.partitioned(2)
    workshop.send(key(1), envelope(1, row(1, "long text")), partition=0)
    halves = [
        (0, key(1), envelope(2, None, op="d"), headers(newkey=2)),
        (1, key(2), envelope(2, row(2, UNAVAILABLE)), headers(oldkey=1)),
    ]
    pipeline = workshop.pipeline(bounded=False, parallelism=2)
    with workshop.running(pipeline) as job:
        eventually(lambda: workshop.prepared() and len(workshop.rows()) == 1, "the row under its old key")
        for partition, of, value, moved in reversed(halves) if arrives_first else halves:
            workshop.send(of, value, moved, partition)
        # Known by the new key alone: the text that the old one had is still missing in what the new one tells.
        workshop.send(key(2), envelope(3, row(2, UNAVAILABLE, title="moved"), op="u"), partition=1)
        eventually(lambda: texts(workshop) == {"2": "moved\n\nlong text"}, "the row under its new key")
        job.send_signal(signal.SIGTERM)
        assert job.wait(60) == 0
    assert workshop.letters() == []


def test_a_topic_grows_while_a_half_waits_and_a_truncated_row_is_forgotten(workshop: Workshop) -> None:
    """Row 1 moves to key 2, in a partition that only seems idle; row 3's later change is read first; row 4 is gone."""
    workshop.partitioned(1)
    workshop.send(key(4), envelope(1, row(4, "truncated")))
    workshop.send(None, envelope(2, None, op="t"))
    workshop.send(key(1), envelope(3, row(1, "long text")))
    workshop.send(key(3), envelope(4, row(3, "old text")))
    with workshop.running(workshop.pipeline(bounded=False, parallelism=2)):
        rows = {"1": "t\n\nlong text", "3": "t\n\nold text"}
        eventually(lambda: workshop.prepared() and texts(workshop) == rows, "the rows")
        looked = time.monotonic() + FIRST_LOOK_MS / 1000 + 5
        grow(workshop, 2)
        workshop.send(key(3), envelope(6, row(3, UNAVAILABLE, title="later"), op="u"), partition=1)
        eventually(lambda: texts(workshop)["3"] == "later\n\nold text", "the new partition to be read")
        # the backlog of the old one
        workshop.send(key(3), envelope(5, row(3, "new text"), op="u"), partition=0)
        workshop.send(key(2), envelope(7, row(2, UNAVAILABLE)), headers(oldkey=1), partition=1)
        eventually(lambda: texts(workshop)["3"] == "later\n\nnew text", "what came late")
        # longer than it takes a silent partition to be called idle, and the clock to pass the event's slack
        time.sleep(25)
        assert workshop.letters() == []
        workshop.send(key(1), envelope(7, None, op="d"), headers(newkey=2), partition=0)
        rows = {"2": "t\n\nlong text", "3": "later\n\nnew text"}
        eventually(lambda: texts(workshop) == rows, "the row under its new key")
        time.sleep(max(0.0, looked - time.monotonic()))
        # no source tells this: it says whether the state still has the text of row 4
        workshop.send(key(4), envelope(8, row(4, UNAVAILABLE), op="u"), partition=0)
        eventually(lambda: workshop.has_letters() or "4" in texts(workshop), "what nobody knows")
        assert texts(workshop) == rows
        line = f"topic {workshop.topic} has 2 partitions since 20"
        eventually(lambda: workshop.printed().count(line) == 1, "the run to say so")
    assert [headers["freshet.document"] for _, _, headers in workshop.letters()] == [b"public.documents/4"]


def grow(workshop: Workshop, partitions: int) -> None:
    """Give the topic so many partitions, and have clients that come from now on know of them."""
    settings = {"bootstrap.servers": workshop.bootstrap_servers}
    admin = AdminClient(settings)
    admin.create_partitions([NewPartitions(workshop.topic, partitions)])[workshop.topic].result(20)

    def there() -> bool:
        # a client of its own each time, as one that asked before goes by the answer it got then
        known = AdminClient(settings).list_topics(workshop.topic, timeout=10).topics[workshop.topic].partitions
        return len(known) == partitions and all(each.leader >= 0 for each in known.values())

    eventually(there, "the new partitions")


def test_a_move_alone_embeds_nothing(workshop: Workshop) -> None:
    pipeline = workshop.pipeline(bounded=False)
    workshop.send(key(1), envelope(1, row(1, "long text")))
    with workshop.running(pipeline):
        eventually(lambda: workshop.prepared() and len(workshop.rows()) == 1, "the row")
        workshop.send(key(1), envelope(2, None, op="d"), headers(newkey=2))
        workshop.send(key(2), envelope(2, row(2, "long text")), headers(oldkey=1))
        eventually(lambda: "1 chunk reused" in workshop.printed(), "the vector to be taken over")
        assert "2 chunks embedded" not in workshop.printed()
        eventually(lambda: texts(workshop) == {"2": "t\n\nlong text"}, "the old row to go")


def test_ghosts_are_swept_when_the_snapshot_has_passed_every_partition(workshop: Workshop) -> None:
    workshop.partitioned(3)
    for number in range(1, 7):
        workshop.send(key(number), envelope(number, row(number, "old")), partition=number % 3)
    pipeline = workshop.pipeline(bounded=False, parallelism=2)
    with workshop.running(pipeline) as job:
        eventually(lambda: workshop.prepared() and len(workshop.rows()) == 6, "all rows")
        # The connector lost its place: 5 and 6 were deleted meanwhile, and 3 is read behind the snapshot's last row.
        for number in (1, 2):
            workshop.send(key(number), envelope(number, row(number, "new"), "r", 100, "true"), partition=number % 3)
        workshop.send(key(4), envelope(4, row(4, "new"), "r", 100, "last"), partition=1)
        workshop.send(key(3), envelope(3, row(3, "new"), "r", 100, "true"), partition=0)
        eventually(lambda: list(texts(workshop).values()).count("t\n\nnew") == 4, "the snapshot's rows")
        assert set(texts(workshop)) >= {"1", "2", "3", "4"}
        eventually(lambda: set(texts(workshop)) == {"1", "2", "3", "4"}, "the ghosts to go")
        # A change of a ghost from before the snapshot comes late, and a row of its key comes anew.
        workshop.send(key(5), envelope(50, row(5, "late"), "u"), partition=2)
        workshop.send(key(6), envelope(101, row(6, "anew")), partition=0)
        eventually(lambda: set(texts(workshop)) == {"1", "2", "3", "4", "6"}, "the new row")
        job.send_signal(signal.SIGTERM)
        assert job.wait(60) == 0
    assert workshop.letters() == []
    assert "5" not in texts(workshop)


def test_sweeping_can_be_switched_off(workshop: Workshop) -> None:
    documents = {"public.documents": {"text": "{title}\n\n{body}", "sweep": False}}
    workshop.send(key(1), envelope(1, row(1, "old")))
    workshop.send(key(2), envelope(2, row(2, "new"), "r", 100, "last"))
    workshop.freshet("run", workshop.pipeline(documents=documents))
    assert set(texts(workshop)) == {"1", "2"}


def source_with(workshop: Workshop, body: str) -> dict[str, object]:
    """A database that has row 1 of the table that the events tell of; the setting that names it."""
    dsn = new_database(workshop.dsn, f"{workshop.prefix}_source")
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "CREATE TABLE public.documents (id bigint PRIMARY KEY, title text, body text, updated_at text)"
        )
        connection.execute("INSERT INTO public.documents VALUES (1, 't', %s)", [body])
    return {"postgres": {"dsn": dsn}}


def test_values_that_no_event_has_are_read_again_from_the_source(workshop: Workshop) -> None:
    for number in (1, 2):
        workshop.send(key(number), envelope(number, row(number, UNAVAILABLE), op="u"))
    workshop.send(key(1), envelope(3, row(1, UNAVAILABLE, title="later"), op="u"))
    # Known by then, and no more: nobody can say what the change did that can't be read.
    workshop.send(key(1), envelope(4, row(1, "in an event"), op="u"))
    workshop.send(key(1), envelope(5, row(1, "from the source"), op="x"))
    workshop.send(key(1), envelope(6, row(1, UNAVAILABLE, title="last"), op="u"))
    workshop.freshet("run", workshop.pipeline(reselect=source_with(workshop, "from the source")))
    assert texts(workshop) == {"1": "last\n\nfrom the source"}
    ((_, _, letter_headers),) = workshop.letters()
    assert b"op is 'x'" in letter_headers["freshet.reason"]


def test_a_dead_letter_is_replayed_past_the_gate(workshop: Workshop) -> None:
    workshop.send(key(1), envelope(1, row(1, UNAVAILABLE), op="u"))
    workshop.freshet("run", workshop.pipeline())
    ((_, _, letter_headers),) = workshop.letters()
    assert letter_headers["freshet.attempts"] == b"1" and letter_headers["freshet.document"] == b"public.documents/1"
    assert b"reselect.postgres.dsn" in letter_headers["freshet.reason"]
    pipeline = workshop.pipeline(reselect=source_with(workshop, "now known"))
    for _ in range(2):
        workshop.freshet("dead-letters", "replay", pipeline, "--yes")
        workshop.freshet("run", pipeline)
        assert texts(workshop) == {"1": "t\n\nnow known"}
    assert len(workshop.letters()) == 1
