"""The real servers behind the stores, each with places that no other test uses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import httpx
import psycopg
from psycopg import sql
from pydantic import SecretStr

from connectors.kafka.staged.log import KafkaLog
from connectors.milvus import lite
from connectors.milvus.collections import LONGEST_TEXT
from connectors.milvus.store import MilvusStore
from connectors.opensearch.store import OpenSearchStore
from connectors.pgvector.store import PgvectorStore
from connectors.pinecone.store import PineconeStore
from connectors.staged.store import StagedStore
from core.config.pinecone import Pinecone
from core.config.staging import StagedTopic
from core.config.store import Milvus, OpenSearch
from core.stores.contract import VectorStore
from core.stores.fingerprint import Owner
from stack import jars, kafka, layout, opensearch, postgres, process
from stack.local import LOCK, OPENSEARCH_LOCK
from tests.connectors.pinecone_server import KEY, pinecone_service
from tests.databases import with_parameter


class Opener(Protocol):
    """Makes a store on one place: the same chunks for each that is made; nothing is connected or prepared yet."""

    def __call__(
        self,
        dimension: int = 4,
        patience_s: float = 5.0,
        remember_deletes_s: float = 7 * 86_400.0,
        owner: Owner | None = None,
    ) -> VectorStore: ...


@dataclass(frozen=True)
class Server:
    """A server that tests may stop and start; `address` is what messages must name, `dsn` how PostgreSQL is reached.

    longest_text  bytes of the longest text of a chunk that it takes, where it has a limit that tests reach
    one_writer    it has no conditional write: what two writers of one document at once come to isn't promised
    splits        its ledger is apart from its chunks, so that one may say what the other doesn't
    has_words     it finds chunks by words too
    """

    address: str
    place: Callable[[], Opener]
    stop: Callable[[], object]
    start: Callable[[], None]
    dsn: str = ""
    longest_text: int = 2**30
    one_writer: bool = False
    splits: bool = True
    has_words: bool = True


@contextmanager
def postgres_server(directory: Path) -> Iterator[Server]:
    """PostgreSQL alone, on a free port; a place is a new schema."""
    files, port = layout.layout_of(directory), layout.free_ports().postgres
    layout.prepare(files)

    def stop() -> bool:
        # where its data is decides how it is recognised, and is known once it was started
        return process.stop(postgres.service(files))

    start = partial(postgres.start, files, port, lambda line: None)
    try:
        start()
        dsn = postgres.dsn(files, port)
        yield Server(f"127.0.0.1:{port}", lambda: _opener(new_schema(dsn)), stop, start, dsn)
    finally:
        stop()
        postgres.wipe(files)


def new_schema(dsn: str) -> str:
    """A connection string that works in a schema made now, in the database of `dsn`: cheaper than a new database."""
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    return with_parameter(dsn, "options", f"-csearch_path={name},public")


def _opener(dsn: str) -> Opener:
    return lambda dimension=4, patience_s=5.0, remember_deletes_s=7 * 86_400.0, owner=None: PgvectorStore(
        dsn, "chunks", dimension, "m", patience_s, remember_deletes_s, owner
    )


@contextmanager
def opensearch_server(directory: Path) -> Iterator[Server]:
    """OpenSearch alone, on a free port; a place is a new index."""
    server = opensearch_at(directory)
    try:
        server.start()
        yield server
    finally:
        end_opensearch(directory)


def opensearch_at(directory: Path) -> Server:
    """OpenSearch of a folder, on the port that it has or a free one: the same for every process that asks."""
    files = layout.layout_of(directory)
    layout.prepare(files)
    with layout.locked(files):
        ports = layout.remembered_ports(files) or layout.free_ports()
        layout.remember_ports(files, ports)
    return Server(
        address=f"127.0.0.1:{ports.opensearch}",
        place=lambda: _index_opener(opensearch.url(ports.opensearch)),
        stop=lambda: process.stop(opensearch.service(files)),
        start=lambda: _start_opensearch(files, ports.opensearch),
    )


def _start_opensearch(files: layout.Layout, port: int) -> None:
    with layout.locked(files):
        opensearch.start(files, port, jars.fetch(OPENSEARCH_LOCK), lambda line: None)
        # as it is where nobody has set it: what is written to an index that is gone makes it
        setting = {"persistent": {"action.auto_create_index": "true"}}
        httpx.put(f"{opensearch.url(port)}/_cluster/settings", json=setting).raise_for_status()


def end_opensearch(directory: Path) -> None:
    """Stop the folder's OpenSearch and delete its data.

    The folder is closed to the user that it runs as where that isn't this one: its data lies elsewhere, and goes too.
    """
    files = layout.layout_of(directory)
    process.stop(opensearch.service(files))
    data = files.of("opensearch")
    closed, place = directory.stat().st_mode & 0o077 == 0, data.resolve()
    assert data.is_symlink() == (os.geteuid() == 0 and closed)
    opensearch.wipe(files)
    assert not data.exists() and not place.exists()


def _index_opener(url: str) -> Opener:
    target = OpenSearch(hosts=(url,), index=f"test-{uuid4().hex[:12]}")
    return lambda dimension=4, patience_s=5.0, remember_deletes_s=7 * 86_400.0, owner=None: OpenSearchStore(
        target, dimension, "m", patience_s, remember_deletes_s, owner
    )


@contextmanager
def milvus_server(directory: Path) -> Iterator[Server]:
    """Milvus Lite behind its server, on a free port; a place is a new collection."""
    file, port = directory / "milvus.db", layout.free_port()
    said, running = directory / "milvus.address", list[subprocess.Popen[bytes]]()

    def stop() -> None:
        while running:
            process = running.pop()
            process.send_signal(signal.SIGKILL)
            process.wait()

    def start() -> None:
        if running:
            return
        said.unlink(missing_ok=True)
        program = Path(lite.__file__).with_name("lite_server.py")
        command = [sys.executable, "-P", str(program), str(file), str(said), str(port)]
        with (directory / "milvus.log").open("ab") as log:
            running.append(subprocess.Popen(command, cwd="/", stdout=log, stderr=log))
        deadline = time.monotonic() + 60
        while not said.exists() or not said.read_bytes() or not json.loads(said.read_bytes()):
            assert running[0].poll() is None and time.monotonic() < deadline, (directory / "milvus.log").read_text()
            time.sleep(0.05)

    try:
        start()
        place = partial(_collection_opener, f"http://127.0.0.1:{port}")
        yield Server(f"127.0.0.1:{port}", place, stop, start, longest_text=LONGEST_TEXT, one_writer=True)
    finally:
        stop()


def _collection_opener(uri: str) -> Opener:
    target = Milvus(uri=uri, collection=f"test_{uuid4().hex[:12]}")
    return lambda dimension=4, patience_s=5.0, remember_deletes_s=7 * 86_400.0, owner=None: MilvusStore(
        target, dimension, "m", patience_s, remember_deletes_s, owner
    )


@contextmanager
def pinecone_server(directory: Path) -> Iterator[Server]:
    """What plays Pinecone, whose queries show after 5 ms what was written; a place is a new namespace of one index."""
    with pinecone_service([0.005]) as service:
        place = partial(_namespace_opener, service.url)
        address = service.url.removeprefix("http://")
        yield Server(address, place, service.stop, service.start, longest_text=20_000, one_writer=True, has_words=False)


def _namespace_opener(url: str) -> Opener:
    target = Pinecone(index="tests", namespace=f"test-{uuid4().hex[:12]}", api_key=SecretStr(KEY), host=url)
    return lambda dimension=4, patience_s=5.0, remember_deletes_s=7 * 86_400.0, owner=None: PineconeStore(
        target, dimension, "m", patience_s, remember_deletes_s, owner
    )


@contextmanager
def kafka_server(directory: Path) -> Iterator[Server]:
    """Kafka alone, on free ports; a place is a topic that isn't there yet."""
    files, ports = layout.layout_of(directory), layout.free_ports()
    layout.prepare(files)
    start = partial(kafka.start, files, ports, jars.fetch(LOCK), lambda line: None)

    def stop() -> bool:
        return process.stop(kafka.service(files))

    try:
        start()
        servers = kafka.bootstrap_servers(ports.kafka)
        yield Server(servers, lambda: topic_opener(servers), stop, start, splits=False)
    finally:
        stop()


def topic_opener(servers: str, **more: Any) -> Opener:
    """Of a new topic on a cluster; `more` are settings of it."""
    named = {"topic": f"test-{uuid4().hex[:12]}", "properties.bootstrap.servers": servers, "partitions": 2}
    target = StagedTopic.model_validate({**named, **more})
    return lambda dimension=4, patience_s=5.0, remember_deletes_s=7 * 86_400.0, owner=None: StagedStore(
        KafkaLog(target, patience_s), dimension, "m", owner
    )


SERVERS = {
    "pgvector": postgres_server,
    "opensearch": opensearch_server,
    "milvus": milvus_server,
    "pinecone": pinecone_server,
    "kafka": kafka_server,
}
"""Each store's server by the store's name. The contract suite runs on each.

`kinesis` has none: it is the store that `kafka` is, on another log, and `test_staged_stream.py` has what that decides.
"""
