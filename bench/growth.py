"""A table that is filled and truncated beside one that lives, for as long as you like: what grows, and what doesn't.

`python -m bench.growth [SECONDS]`, on servers of its own in a folder that is forgotten. Each 20 s `staging` is emptied
by TRUNCATE and filled with 1,500 rows; meanwhile `documents`, of some 500 rows, has 30 changes a second: rows are
inserted, updated, deleted, and moved to other keys. Debezium tells of both. Each minute a line says what the job's JVM
and its Python workers have in memory, and how large its last checkpoint and its logs are, in MiB. In the end `freshet
verify` compares.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from random import Random

import psutil
import psycopg
import yaml
from rich.console import Console

from bench.rig import Rig, own_rig, running
from connectors.kafka.producer import ensure_topics
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
    FROM generate_series(1, 1500) n"""
_KEYS = 1_000
_A_SECOND = 30
_FILLED_EVERY_S = 20.0
_SHOWN_EVERY_S = 60.0
_MIB = 2**20


class Writer(threading.Thread):
    """Changes to both tables, until it is stopped."""

    def __init__(self, dsn: str) -> None:
        super().__init__(daemon=True)
        self._dsn = dsn
        self.stopped = threading.Event()
        self.changes = 0

    def run(self) -> None:
        """Write."""
        choices, filled, first = Random(5), 0.0, 0
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self.stopped.wait(1 / _A_SECOND):
                if time.monotonic() > filled + _FILLED_EVERY_S:
                    filled, first = time.monotonic(), first + 1_500
                    connection.execute("TRUNCATE staging")
                    self.changes += connection.execute(_FILL.encode(), {"first": first}).rowcount
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


def measure(rig: Rig, seconds: float) -> int:
    """Prints a line a minute; the exit code of `freshet verify`."""
    with psycopg.connect(rig.dsn, autocommit=True) as connection:
        for statement in _MADE:
            connection.execute(statement.encode())
    name, url = f"{rig.prefix}-growth", rig.stack.connect.url
    pipeline = _pipeline(rig)
    ensure_topics(rig.stack.kafka.bootstrap_servers, dict.fromkeys(_topics(rig), 2))
    register_postgres(url, name, rig.dsn, name, [_DOCUMENTS, _STAGING], partitions=2)
    writer = Writer(rig.dsn)
    try:
        with running(pipeline):
            writer.start()
            began = shown = time.monotonic()
            print("    s  changes    JVM  workers  checkpoint   logs  chunks", flush=True)
            while time.monotonic() < began + seconds:
                time.sleep(1)
                if time.monotonic() > shown + _SHOWN_EVERY_S:
                    shown = time.monotonic()
                    _tell(rig, home(pipeline), shown - began, writer.changes)
            writer.stopped.set()
            writer.join()
            _tell(rig, home(pipeline), time.monotonic() - began, writer.changes)
            return verify(pipeline, Options(wait_s=600.0), Console(width=200))
    finally:
        remove_postgres(url, name, rig.dsn)


def _tell(rig: Rig, folder: Path, after_s: float, changes: int) -> None:
    below = psutil.Process().children(recursive=True)
    commands = [(each, " ".join(each.cmdline())) for each in below]
    # not Kafka's and Connect's, which are below this process too
    java = sum(each.memory_info().rss for each, command in commands if "PythonGatewayServer" in command)
    workers = sum(each.memory_info().rss for each, command in commands if "fn_execution" in command)
    checkpoints = sorted(folder.glob("checkpoints/*/chk-*"), key=lambda each: int(each.name.rpartition("-")[2]))
    checkpoint = max(map(_size, checkpoints[-2:]), default=0)
    with psycopg.connect(rig.dsn) as connection:
        ((chunks,),) = connection.execute("SELECT count(*) FROM grown").fetchall()
    jvm, python, state, logs = (each / _MIB for each in (java, workers, checkpoint, _size(folder / "log")))
    print(f"{after_s:5.0f} {changes:8,} {jvm:6.0f} {python:8.0f} {state:11.1f} {logs:6.2f} {chunks:7,}", flush=True)


def _size(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


def main(seconds: float = 3600.0) -> None:
    """Starts the servers and measures in a folder of its own, which is forgotten."""
    with own_rig() as bench:
        code = measure(bench, seconds)
    sys.exit(code)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
