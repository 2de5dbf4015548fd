"""A table that is filled and truncated beside one that lives, for as long as you like: what grows, and what doesn't.

`python -m bench.growth [SECONDS] [STAGED] [A_SECOND]`, on servers of its own in a folder that is forgotten. Each 20 s
`staging` is emptied by TRUNCATE and filled with STAGED rows, 1,500 where not said; meanwhile `documents`, of some 500
rows, has A_SECOND changes a second, 30 where not said: rows are inserted, updated, deleted, and moved to other keys.
Debezium tells of both. Each minute a line says what the job's JVM and its Python workers have in memory and how many
files they have open, how large the last checkpoint, the logs, the store's tables with their indexes and, of these, the
index of words are, in MiB, how many rows the tables have, how many dead letters there are, and the machine's load. In
the end `freshet verify` compares. Fills and updates write ever new words, and a GIN index keeps each word that it ever
had: it grows for as long as this runs.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil
import psycopg
import yaml
from psycopg import sql
from rich.console import Console

from bench.rig import Rig, ledger, own_rig, pgvector, running
from connectors.kafka.producer import ensure_topics
from connectors.kafka.topics import ends, reading
from connectors.opening.dead_letters import place_of_letters
from core.config.file import load
from core.config.pipeline import Pipeline
from operations.job_file import home
from operations.verify.whole import Options
from stack.connect import register_postgres, remove_postgres
from terminal.verification import verify

_DOCUMENTS, _STAGING = "public.documents", "public.staging"
_FILE = Path("pipeline.yaml")
_MADE = (
    "CREATE TABLE documents (id int PRIMARY KEY, title text, body text)",
    "CREATE TABLE staging (id int PRIMARY KEY, title text, body text)",
    "ALTER TABLE documents ALTER body SET STORAGE EXTERNAL",
    "INSERT INTO documents SELECT n, 'title ' || n, repeat('word ' || n || ' ', 300) FROM generate_series(1, 500) n",
)
_WRITES = (
    "UPDATE documents SET title = 'title at ' || clock_timestamp() WHERE id = %(row)s",
    "UPDATE documents SET body = repeat('word at ' || clock_timestamp() || ' ', 60) WHERE id = %(row)s",
    "DELETE FROM documents WHERE id = %(row)s",
    "INSERT INTO documents VALUES (%(row)s, 'new', 'again at ' || clock_timestamp()) ON CONFLICT DO NOTHING",
    """UPDATE documents SET id = %(other)s
       WHERE id = %(row)s AND NOT EXISTS (SELECT FROM documents WHERE id = %(other)s)""",
)
_FILL = """
    INSERT INTO staging SELECT %(first)s + n, 'staged ' || n, repeat((%(first)s + n) || ' ', 250)
    FROM generate_series(1, %(staged)s) n"""
_KEYS = 1_000
_FILLED_EVERY_S = 20.0
_SHOWN_EVERY_S = 60.0
_MIB = 2**20


class Writer(threading.Thread):
    """Changes to both tables, until it is stopped."""

    def __init__(self, dsn: str, staged: int, a_second: float) -> None:
        super().__init__(daemon=True)
        self._dsn, self._staged, self._a_second = dsn, staged, a_second
        self.stopped = threading.Event()
        self.changes = 0

    def run(self) -> None:
        """Write."""
        choices, filled, first = Random(5), 0.0, 0
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self.stopped.wait(1 / self._a_second):
                if time.monotonic() > filled + _FILLED_EVERY_S:
                    filled, first = time.monotonic(), first + self._staged
                    connection.execute("TRUNCATE staging")
                    fill = {"first": first, "staged": self._staged}
                    self.changes += connection.execute(_FILL.encode(), fill).rowcount
                row = {"row": choices.randint(1, _KEYS), "other": choices.randint(1, _KEYS)}
                self.changes += connection.execute(choices.choice(_WRITES).encode(), row).rowcount


def _pipeline(rig: Rig) -> Pipeline:
    topics = ";".join(_topics(rig))
    kafka = {"topic": topics, "properties.bootstrap.servers": rig.stack.kafka.bootstrap_servers}
    file = {
        "name": f"{rig.prefix}-growth",
        "source": {"kafka": {**kafka, "scan.startup.mode": "earliest-offset"}},
        "format": "debezium",
        "documents": {table: {"text": "{title}\n\n{body}"} for table in (_DOCUMENTS, _STAGING)},
        "embedding": {"model": "hash"},
        "store": {"pgvector": {"dsn": rig.dsn, "table": "grown"}},
        "reselect": {"postgres": {"dsn": rig.dsn}},
        "dead_letters": {"kafka": {"topic": f"{rig.prefix}-growth.dead-letters"}},
        "flink": {"execution.checkpointing.interval": "10 s"},
    }
    _FILE.write_text(yaml.safe_dump(file), encoding="utf-8")
    return load(_FILE)


def _topics(rig: Rig) -> list[str]:
    return [rig.topic("growth", table) for table in (_DOCUMENTS, _STAGING)]


_HEAD = "    s  changes    JVM  workers  files  checkpoint   logs   store  words  chunks  ledger  letters  load"


def measure(rig: Rig, seconds: float, staged: int, a_second: float) -> int:
    """Prints a line a minute; the exit code of `freshet verify`."""
    with psycopg.connect(rig.dsn, autocommit=True) as connection:
        for statement in _MADE:
            connection.execute(statement.encode())
    name, url = f"{rig.prefix}-growth", rig.stack.connect.url
    pipeline = _pipeline(rig)
    ensure_topics(rig.stack.kafka.bootstrap_servers, dict.fromkeys(_topics(rig), 2))
    register_postgres(url, name, rig.dsn, name, [_DOCUMENTS, _STAGING], partitions=2)
    writer = Writer(rig.dsn, staged, a_second)
    try:
        with running(pipeline):
            writer.start()
            began = shown = time.monotonic()
            print(_HEAD, flush=True)
            while time.monotonic() < began + seconds:
                time.sleep(1)
                if time.monotonic() > shown + _SHOWN_EVERY_S:
                    shown = time.monotonic()
                    _tell(pipeline, shown - began, writer.changes)
            writer.stopped.set()
            writer.join()
            _tell(pipeline, time.monotonic() - began, writer.changes)
            return verify(pipeline, Options(wait_s=600.0), Console(width=200))
    finally:
        remove_postgres(url, name, rig.dsn)


def _tell(pipeline: Pipeline, after_s: float, changes: int) -> None:
    java, workers, files = _processes()
    folder = home(pipeline)
    checkpoints = sorted(folder.glob("checkpoints/*/chk-*"), key=lambda each: int(each.name.rpartition("-")[2]))
    checkpoint = max(map(_size, checkpoints[-2:]), default=0)
    store, words, chunks, documents = _stored(pipeline)
    jvm, python, state, logs, tables, index = (
        each / _MIB for each in (java, workers, checkpoint, _size(folder / "log"), store, words)
    )
    held = f"{jvm:6.0f} {python:8.0f} {files:6} {state:11.1f} {logs:6.2f} {tables:7.1f} {index:6.1f}"
    held += f" {chunks:7,} {documents:7,}"
    print(f"{after_s:5.0f} {changes:8,} {held} {_letters(pipeline):8,} {os.getloadavg()[0]:5.1f}", flush=True)


def _processes() -> tuple[int, int, int]:
    """The bytes that the job's JVM and its workers have in memory, and the files that they have open."""
    java = workers = files = 0
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # one that ends meanwhile
            command = " ".join(each.cmdline())
            # not Kafka's and Connect's, which are below this process too
            if "PythonGatewayServer" in command:
                java += each.memory_info().rss
                files += each.num_fds()
            elif "fn_execution" in command:
                workers += each.memory_info().rss
                files += each.num_fds()
    return java, workers, files


def _stored(pipeline: Pipeline) -> tuple[int, int, int, int]:
    """The bytes of the store's two tables with their indexes, those of the index of words, and the rows of its chunks
    and of its ledger.
    """
    chunks, documents = sql.Identifier(pgvector(pipeline).table), ledger(pipeline)
    count = sql.SQL("SELECT (SELECT count(*) FROM {}), (SELECT count(*) FROM {})").format(chunks, documents)
    size = """
        SELECT sum(pg_total_relation_size(name::regclass))::bigint, pg_relation_size(%s::regclass)
        FROM unnest(%s::text[]) name"""
    with psycopg.connect(pgvector(pipeline).dsn) as connection:
        ((rows, known),) = connection.execute(count).fetchall()
        words = sql.Identifier(f"{pgvector(pipeline).table}_words")
        names = [each.as_string(connection) for each in (chunks, documents)]
        ((taken, of_words),) = connection.execute(size, (words.as_string(connection), names)).fetchall()
    return taken, of_words, rows, known


def _letters(pipeline: Pipeline) -> int:
    """How many dead letters there are."""
    topic = place_of_letters(pipeline).name
    with reading(pipeline.letters) as consumer:
        return sum(end - first for first, end in ends(consumer, pipeline.letters, topic).values())


def _size(folder: Path) -> int:
    """The bytes of its files; those that go meanwhile count as none."""
    total = 0
    for each in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += each.stat().st_size if each.is_file() else 0
    return total


def main(seconds: float = 3600.0, staged: float = 1_500, a_second: float = 30.0) -> None:
    """Starts the servers and measures in a folder of its own, which is forgotten."""
    with own_rig() as bench:
        code = measure(bench, seconds, int(staged), a_second)
    sys.exit(code)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
