"""How fresh a store says that it is, by a real job: what is committed, heartbeats alone, and a job that has ended."""

from __future__ import annotations

import signal
import time

import psycopg

from connectors.opening.stores import open_stores, stores_of
from core.formats.debezium.places import HEARTBEAT_QUERY, place_from
from core.shards.progress import STALE_S, Standing, standing
from core.stores.contract import VectorStore
from operations.pipeline_file import load
from stack.local import Stack
from tests.debezium import connector, events
from tests.flink_jobs.conftest import Workshop, eventually, workshop

__all__ = ["workshop"]


def now(store: VectorStore) -> Standing:
    return standing(store.progress(), time.time_ns() // 1_000_000)


def committed(dsn: str, statement: str) -> str:
    """Where the log stands after a statement is committed."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement.encode())
        return str(connection.execute("SELECT pg_current_wal_insert_lsn()").fetchall()[0][0])


HEARTBEATS = {
    "skipped.operations": "none",
    "heartbeat.interval.ms": "500",
    "heartbeat.action.query": HEARTBEAT_QUERY,
    "transforms": "heartbeat",
    "transforms.heartbeat.type": "org.apache.kafka.connect.transforms.RegexRouter",
    "transforms.heartbeat.regex": r"(.*)\.message",
    "transforms.heartbeat.replacement": "$1.public.documents",
}
"""Twice a second, into the topic of the table."""


EDITS = (
    "UPDATE documents SET body = 'edit 0' WHERE id = 1",
    "INSERT INTO documents VALUES (50, 'title', 'edit 1')",
    "UPDATE documents SET id = 100, body = 'edit 2' WHERE id = 3",
)


def test_a_store_says_how_far_its_job_is(workshop: Workshop, stack: Stack) -> None:
    table = "CREATE TABLE documents (id int PRIMARY KEY, title text, body text, updated_at timestamptz DEFAULT now())"
    committed(workshop.dsn, table)
    committed(workshop.dsn, "CREATE TABLE others (id int)")
    committed(workshop.dsn, "INSERT INTO documents SELECT n, 'title', 'body ' || n FROM generate_series(1, 20) AS n")
    with connector(stack, workshop.dsn, HEARTBEATS, "public.documents") as name:
        source = {
            "topic": f"{name}.public.documents",
            "properties.bootstrap.servers": workshop.bootstrap_servers,
            "scan.startup.mode": "earliest-offset",
        }
        store_of = {"pgvector": {"dsn": workshop.dsn, "table": "chunks"}}
        # the sweep behind a snapshot takes half a minute
        document = {"text": "{title}\n\n{body}", "metadata": ["updated_at"], "sweep": False}
        given = {"documents": {"public.documents": document}, "store": store_of, "parallelism": 2}
        file = workshop.pipeline(source={"kafka": source}, **given)
        # until the snapshot is written there is no topic
        events(stack, f"{name}.public.documents", 20)
        (store,) = open_stores(stores_of(load(file)), 384).values()
        with workshop.running(file) as job:
            eventually(lambda: store.look() and now(store).place != "", "the first place")
            assert len(list(store.document_ids())) == 20
            for number, edit in enumerate(EDITS):
                there = place_from(committed(workshop.dsn, edit))
                eventually(lambda there=there: now(store).place >= there, "an edit")  # type: ignore[misc]
                assert (f"edit {number}",) in workshop.rows("SELECT right(text, 6) FROM chunks")
            assert workshop.rows("SELECT 1 FROM chunks WHERE document_id = 'public.documents/3'") == []
            there = place_from(committed(workshop.dsn, "TRUNCATE documents"))
            eventually(lambda: now(store).place >= there, "the truncate")
            assert list(store.document_ids()) == []
            before_ms = time.time_ns() // 1_000_000
            there = place_from(committed(workshop.dsn, "INSERT INTO others VALUES (1)"))
            assert now(store).place < there
            eventually(lambda: now(store).place >= there, "what touched no captured table")
            fresh = now(store)
            assert fresh.committed_ms is not None and fresh.committed_ms >= before_ms - 1
            assert fresh.lag_ms is not None and fresh.lag_ms < 5_000
            assert fresh.stale_ms is None
            job.send_signal(signal.SIGTERM)
            assert job.wait(60) == 0
        ended_ms = time.time_ns() // 1_000_000
        assert now(store).place >= fresh.place
        eventually(lambda: now(store).stale_ms is not None, "a job that is missed")
        stale_ms = now(store).stale_ms
        assert stale_ms is not None and ended_ms - 10_000 <= stale_ms <= ended_ms
        assert time.time_ns() // 1_000_000 - stale_ms >= STALE_S * 1000
        store.close()
