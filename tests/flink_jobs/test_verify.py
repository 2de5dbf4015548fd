"""`freshet verify` with the whole way at work: Debezium, the job, and a store that is damaged and mended."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stack.connect import register_postgres, remove_postgres
from stack.local import Stack
from tests.flink_jobs.conftest import Workshop, eventually

# The ghost has the snapshot's position: were it older, the sweep after the snapshot might take it first.
DAMAGE = """
    UPDATE chunks SET text = 'other' WHERE document_id = 'public.documents/1';
    DELETE FROM chunks WHERE document_id = 'public.documents/2';
    UPDATE chunks SET metadata = '{}' WHERE document_id = 'public.documents/3';
    UPDATE chunks SET ordinal = 7 WHERE document_id = 'public.documents/4';
    UPDATE chunks AS d SET embedding = o.embedding FROM chunks AS o
        WHERE d.document_id = 'public.documents/5' AND o.document_id = 'public.documents/6';
    DELETE FROM chunks_ledger WHERE document_id = 'public.documents/900';
    INSERT INTO chunks_ledger (document_id, position)
        SELECT 'public.documents/900', position FROM chunks_ledger WHERE document_id = 'public.documents/6';
    INSERT INTO chunks SELECT 'left', 'public.documents/900', 0, 'left over', metadata, embedding, model
        FROM chunks WHERE document_id = 'public.documents/6';
    INSERT INTO chunks SELECT 'stray', 'public.documents/901', 0, 'not in the ledger', metadata, embedding, model
        FROM chunks WHERE document_id = 'public.documents/6';
    INSERT INTO chunks SELECT 'older', document_id, 1, text, metadata, embedding, 'older' FROM chunks
        WHERE document_id = 'public.documents/7';
    UPDATE chunks_ledger SET position = 'ffffffffffffffff.ffffffffffffffff' WHERE document_id = 'public.documents/8';
    DELETE FROM chunks_ledger WHERE document_id = 'public.documents/9';
"""
FOUND = {"missing": 1, "stale": 7, "ghost": 2, "foreign": 0}


@contextmanager
def connector(stack: Stack, workshop: Workshop) -> Iterator[None]:
    name = workshop.prefix
    register_postgres(stack.connect.url, name, workshop.dsn, name, ["public.documents"], partitions=2)
    try:
        yield
    finally:
        remove_postgres(stack.connect.url, name, workshop.dsn)


@contextmanager
def writing(dsn: str) -> Iterator[None]:
    """Rows that change all the while, two hundred times a second."""
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            number = 0
            while not stop.wait(0.005):
                number += 1
                body, row = f"body {number}", 20 + number % 200
                connection.execute("UPDATE documents SET body = %s WHERE id = %s", (body, row))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def sql(workshop: Workshop, query: str) -> None:
    with psycopg.connect(workshop.dsn, autocommit=True) as connection:
        connection.execute(query.encode())


def verify(workshop: Workshop, pipeline: Path, *options: str, ok: bool = True) -> dict[str, Any]:
    print(workshop.freshet("verify", pipeline, "--json", "found.json", "--sample", "1000", *options, ok=ok))
    found: dict[str, Any] = json.loads((workshop.folder / "found.json").read_text())
    return found


def stored(workshop: Workshop, query: str) -> int:
    try:
        return len(workshop.rows(query))
    except psycopg.errors.UndefinedTable:
        return 0


@pytest.mark.timeout(1200)
def test_damage_is_mended_through_the_topic_and_later_changes_arrive(stack: Stack, workshop: Workshop) -> None:
    sql(
        workshop,
        "CREATE TABLE documents (id bigint PRIMARY KEY, title text, body text, updated_at timestamptz);"
        "INSERT INTO documents SELECT n, 't' || n, 'body ' || n, now() FROM generate_series(1, 300) AS n",
    )
    pipeline = workshop.pipeline(
        bounded=False,
        flink={"execution.checkpointing.interval": "500 ms", "execution.checkpointing.min-pause": "100 ms"},
        store={"pgvector": {"dsn": workshop.dsn, "table": "chunks"}},
        reselect={"postgres": {"dsn": workshop.dsn}},
    )
    with connector(stack, workshop), workshop.running(pipeline):
        eventually(lambda: stored(workshop, "SELECT document_id FROM chunks") >= 300, "the snapshot")
        # the sweep behind it takes what no ledger tells of, as the damage does
        swept = "SELECT 1 FROM chunks_ledger WHERE document_id = 'public.documents'"
        eventually(lambda: stored(workshop, swept) == 1, "the end of the snapshot")
        with writing(workshop.dsn):
            found = verify(workshop, pipeline)
        assert found["equal"], found
        assert found["lag"] == ""
        sql(workshop, DAMAGE)
        found = verify(workshop, pipeline, ok=False)
        assert {kind: found["tables"][0][kind] for kind in FOUND} == FOUND, found
        assert verify(workshop, pipeline, "--repair")["equal"]
        # Nothing was committed since the repair: were it later than the stream, it would make this change late.
        sql(
            workshop,
            "UPDATE documents SET body = 'later' WHERE id < 10; INSERT INTO documents VALUES (900, 'new', 'later')",
        )
        later = "SELECT 1 FROM chunks WHERE text LIKE '%later'"
        eventually(lambda: stored(workshop, later) == 10, "the changes after the repair")
        sql(workshop, "DELETE FROM documents WHERE id = 900")
        eventually(lambda: stored(workshop, later) == 9, "the deletion")
        sql(workshop, DAMAGE)
        with writing(workshop.dsn):
            assert verify(workshop, pipeline, "--repair")["equal"]
