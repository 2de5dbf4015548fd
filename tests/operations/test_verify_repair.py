"""Events that a repair sends: read by the decoder as the connector's own would be, and where they belong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import yaml

from connectors.kafka.feed import group_of, has_schemas, latest, tail
from connectors.kafka.producer import produce
from connectors.kafka.topics import reading
from connectors.postgres.column_types import typed
from connectors.postgres.rows import Reselect
from core.change import Change, Event, Operation
from core.config.file import load
from core.config.pipeline import Pipeline
from core.documents.step import document_id
from core.formats.debezium.decoding import decode
from core.formats.debezium.source import REPAIRS
from core.formats.recordings import Record
from core.letters import REPLAY
from core.stores.verification import Difference, Kind
from operations.verify.one_pass import Suspect
from operations.verify.repair import Mender
from operations.verify.stream import Stream
from stack.local import Stack
from tests.databases import new_database
from tests.debezium import connector, converters, events
from tests.topics import consume

TABLE = "public.things"


@dataclass(frozen=True)
class Works:
    """A mender of a table whose events a real connector has sent."""

    pipeline: Pipeline
    source: Reselect
    mender: Mender
    events: list[Event]

    def mend(self, suspect: Suspect, kind: Kind) -> list[Event]:
        """What it sends for one difference."""
        self.mender([(suspect, Difference(suspect.document_id, kind, ""))])
        arrived = consume(self.pipeline.kafka.bootstrap_servers, self.events[0].topic)
        new = [each for each in arrived if dict(each.headers).get(REPLAY) is not None or each.value is None]
        return [Event("t", each.partition or 0, 0, each.key, each.value, dict(each.headers)) for each in new]


@pytest.fixture(params=[True, False], ids=["schemas", "bare"])
def works(stack: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Works]:
    name = f"w{uuid4().hex[:8]}"
    dsn = new_database(stack.postgres.dsn, name)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE things (price numeric(8,2), d date, id bigint, body text, at timestamp, secret text, "
            "PRIMARY KEY (id, price, d))"
        )
        connection.execute(
            "INSERT INTO things SELECT 1.5, '2024-02-29', n, 'é ' || n, now(), 's' FROM generate_series(1, 9) AS n"
        )
    hidden = {"column.exclude.list": "public.things.secret"}
    with connector(stack, dsn, {**converters(request.param), **hidden}, partitions=3) as prefix:
        topic = f"{prefix}.{TABLE}"
        events(stack, topic, 9)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("UPDATE things SET body = body || '!'")
        found = events(stack, topic, 18)
        file = tmp_path / "pipeline.yaml"
        kafka = {"topic": topic, "properties.bootstrap.servers": stack.kafka.bootstrap_servers}
        file.write_text(
            yaml.safe_dump(
                {
                    "name": name,
                    "source": {"kafka": kafka},
                    "format": "debezium",
                    "documents": {TABLE: {"text": "{body}", "metadata": ["at"]}},
                    "store": {"pgvector": {"dsn": dsn, "table": "chunks"}},
                    "dead_letters": {"kafka": {"topic": f"{name}.letters"}},
                    "reselect": {"postgres": {"dsn": dsn}},
                }
            )
        )
        # as the job and verify do, which ask the database where events tell no types
        pipeline = load(file) if request.param else typed(load(file))[0]
        with reading(pipeline.kafka, group_of(pipeline)) as consumer:
            last = tail(consumer, pipeline.kafka, topic)
            assert has_schemas(last) is request.param
            source = Reselect(dsn, pipeline.events.debezium, schemas=request.param)
            stream = Stream(pipeline, source, consumer, 0, lambda _: None)
            assert latest(pipeline, last) == max(change_of(event, pipeline).position for event in found)
            yield Works(pipeline, source, Mender(pipeline, source, consumer, stream), found)
            source.close()


def change_of(event: Event, pipeline: Pipeline) -> Change:
    change = decode(event, pipeline.events.debezium)
    assert isinstance(change, Change)
    return change


def test_a_row_is_sent_as_the_connector_sends_it(works: Works) -> None:
    original = works.events[-1]
    change = change_of(original, works.pipeline)
    spec = works.pipeline.documents[TABLE].spec(TABLE)
    suspect = Suspect("pgvector", TABLE, document_id(spec, change), tuple(change.key.items()))
    (sent,) = works.mend(suspect, Kind.STALE)
    again = change_of(sent, works.pipeline)
    assert (again.row, again.key, again.table) == (change.row, change.key, change.table)
    assert "secret" not in again.row
    assert again.operation is Operation.UPSERT
    assert not again.unavailable | again.doubtful
    assert not again.ends_snapshot
    assert again.position == max(change_of(event, works.pipeline).position for event in works.events)
    assert (sent.key, sent.partition) == (original.key, original.partition)
    assert REPAIRS.encode() in (sent.value or b"")


@pytest.mark.parametrize("as_text", [True, False], ids=["key of an id", "key of a row"])
def test_a_removal_decodes_to_the_document_that_is_gone(works: Works, as_text: bool) -> None:
    change = change_of(works.events[0], works.pipeline)
    spec = works.pipeline.documents[TABLE].spec(TABLE)
    identity = document_id(spec, change)
    key = {name: str(value) if as_text else value for name, value in change.key.items()}
    deletion, tombstone = works.mend(Suspect("pgvector", TABLE, identity, tuple(key.items())), Kind.GHOST)
    gone = change_of(deletion, works.pipeline)
    assert (gone.operation, document_id(spec, gone)) == (Operation.DELETE, identity)
    assert gone.position == max(change_of(event, works.pipeline).position for event in works.events)
    assert (tombstone.key, tombstone.value, tombstone.partition) == (deletion.key, None, deletion.partition)


def test_a_topic_without_events_of_the_table_is_named(works: Works) -> None:
    servers, topic = works.pipeline.kafka.bootstrap_servers, works.events[0].topic
    produce(servers, (Record(topic, b"x", None, (), partition) for partition in (0, 1, 2) for _ in range(100)))
    works.mender([(Suspect("pgvector", TABLE, "public.things/1", ()), Difference("public.things/1", Kind.STALE, ""))])
    assert works.mender.sent == 0
    assert list(works.mender.notes) == [
        f"topic {topic} ends without an event of {TABLE}: nothing tells where a repair belongs"
    ]
