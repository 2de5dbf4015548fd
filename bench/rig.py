"""What every measurement on servers stands on: a database and topics of its own, and the real job in them."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from connectors.kafka import clients as kafka_clients
from core.config.pipeline import Pipeline
from core.config.store import Pgvector
from core.errors import FreshetError
from flink_jobs.running.jobs import Job
from operations import temporary
from operations.job_file import home
from operations.reporting import unheard
from operations.resuming import Beginning
from operations.run import prepare, start
from stack import local as local_stack
from stack.layout import free_ports
from stack.local import Stack

TABLE = "public.articles"
"""The table whose rows are embedded, unless a measurement names others."""

CHUNK = {"tokens": 256, "overlap": 32}
_PATIENCE_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Rig:
    """A bench's own database (`dsn`) and the prefix of its topics, on a running stack."""

    stack: Stack
    dsn: str
    prefix: str

    def topic(self, what: str, table: str = TABLE) -> str:
        """Its topic for a table's changes in the measurement `what`, named as Debezium names topics."""
        return f"{self.prefix}-{what}.{table}"

    def pipeline(
        self,
        what: str,
        model: str,
        topic: str,
        tables: tuple[str, ...] = (TABLE,),
        parallelism: int = 1,
        **flink: str,
    ) -> Pipeline:
        """A pipeline from this topic to the store's table `what`. Tables have the columns title and body."""
        return Pipeline.model_validate(
            {
                "name": f"{self.prefix}-{what}",
                "source": {
                    "kafka": {
                        "topic": topic,
                        "properties.bootstrap.servers": self.stack.kafka.bootstrap_servers,
                        "scan.startup.mode": "earliest-offset",
                    }
                },
                "format": "debezium",
                "documents": {
                    table: {"text": "{title}\n\n{body}", "metadata": ["updated_at"], "chunk": CHUNK} for table in tables
                },
                "embedding": {"model": model},
                "store": {"pgvector": {"dsn": self.dsn, "table": what}},
                "dead_letters": {"kafka": {"topic": f"{self.prefix}-{what}.dead-letters"}},
                "parallelism": parallelism,
                "flink": {"metrics.fetcher.update-interval": "1000", **flink},
            }
        )


@contextmanager
def rig(stack: Stack) -> Iterator[Rig]:
    """A rig on the stack; its database and topics are dropped at the end."""
    prefix = f"bench{uuid4().hex[:8]}"
    database = sql.Identifier(prefix)
    _execute(stack.postgres.dsn, sql.SQL("CREATE DATABASE {}").format(database))
    try:
        yield Rig(stack, make_conninfo(stack.postgres.dsn, dbname=prefix), prefix)
    finally:
        _execute(stack.postgres.dsn, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
        admin = kafka_clients.admin({"bootstrap.servers": stack.kafka.bootstrap_servers})
        ours = [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(prefix)]
        for deleted in (admin.delete_topics(ours) if ours else {}).values():
            deleted.result()


@contextmanager
def own_rig(extra: Collection[local_stack.Extra] = ()) -> Iterator[Rig]:
    """A rig on servers of its own, in a folder that is the current one meanwhile and is forgotten."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        started = local_stack.up(Path(), ports=free_ports(), extra=extra)
        try:
            with rig(started) as own:
                yield own
        finally:
            local_stack.down(Path(), wipe=True)


def _execute(dsn: str, statement: sql.Composed) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement)


@contextmanager
def running(pipeline: Pipeline) -> Iterator[Job]:
    """The job as `freshet run` starts it, without earlier state; cancelled at the end, its state deleted."""
    prepare(pipeline, unheard)
    job = start(pipeline, unheard, Beginning(without_state=True))
    try:
        yield job
    finally:
        if not job.ended():
            job.client.cancel().result()
            while not job.ended():
                time.sleep(0.05)
        _forget(home(pipeline))


def _forget(folder: Path) -> None:
    """Delete a pipeline's folder: what the JVM keeps there as this process ends, as the next pipeline's job has it."""
    atexit.register(shutil.rmtree, folder.absolute(), ignore_errors=True)
    for each in folder.iterdir():
        if each == temporary.place_in(folder):
            continue
        if each.is_dir():
            shutil.rmtree(each, ignore_errors=True)
        else:
            each.unlink()


def until(condition: Callable[[], bool], job: Job, what: str, every: float = 0.02) -> None:
    """Wait until the condition holds, asked every `every` seconds.

    Raises FreshetError, with what the job says of itself, where that takes over 180 s or the job ends.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    looked = time.monotonic()
    while not condition():
        now = time.monotonic()
        if now > looked + 5:
            looked = now
            progress = job.progress()
            if job.ended() or progress.failure or now > deadline:
                raise FreshetError(f"bench: {what} didn't come; the job is {progress.state}: {progress.failure}")
        time.sleep(every)


def pgvector(pipeline: Pipeline) -> Pgvector:
    """The one store that a rig's pipelines have."""
    return pipeline.store.of(Pgvector)


def ledger(pipeline: Pipeline) -> sql.Identifier:
    """The ledger of the pipeline's store."""
    return sql.Identifier(f"{pgvector(pipeline).table}_ledger")


def positions(connection: psycopg.Connection[Any], pipeline: Pipeline, documents: list[str]) -> Mapping[str, str]:
    """The last position that the store has applied to each of these documents."""
    query = sql.SQL("SELECT document_id, position FROM {} WHERE document_id = ANY(%s)").format(ledger(pipeline))
    return dict(connection.execute(query, (documents,)).fetchall())


@contextmanager
def notified(dsn: str, channel: str, trigger: sql.Composed, note: Callable[[str, float], object]) -> Iterator[None]:
    """Make a trigger that notifies a channel, and note what it says with when it came, by `time.perf_counter`."""
    over = threading.Event()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(trigger)
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))

        def listen() -> None:
            while not over.is_set():
                for notice in connection.notifies(timeout=0.2):
                    note(notice.payload, time.perf_counter())

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
