"""The feed of Debezium: a database with two tables, a connector and its topics."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from random import Random
from typing import Any

import httpx
import psycopg
import tenacity
from confluent_kafka.admin import AdminClient

from cli.chaos.feed import WRITING_S, Place, Work, committed, short
from cli.chaos.strikes import Fault, Strike
from cli.chaos.writers import Writer, fill, in_threads, perform, plans
from cli.stack.connect import register_postgres, remove_postgres
from cli.verify_pass import watched
from connectors.kafka_producer import ensure_topics
from connectors.kafka_topics import ends, messages, reading
from connectors.postgres_rows import Reselect
from core.config import Pipeline
from core.config_source import Kafka
from core.errors import FreshetError
from core.plans import Plan
from core.verification import key_of, table_of
from udfs.tokenizing import document_chunker

ARTICLES, NOTES = "public.articles", "public.notes"
PARTITIONS = 3
MARKERS = 12
"""So many rows that each partition has some: what tells that a partition has been read so far."""

FAULTS = {
    Fault.WORKER: 16,
    Fault.JVM: 6,
    Fault.JOB: 8,
    Fault.JOB_WITHOUT_STATE: 8,
    Fault.RESTART: 6,
    Fault.CONNECT: 9,
    Fault.KAFKA: 9,
    Fault.POSTGRES: 12,
    Fault.OPENSEARCH: 9,
    Fault.POSTGRES_FROZEN: 6,
    Fault.KAFKA_FROZEN: 4,
    Fault.OPENSEARCH_FROZEN: 6,
    Fault.CONNECTOR: 5,
    Fault.SNAPSHOT: 8,
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
_DROP_SLOTS = """
    SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"""


class Debezium:
    """A `cli.chaos.feed.Feed`. Its source is the store's own database."""

    faults: Mapping[Fault, int] = FAULTS

    def __init__(self, place: Place, choices: Random) -> None:
        """Make the tables with their first rows, the topics and the connector."""
        self._place = place
        self._url = f"{place.stack.connect.url}/connectors/{place.name}"
        self._topics = {table: f"{place.name}.{table}" for table in (ARTICLES, NOTES)}
        numbers = range(1, MARKERS + 1)
        self.markers = [*(f"{ARTICLES}/-{n}" for n in numbers), *(f"{NOTES}/marker/{n}" for n in numbers)]
        with psycopg.connect(place.dsn) as connection:
            for table in _TABLES:
                connection.execute(table.encode())
            connection.commit()
            perform(connection, fill(choices))
        ensure_topics(place.stack.kafka.bootstrap_servers, dict.fromkeys(self._topics.values(), PARTITIONS))
        register_postgres(place.stack.connect.url, place.name, place.dsn, place.name, (ARTICLES, NOTES), PARTITIONS)

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
        planned = plans(choices, choices.choice((3, 4)), WRITING_S)

        def write(until: float) -> int:
            writers = [Writer(self._place.dsn, plan, until) for plan in planned]
            for thread in in_threads([writer.run for writer in writers]):
                thread.join()
            return sum(writer.changes for writer in writers)

        return write

    def mark(self, text: str) -> None:
        """In one transaction."""
        with psycopg.connect(self._place.dsn, connect_timeout=5) as connection:
            for statement in _MARK:
                connection.execute(statement.encode(), (text, MARKERS))

    def behind(self, pipeline: Pipeline, until: float) -> str:
        """By the group's offsets."""
        return committed(pipeline, self._place.group, list(self._topics.values()), until)

    def plans(self, pipeline: Pipeline) -> dict[str, Plan]:
        """As `freshet verify` reads them."""
        fresh, frozen = (Reselect(self._place.dsn, pipeline.debezium, schemas=False) for _ in range(2))
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
                told = json.loads(message.value) if message.value else {}
                headers = {name: raw.decode() for name, raw in message.headers if raw and name.startswith("__debezium")}
                moves = {name: raw for name, raw in headers.items() if name.endswith("key")}
                if told.get("op") == "t" or any(_is_key(raw, key) for raw in (message.key, *moves.values())):
                    yield _event(message.partition, message.offset, message.time_ms, message.key, told, moves)

    def strike(self, strike: Strike, choices: Random) -> None:
        """Restart the connector, or have it forget where it was."""
        if strike.fault is Fault.CONNECTOR:
            self._connect("POST", "/restart", {"includeTasks": "true"})
        elif strike.fault is Fault.SNAPSHOT:
            self._lose_offsets(strike.lasts_s, choices.randrange(9))

    def _lose_offsets(self, seconds: float, remainder: int) -> None:
        """Stop the connector, forget where it was, and start it again after `seconds`: it snapshots anew.

        What is deleted meanwhile, it never tells: some articles at least, and what the writers delete.
        """
        self._connect("PUT", "/stop")
        self._until("STOPPED")
        # the offsets first: without its slot a connector that knows where it was would go on after a gap
        self._connect("DELETE", "/offsets")
        with psycopg.connect(self._place.dsn, autocommit=True, connect_timeout=5) as connection:
            again = tenacity.Retrying(
                retry=tenacity.retry_if_exception_type(psycopg.errors.ObjectInUse),
                stop=tenacity.stop_after_delay(20),
                wait=tenacity.wait_fixed(0.1),
                reraise=True,
            )
            again(lambda: connection.execute(_DROP_SLOTS))
            connection.execute("DELETE FROM articles WHERE id > 0 AND mod(id, 9) = %s", (remainder,))
        time.sleep(seconds)
        self._connect("PUT", "/resume")

    def mend(self) -> None:
        """Let a connector go on that a fault met while its offsets were being forgotten."""
        if self._status()["connector"]["state"] == "STOPPED":
            self._connect("PUT", "/resume")

    def end(self) -> None:
        """Remove the connector and the topics."""
        remove_postgres(self._place.stack.connect.url, self._place.name, self._place.dsn)
        admin = AdminClient({"bootstrap.servers": self._place.stack.kafka.bootstrap_servers})
        for deleted in admin.delete_topics(list(self._topics.values())).values():
            deleted.result()

    def _status(self) -> dict[str, Any]:
        found: dict[str, Any] = self._connect("GET", "/status").json()
        return found

    def _until(self, state: str) -> None:
        for _ in range(200):
            told = self._status()
            if told["connector"]["state"] == state and not told["tasks"]:
                return
            time.sleep(0.1)
        raise FreshetError(f"connector {self._place.name} is not {state} after 20 s")

    def _connect(self, method: str, path: str, parameters: dict[str, str] | None = None) -> httpx.Response:
        again = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(httpx.HTTPError),
            stop=tenacity.stop_after_delay(30),
            wait=tenacity.wait_fixed(0.5),
            reraise=True,
        )
        return again(lambda: httpx.request(method, self._url + path, params=parameters, timeout=30).raise_for_status())


def _is_key(raw: bytes | str | None, key: list[str]) -> bool:
    return raw is not None and [str(value) for value in json.loads(raw).values()] == key


def _event(
    partition: int, offset: int, time_ms: int, key: bytes | None, told: dict[str, Any], moves: Mapping[str, str]
) -> str:
    source = told.get("source", {})
    after = {name: short(value) for name, value in (told.get("after") or {}).items()}
    return (
        f"{partition}:{offset} at {time_ms} key {(key or b'').decode()} op {told.get('op', 'tombstone')} "
        f"sequence {source.get('sequence')} tx {source.get('txId')} snapshot {source.get('snapshot')} {moves} {after}"
    )
