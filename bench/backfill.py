"""A table whose topic holds nothing any more, loaded while it is written to and the loader is killed twice.

`python -m bench.backfill [ROWS]`, on servers of its own in a folder that is forgotten. Debezium's connector snapshots
the table, and the snapshot's events are deleted from the topic, as retention does. Then the job starts on an empty
store, a writer inserts, updates, deletes and moves rows, and `freshet backfill` runs, killed (SIGKILL) after a third
and after two thirds of the rows. When all is in the store the writer stops, and `freshet verify` waits for the job and
compares. Nothing but the backfill is killed. The store's vectors have no HNSW index, as who loads a table makes it
behind that: entering a vector into one of 200,000 took PostgreSQL 2.9 ms.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import psutil
import psycopg
import yaml
from confluent_kafka import TopicPartition
from psycopg import sql
from rich.console import Console

from bench.rig import Rig, ledger, own_rig, running
from connectors.kafka import clients as kafka_clients
from connectors.kafka.source import check
from connectors.kafka.topics import ends, reading
from core.config.file import load
from core.config.pipeline import Pipeline
from core.config.source import Kafka
from core.errors import FreshetError
from operations.verify.whole import Options
from stack.connect import register_postgres, remove_postgres
from terminal.verification import verify

_TABLE = "public.articles"
_FILE = Path("pipeline.yaml")
_FRESHET = [sys.executable, "-m", "cli"]
_MADE = """
    CREATE TABLE articles (id bigint PRIMARY KEY, title text, body text, price numeric(8,2), updated_at timestamptz);
    ALTER TABLE articles ALTER body SET STORAGE EXTERNAL;
    INSERT INTO articles SELECT n, 'title ' || n, 'The body of article ' || n || ' is ' || md5(n::text) || '.',
        n / 100.0, now() FROM generate_series(1, %s::int) n;
    ANALYZE articles;
"""
_WRITES = (
    "UPDATE articles SET title = 'title at ' || clock_timestamp(), updated_at = now() WHERE id = %(row)s",
    "UPDATE articles SET body = repeat('Another body at ' || clock_timestamp() || '. ', 20) WHERE id = %(row)s",
    "DELETE FROM articles WHERE id = %(row)s",
    "INSERT INTO articles VALUES (%(row)s, 'new', 'again at ' || clock_timestamp(), 1, now()) ON CONFLICT DO NOTHING",
    "INSERT INTO articles VALUES (%(new)s, 'new', 'made at ' || clock_timestamp(), 1, now()) ON CONFLICT DO NOTHING",
    "UPDATE articles SET id = %(new)s WHERE id = %(row)s AND NOT EXISTS (SELECT FROM articles WHERE id = %(new)s)",
)
_A_SECOND = 200
_LONG_S = 3 * 3600.0
_STANDS_STILL_S = 180


class Writer(threading.Thread):
    """Rows that are changed, 200 times a second where the database keeps up, until it is stopped."""

    def __init__(self, dsn: str, rows: int) -> None:
        super().__init__(daemon=True)
        self._dsn, self._rows = dsn, rows
        self.stopped = threading.Event()
        self.changes = 0

    def run(self) -> None:
        """Write."""
        choices = Random(7)
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self.stopped.wait(1 / _A_SECOND):
                row = {"row": choices.randint(1, self._rows), "new": self._rows + choices.randint(1, self._rows)}
                self.changes += connection.execute(choices.choice(_WRITES).encode(), row).rowcount


def _pipeline(rig: Rig) -> Pipeline:
    servers = rig.stack.kafka.bootstrap_servers
    kafka = {"topic": rig.topic("backfill"), "properties.bootstrap.servers": servers}
    file = {
        "name": f"{rig.prefix}-backfill",
        "source": {"kafka": {**kafka, "scan.startup.mode": "earliest-offset"}},
        "format": "debezium",
        "documents": {_TABLE: {"text": "{title}\n\n{body}", "metadata": ["price", "updated_at"]}},
        "embedding": {"model": "hash"},
        "store": {"pgvector": {"dsn": rig.dsn, "table": "backfilled"}},
        "reselect": {"postgres": {"dsn": rig.dsn}},
        "dead_letters": {"kafka": {"topic": f"{rig.prefix}-backfill.dead-letters"}},
        "parallelism": 2,
    }
    _FILE.write_text(yaml.safe_dump(file), encoding="utf-8")
    return load(_FILE)


@contextmanager
def _connector(rig: Rig) -> Iterator[None]:
    name = f"{rig.prefix}-backfill"
    url = rig.stack.connect.url
    register_postgres(url, name, rig.dsn, name, [_TABLE], partitions=4)
    try:
        yield
    finally:
        remove_postgres(url, name, rig.dsn)


def _expire(rig: Rig, pipeline: Pipeline, rows: int) -> None:
    """Wait for the snapshot's events, and delete them."""
    admin = kafka_clients.admin({"bootstrap.servers": rig.stack.kafka.bootstrap_servers})
    topic = rig.topic("backfill")
    while not check(pipeline.kafka) or _held(rig, topic) < rows:
        time.sleep(1)
    partitions = admin.list_topics(timeout=10).topics[topic].partitions
    for deleted in admin.delete_records([TopicPartition(topic, each, -1) for each in partitions]).values():
        deleted.result()
    if _held(rig, topic):
        raise FreshetError(f"topic {topic} still holds events")


def _held(rig: Rig, topic: str) -> int:
    kafka = Kafka.model_validate({"topic": topic, "properties.bootstrap.servers": rig.stack.kafka.bootstrap_servers})
    with reading(kafka) as consumer:
        return sum(end - first for first, end in ends(consumer, kafka, topic).values())


def _backfill(pipeline: Pipeline, kill_at: int | None) -> tuple[int, float, int]:
    """Run it, and kill it at so many rows: the rows written by then, its seconds, and the most MiB it had."""
    notes = Path(".freshet") / "pipelines" / pipeline.name / "backfill.json"
    began, written, most = time.monotonic(), 0, 0
    process = subprocess.Popen([*_FRESHET, "backfill", str(_FILE)], env={**os.environ, "COLUMNS": "200"})
    seen = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            most = max(most, seen.memory_info().rss)
            written = json.loads(notes.read_bytes()).get(_TABLE, {}).get("rows", written)
        except (psutil.Error, FileNotFoundError):
            pass
        if kill_at is not None and written >= kill_at:
            process.kill()
        time.sleep(0.05)
    if process.returncode != (0 if kill_at is None else -9):
        raise FreshetError(f"the backfill ended with {process.returncode}")
    return written, time.monotonic() - began, most // 2**20


def measure(rig: Rig, rows: int) -> int:
    """Prints what each part took; the exit code of `freshet verify`."""
    pipeline = _pipeline(rig)
    with psycopg.connect(rig.dsn, autocommit=True) as connection:
        for statement in _MADE.split(";"):
            connection.execute(statement.replace("%s", str(rows)).encode())
    began = time.monotonic()
    with _connector(rig):
        _expire(rig, pipeline, rows)
        print(f"{rows:,} rows snapshot by Debezium and deleted from the topic in {time.monotonic() - began:,.0f} s")
        writer = Writer(rig.dsn, rows)
        with running(pipeline):
            _without_index(rig)
            writer.start()
            started = time.monotonic()
            before = 0
            for kill_at in (rows // 3, rows * 2 // 3, None):
                written, seconds, most = _backfill(pipeline, kill_at)
                written = written if kill_at is not None else rows
                how = "ended" if kill_at is None else f"killed at {written:,}"
                rate = (written - before) / seconds
                print(f"backfill {how} after {seconds:.1f} s, {rate:,.0f} rows/s; at most {most} MiB")
                before = written
            print(f"written to the topic after {time.monotonic() - started:,.0f} s in all")
            _caught_up(rig, pipeline)
            taken = time.monotonic() - started
            print(f"in the store after {taken:,.0f} s, {rows / taken:,.0f} rows/s")
            writer.stopped.set()
            writer.join()
            print(f"{writer.changes:,} rows changed meanwhile")
            began = time.monotonic()
            code = verify(pipeline, Options(wait_s=_LONG_S, json_file=Path("found.json")), Console(width=200))
            print(f"verified in {time.monotonic() - began:,.0f} s: {_FILE.with_name('found.json').read_text()[:300]}")
    return code


def _without_index(rig: Rig) -> None:
    found = "SELECT indexrelid::regclass::text FROM pg_index WHERE pg_get_indexdef(indexrelid) LIKE '%USING hnsw%'"
    with psycopg.connect(rig.dsn, autocommit=True) as connection:
        for (name,) in connection.execute(found).fetchall():
            connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))


def _caught_up(rig: Rig, pipeline: Pipeline) -> None:
    """Wait until the store has heard of as many rows as there are; those that were deleted since stay in its ledger."""
    there, looked = 0, time.monotonic()
    with psycopg.connect(rig.dsn, autocommit=True) as connection:
        query = sql.SQL("SELECT (SELECT count(*) FROM {}), (SELECT count(*) FROM articles)").format(ledger(pipeline))
        while True:
            ((now, rows),) = connection.execute(query).fetchall()
            if now >= rows:
                return
            if now > there:
                there, looked = now, time.monotonic()
            if time.monotonic() > looked + _STANDS_STILL_S:
                raise FreshetError(f"the store stands still at {there:,} of {rows:,} documents")
            time.sleep(5)


def main(rows: int = 1_000_000) -> None:
    """Starts the servers and measures in a folder of its own, which is forgotten."""
    with own_rig() as bench:
        code = measure(bench, rows)
    sys.exit(code)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
