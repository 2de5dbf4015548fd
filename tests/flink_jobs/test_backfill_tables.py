"""A table whose topic has expired, read while it is written to and the reader is killed, ends in the store as it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import psycopg
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from stack.connect import register_postgres, remove_postgres
from stack.local import Stack
from tests.databases import new_database
from tests.debezium import events
from tests.flink_jobs.conftest import FRESHET, Workshop, eventually

ROWS = 3_000
TABLE = "public.documents"
# bodies that PostgreSQL stores apart: an update of the title leaves them out
MADE = """
    CREATE TABLE documents (id bigint PRIMARY KEY, title text, body text, updated_at timestamptz);
    ALTER TABLE documents ALTER body SET STORAGE EXTERNAL;
    INSERT INTO documents SELECT n, 't' || n, repeat('body ' || n || ' ', 400), now() FROM generate_series(1, 3000) n;
    ANALYZE documents;
"""


@contextmanager
def writing(dsn: str) -> Iterator[None]:
    """Rows are changed, made, deleted and moved to other keys all the while."""
    stop, choices = threading.Event(), Random(7)

    def write() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            number = 0
            while not stop.wait(0.004):
                number += 1
                row, other = choices.randint(1, ROWS), ROWS + choices.randint(1, 200)
                statement, parameters = choices.choice(
                    (
                        ("UPDATE documents SET title = %s WHERE id = %s", (f"title {number}", row)),
                        ("UPDATE documents SET body = %s WHERE id = %s", (f"body {number}", row)),
                        ("DELETE FROM documents WHERE id = %s", (row,)),
                        ("INSERT INTO documents VALUES (%s, 'new', %s) ON CONFLICT DO NOTHING", (row, f"b {number}")),
                        (
                            "UPDATE documents SET id = %s WHERE id = %s AND NOT EXISTS "
                            "(SELECT FROM documents WHERE id = %s)",
                            (other, row, other),
                        ),
                    )
                )
                connection.execute(statement.encode(), parameters)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def expire(workshop: Workshop) -> None:
    admin = AdminClient({"bootstrap.servers": workshop.bootstrap_servers})
    partitions = admin.list_topics(timeout=10).topics[workshop.topic].partitions
    for deleted in admin.delete_records([TopicPartition(workshop.topic, each, -1) for each in partitions]).values():
        deleted.result()


def killed_at(workshop: Workshop, pipeline: str, rows: int) -> None:
    """A backfill that is killed once so many rows are noted."""
    notes = workshop.folder / ".freshet" / "pipelines" / "documents" / "backfill.json"

    def noted() -> int:
        return int(json.loads(notes.read_bytes()).get(TABLE, {}).get("rows", 0)) if notes.exists() else 0

    backfill = subprocess.Popen(
        [*FRESHET, "backfill", pipeline, "--rate", "1000"], cwd=workshop.folder, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while noted() < rows and backfill.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(backfill.pid, signal.SIGKILL)
    assert backfill.wait() == -signal.SIGKILL
    assert rows <= noted() < ROWS


@pytest.mark.timeout(600)
def test_a_topic_that_has_expired_while_rows_change(stack: Stack, workshop: Workshop) -> None:
    name = workshop.prefix
    # the store's table has the source's name
    source = new_database(workshop.dsn, f"{name}_source")
    with psycopg.connect(source, autocommit=True) as connection:
        connection.execute(MADE.encode())
    pipeline = workshop.pipeline(
        bounded=False,
        flink={"execution.checkpointing.interval": "1 s"},
        reselect={"postgres": {"dsn": source}},
    )
    register_postgres(stack.connect.url, name, source, name, [TABLE], partitions=2)
    try:
        events(stack, workshop.topic, ROWS)
        expire(workshop)
        with workshop.running(pipeline):
            eventually(workshop.prepared, "the store's tables")
            with writing(source):
                killed_at(workshop, str(pipeline), 1_000)
                killed_at(workshop, str(pipeline), 2_000)
                printed = workshop.freshet("backfill", pipeline)
                assert f"rows of {TABLE} sent to topic {workshop.topic}" in printed
            # two thousand texts are on their way, which a busy machine embeds in minutes
            workshop.freshet("verify", pipeline, "--wait", "300", "--json", "found.json", "--sample", "100")
            found = json.loads((workshop.folder / "found.json").read_text())
            assert found["equal"], found
            assert found["tables"][0]["rows"] > ROWS / 2
            assert not workshop.has_letters()
    finally:
        remove_postgres(stack.connect.url, name, source)
