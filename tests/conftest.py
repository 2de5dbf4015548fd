"""Real servers for every test that asks for them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from cli import stack as local_stack
from tests import resident
from tests.connectors import servers

# How long an example takes tells of the machine and of what else it does.
settings.register_profile("freshet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("freshet")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local_stack.Stack]:
    """PostgreSQL with pgvector, Kafka and Kafka Connect, on free ports and without data, for all tests of a process.

    Tests share it: each uses tables, topics and connectors of names of its own.
    """
    directory: Path = tmp_path_factory.mktemp("stack")
    try:
        yield local_stack.up(directory, ports=local_stack.free_ports())
    finally:
        local_stack.down(directory, wipe=True)


@pytest.fixture(scope="session")
def opensearch_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """OpenSearch alone, for the tests of stores and of jobs that write to it."""
    with servers.opensearch_server(tmp_path_factory.mktemp("opensearch")) as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def residents() -> Iterator[None]:
    """Processes that run commands for tests end with them."""
    yield
    resident.end_all()
