"""A server for each kind of store, an empty place on it for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connectors.aws import Aws
from core.stores import VectorStore
from tests.aws import moto_server
from tests.connectors import servers
from tests.connectors.servers import SERVERS, Opener, Server, new_schema


@pytest.fixture(scope="session")
def pgvector_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers.postgres_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    server: Server = request.getfixturevalue(f"{request.param}_server")
    return server


@pytest.fixture
def place(server: Server) -> Opener:
    return server.place()


@pytest.fixture
def store(place: Opener) -> Iterator[VectorStore]:
    store = place()
    store.prepare()
    yield store
    store.close()


@pytest.fixture(scope="session")
def dynamodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with moto_server(tmp_path_factory.mktemp("aws")) as aws:
        yield aws


@pytest.fixture
def dsn(pgvector_server: Server) -> str:
    return new_schema(pgvector_server.dsn)
