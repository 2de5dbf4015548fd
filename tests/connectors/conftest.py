"""A server for each kind of store, an empty place on it for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from connectors.aws.client import Aws, client
from core.config.store import OpenSearch
from core.stores.contract import VectorStore
from stack.local import Stack
from tests.aws import moto_server
from tests.connectors import servers
from tests.connectors.proxy import Proxy, proxy
from tests.connectors.servers import SERVERS, Opener, Server, new_schema


@pytest.fixture(scope="session")
def pgvector_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers.postgres_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers.milvus_server(tmp_path_factory.mktemp("milvus")) as server:
        yield server


@pytest.fixture(scope="session")
def pinecone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers.pinecone_server(tmp_path_factory.mktemp("pinecone")) as server:
        yield server


@pytest.fixture(scope="session")
def kafka_server(stack: Stack) -> Server:
    """The Kafka of the run's stack; none of its tests stops it."""
    servers_of = stack.kafka.bootstrap_servers

    def stays() -> None:
        raise AssertionError("other tests use it")

    return Server(servers_of, lambda: servers.topic_opener(servers_of), stays, stays, splits=False)


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    server: Server = request.getfixturevalue(f"{request.param}_server")
    return server


@pytest.fixture(params=SERVERS)
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """One that the test may stop."""
    with SERVERS[request.param](tmp_path) as server:
        yield server


@pytest.fixture
def place(server: Server) -> Opener:
    return server.place()


@pytest.fixture
def store(place: Opener) -> Iterator[VectorStore]:
    store = place()
    store.prepare()
    yield store
    store.close()


@pytest.fixture
def url(opensearch_server: Server) -> str:
    """OpenSearch's."""
    return f"http://{opensearch_server.address}"


@pytest.fixture
def target(url: str) -> OpenSearch:
    """An index of the test's own."""
    return OpenSearch(hosts=(url,), index=f"test-{uuid4().hex[:12]}")


@pytest.fixture
def way(url: str) -> Iterator[Proxy]:
    """To OpenSearch, on which requests can be looked at and cut off."""
    with proxy(url) as state:
        yield state


@pytest.fixture(scope="session")
def aws() -> Iterator[Aws]:
    with moto_server() as server:
        yield server


@pytest.fixture
def kinesis(aws: Aws) -> Any:
    return client("kinesis", aws, "test")


@pytest.fixture(scope="session")
def dynamodb(aws: Aws) -> Aws:
    return aws


@pytest.fixture
def dsn(pgvector_server: Server) -> str:
    return new_schema(pgvector_server.dsn)
