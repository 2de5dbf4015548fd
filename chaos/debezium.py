"""The feed of Debezium: a database with two tables, a connector and its topics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from random import Random
from typing import Any

import psycopg

from chaos import restored
from chaos.connector import Connector
from chaos.feed import WRITING_S, Place, Waiting, Work, committed, short
from chaos.strikes import Fault, Strike
from chaos.writers import fill, perform, plans, writing
from connectors.kafka.topics import ends, messages, reading
from connectors.postgres.rows import Reselect
from core.config.pipeline import Pipeline
from core.config.source import Kafka
from core.formats.wrapping import bare
from core.plans import Plan
from core.stores.verification import key_of, table_of
from operations.verify.one_pass import watched
from udfs.embedding.tokenizing import document_chunker

ARTICLES, NOTES = "public.articles", "public.notes"
MARKERS = 40
"""So many rows that each partition has some: what tells that a partition has been read so far."""

FAULTS = {
    Fault.WORKER: 16,
    Fault.WORKER_IDLE: 5,
    Fault.JVM: 6,
    Fault.JOB: 8,
    Fault.JOB_WITHOUT_STATE: 8,
    Fault.RESTART: 6,
    Fault.TWO_RUNS: 5,
    Fault.TOPIC: 5,
    Fault.CONNECT: 9,
    Fault.KAFKA: 9,
    Fault.POSTGRES: 12,
    Fault.OPENSEARCH: 9,
    Fault.MILVUS: 9,
    Fault.POSTGRES_FROZEN: 6,
    Fault.KAFKA_FROZEN: 4,
    Fault.OPENSEARCH_FROZEN: 6,
    Fault.CONNECTOR: 5,
    Fault.SNAPSHOT: 8,
    Fault.INDEX: 5,
    Fault.PARTITIONS: 6,
}

_AT_ONCE = 200
_TABLES = (
    """CREATE TABLE articles (
        id bigint PRIMARY KEY, title text, body text, lang text, updated_at timestamptz)""",
    """CREATE TABLE notes (tenant text, id int, body text, price numeric(10,2), PRIMARY KEY (tenant, id))""",
)
_MARK = (
    """INSERT INTO articles (id, title) SELECT -n, %s FROM generate_series(1, %s) AS n
       ON CONFLICT (id) DO UPDATE SET title = EXCLUDED.title""",
    """INSERT INTO notes (tenant, id, body) SELECT 'marker', n, %s FROM generate_series(1, %s) AS n
       ON CONFLICT (tenant, id) DO UPDATE SET body = EXCLUDED.body""",
)


def _delete_some(connection: psycopg.Connection[Any], remainder: int) -> None:
    connection.execute("DELETE FROM articles WHERE id > 0 AND mod(id, 9) = %s", (remainder,))


class Debezium:
    """A `chaos.feed.Feed`. Its source is the store's own database, until that is restored on another server."""

    faults: Mapping[Fault, int] = {**FAULTS, Fault.FILE: 5, Fault.DATABASE: 5}

    def __init__(self, place: Place, choices: Random) -> None:
        """Make the tables with their first rows, the topics and the connector."""
        self._place = place
        self._dsn = place.dsn
        numbers = range(1, MARKERS + 1)
        self.markers = [*(f"{ARTICLES}/-{n}" for n in numbers), *(f"{NOTES}/marker/{n}" for n in numbers)]
        with psycopg.connect(place.dsn) as connection:
            for table in _TABLES:
                connection.execute(table.encode())
            connection.commit()
            perform(connection, fill(choices))
        self._connector = Connector(place, (ARTICLES, NOTES), _delete_some)
        self._topics = self._connector.topics

    def settings(self) -> dict[str, Any]:
        """No `reselect`: values that an event leaves out must be known, not read again."""
        return {
            "source": {
                "kafka": {
                    "topic": ";".join(self._topics.values()),
                    "properties.bootstrap.servers": self._place.stack.kafka.bootstrap_servers,
                    "scan.startup.mode": "earliest-offset",
                }
            },
            "format": "debezium",
            "documents": {
                ARTICLES: {
                    "text": "{title}\n\n{body}",
                    "metadata": ["lang", "updated_at"],
                    "types": {"updated_at": "timestamptz"},
                },
                NOTES: {"text": "{body}", "metadata": ["price"], "types": {"price": "numeric(10,2)"}},
            },
        }

    def work(self, choices: Random) -> Work:
        """Three or four connections at once."""
        return writing(self._dsn, plans(choices, choices.choice((3, 4)), WRITING_S))

    def mark(self, text: str) -> None:
        """In one transaction."""
        with psycopg.connect(self._dsn, connect_timeout=5) as connection:
            for statement in _MARK:
                connection.execute(statement.encode(), (text, MARKERS))

    def behind(self, pipeline: Pipeline, waiting: Waiting) -> str:
        """By the group's offsets."""
        return committed(pipeline, self._place.group, list(self._topics.values()), waiting)

    def plans(self, pipeline: Pipeline) -> dict[str, Plan]:
        """As `freshet verify` reads them."""
        fresh, frozen = (Reselect(self._dsn, pipeline.events.debezium, schemas=False) for _ in range(2))
        chunkers = {
            name: document_chunker(pipeline.embedding.model, document.chunk)
            for name, document in pipeline.documents.items()
        }
        with closing(fresh), closing(frozen), frozen.snapshot() as state:
            found = [
                table.plan(raw)
                for table in watched(pipeline, fresh, chunkers)
                for batch in state.rows(table.spec.table, table.columns, _AT_ONCE)
                for raw in batch
            ]
        return {plan.document_id: plan for plan in found}

    def events(self, document: str) -> Iterator[str]:
        """As the topic has them, truncates and key changes from and to it too."""
        topic, key = self._topics[table_of(document)], key_of(document)
        servers = self._place.stack.kafka.bootstrap_servers
        kafka = Kafka.model_validate({"topic": topic, "properties.bootstrap.servers": servers})
        with reading(kafka) as consumer:
            for message in messages(consumer, kafka, topic, ends(consumer, kafka, topic)):
                envelope = bare(message.value) or {}
                headers = {name: raw.decode() for name, raw in message.headers if raw and name.startswith("__debezium")}
                moves = {name: raw for name, raw in headers.items() if name.endswith("key")}
                if envelope.get("op") == "t" or any(_is_key(raw, key) for raw in (message.key, *moves.values())):
                    yield _event(message.partition, message.offset, message.time_ms, message.key, envelope, moves)

    def strike(self, strike: Strike, choices: Random) -> None:
        """Restart the connector, have it forget where it was, or have it tell of the database restored elsewhere."""
        if strike.fault is Fault.DATABASE:
            self._dsn = restored.copy(self._place, self._dsn, _TABLES, (ARTICLES, NOTES))
            self._connector.move(self._dsn)
        else:
            self._connector.strike(strike, choices)

    def mend(self) -> None:
        """Let a connector go on that a fault met while its offsets were being forgotten."""
        self._connector.mend()

    def end(self) -> None:
        """Remove the connector and the topics."""
        self._connector.end()


def _is_key(raw: bytes | str | None, key: list[str]) -> bool:
    return (
        raw is not None
        and [str(value) for value in bare(raw.encode() if isinstance(raw, str) else raw).values()] == key
    )


def _event(
    partition: int, offset: int, time_ms: int, key: bytes | None, envelope: dict[str, Any], moves: Mapping[str, str]
) -> str:
    source = envelope.get("source", {})
    after = {name: short(value) for name, value in (envelope.get("after") or {}).items()}
    return (
        f"{partition}:{offset} at {time_ms} key {(key or b'').decode()} op {envelope.get('op', 'tombstone')} "
        f"sequence {source.get('sequence')} tx {source.get('txId')} snapshot {source.get('snapshot')} {moves} {after}"
    )
