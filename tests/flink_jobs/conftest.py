"""A pipeline of its own for each test: topics, a database and a folder, on the shared real servers."""

from __future__ import annotations

import gzip
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import yaml
from confluent_kafka import Consumer, TopicPartition

from connectors.kafka.producer import ensure_topics
from stack.local import Stack
from tests import resident
from tests.databases import new_database
from tests.replay import WORKLOAD, StoredChunk
from tests.resident import kill
from tests.topics import delivering

FRESHET = [sys.executable, "-m", "cli"]
PATIENCE_S = 240.0
_LOOK_S = 0.1
_LONGEST_PAUSE_S = 2.0

Job = resident.Command | subprocess.Popen[str]


@dataclass(frozen=True)
class Workshop:
    """What a test needs to run one pipeline as a user would, and to look at what it did."""

    folder: Path
    bootstrap_servers: str
    dsn: str
    prefix: str

    @property
    def topic(self) -> str:
        return f"{self.prefix}.public.documents"

    @property
    def dead_letters(self) -> str:
        return f"{self.prefix}.dead-letters"

    def pipeline(self, bounded: bool = True, **changes: object) -> Path:
        source = {
            "topic-pattern": rf"{self.prefix}\.public\..*",
            "properties.bootstrap.servers": self.bootstrap_servers,
            "scan.startup.mode": "earliest-offset",
            **({"scan.bounded.mode": "latest-offset"} if bounded else {}),
        }
        pipeline = {
            "name": "documents",
            "source": {"kafka": source},
            "format": "debezium",
            "documents": {
                "public.documents": {
                    "text": "{title}\n\n{body}",
                    "metadata": ["updated_at"],
                    "chunk": {"tokens": 256, "overlap": 32},
                }
            },
            "embedding": {"model": "hash"},
            "store": {"pgvector": {"dsn": self.dsn, "table": "documents"}},
            "dead_letters": {"kafka": {"topic": self.dead_letters}},
            **changes,
        }
        path = self.folder / "pipeline.yaml"
        path.write_text(yaml.safe_dump(pipeline), encoding="utf-8")
        return path

    def freshet(self, *arguments: str | Path, ok: bool = True, alone: bool = False) -> str:
        """Run a command to its end; what it printed. `alone`: in a process of its own, as one that fails is."""
        typed = [str(each) for each in arguments]
        if ok and not alone:
            kind: resident.Kind = "jobs" if typed[0] == "run" else "commands"
            output = self.folder / f"{kind}.log"
            code = resident.start(kind, typed, self.folder, output, resident.plain()).wait(480)
            printed = output.read_text(encoding="utf-8")
        else:
            ran = subprocess.run(
                [*FRESHET, *typed], cwd=self.folder, capture_output=True, text=True, timeout=480, env=resident.plain()
            )
            code, printed = ran.returncode, ran.stdout + ran.stderr
        assert (code == 0) is ok, printed
        return printed

    @contextmanager
    def running(self, pipeline: Path, alone: bool = False) -> Iterator[Job]:
        """The job in the background; `alone`: in a process of its own, which is killed in the end."""
        log = self.folder / "run.log"
        if not alone:
            job = resident.start("jobs", ["run", str(pipeline)], self.folder, log, resident.plain())
            try:
                yield job
            finally:
                resident.finish(job)
            return
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(
                [*FRESHET, "run", str(pipeline)], cwd=self.folder, stdout=output, stderr=output, text=True,
                env=resident.plain(), start_new_session=True,
            )  # fmt: skip
            try:
                yield process
            finally:
                kill(process)

    def printed(self) -> str:
        return (self.folder / "run.log").read_text(encoding="utf-8")

    def replay(self) -> None:
        """The recorded workload, into this workshop's own topics."""
        recording = self.folder / "workload.jsonl.gz"
        if not recording.exists():
            raw = gzip.decompress(WORKLOAD.read_bytes())
            raw = raw.replace(b'{"topic": "w.', b'{"topic": "' + self.prefix.encode() + b".")
            recording.write_bytes(gzip.compress(raw, 1))
        self.freshet("produce", "--bootstrap-servers", self.bootstrap_servers, "--recording", recording)

    def send(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: dict[str, bytes] | None = None,
        partition: int = -1,
    ) -> None:
        pairs = list((headers or {}).items())
        with delivering(self.bootstrap_servers) as producer:
            producer.produce(self.topic, value=value, key=key, headers=pairs, partition=partition)

    def partitioned(self, partitions: int) -> None:
        """Make the topic with so many partitions."""
        ensure_topics(self.bootstrap_servers, {self.topic: partitions})

    def rows(self, query: str = "SELECT document_id, ordinal, text FROM documents") -> list[StoredChunk]:
        with suppress(psycopg.OperationalError):  # its server was stopped since
            return _connected(self.dsn).execute(query.encode()).fetchall()
        return _connected(self.dsn).execute(query.encode()).fetchall()

    def prepared(self) -> bool:
        """Whether the store's tables are there."""
        return bool(self.rows("SELECT to_regclass('documents_ledger') IS NOT NULL")[0][0])

    def has_letters(self) -> bool:
        consumer = Consumer({"bootstrap.servers": self.bootstrap_servers, "group.id": uuid4().hex})
        try:
            there = self.dead_letters in consumer.list_topics(timeout=10).topics
        finally:
            consumer.close()
        return there and bool(self.letters())

    def letters(self) -> list[tuple[bytes | None, bytes | None, dict[str, bytes]]]:
        """Key, value and headers of each dead letter so far."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap_servers, "group.id": uuid4().hex})
        try:
            found = []
            for partition in consumer.list_topics(self.dead_letters, timeout=10).topics[self.dead_letters].partitions:
                begin, end = consumer.get_watermark_offsets(TopicPartition(self.dead_letters, partition))
                if begin == end:
                    continue
                consumer.assign([TopicPartition(self.dead_letters, partition, 0)])
                while consumer.position([TopicPartition(self.dead_letters, partition)])[0].offset < end:
                    message = consumer.poll(10)
                    assert message is not None
                    found.append((message.key(), message.value(), dict(message.headers() or ())))
            return found
        finally:
            consumer.close()


_connections: dict[str, psycopg.Connection[Any]] = {}


def _connected(dsn: str) -> psycopg.Connection[Any]:
    """One that is kept, as a login takes 10 ms of a core and tests look ten times a second; that of one database."""
    for other in [each for each, found in _connections.items() if each != dsn or found.closed]:
        _connections.pop(other).close()
    if dsn not in _connections:
        _connections[dsn] = psycopg.connect(dsn, autocommit=True, prepare_threshold=None)
    return _connections[dsn]


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until it holds. The job is on the same cores: of a look that takes long there are fewer."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        begun = time.process_time()
        if condition():
            return
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:.0f} s for {what}"
        time.sleep(min(max(_LOOK_S, 4 * (time.process_time() - begun)), _LONGEST_PAUSE_S))


def workshop_in(stack: Stack, folder: Path) -> Workshop:
    """A workshop with topics and a database of its own."""
    name = f"t{uuid4().hex[:8]}"
    dsn = new_database(stack.postgres.dsn, name)
    return Workshop(folder, stack.kafka.bootstrap_servers, dsn, name)


@pytest.fixture
def workshop(stack: Stack, tmp_path: Path) -> Workshop:
    return workshop_in(stack, tmp_path)
