"""Real servers for every test that asks for them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import stack as local_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local_stack.Stack]:
    """PostgreSQL with pgvector, Kafka and Kafka Connect, on free ports and without data, for the whole test run.

    Tests share it: each uses tables, topics and connectors of names of its own.
    """
    directory: Path = tmp_path_factory.mktemp("stack")
    try:
        yield local_stack.up(directory, ports=local_stack.free_ports())
    finally:
        local_stack.down(directory, wipe=True)
