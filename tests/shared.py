"""Servers that all processes of a test run share: the first that asks starts them, the run's own process ends them.

Each test uses tables, topics, connectors and indexes of names of its own. One that stops a server, or looks at all
that a server has, begins its own: `own_stack`, or what `tests.connectors.servers` has.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from stack import local as local_stack
from tests.connectors import servers

FOLDER_KEY = "shared"
"""The key under which a process of the run is sent the folder."""
_FOLDER = pytest.StashKey[Path]()


def begin(config: pytest.Config) -> None:
    """Make the run's folder, in the process that starts the others; nothing runs yet."""
    config.stash[_FOLDER] = Path(tempfile.mkdtemp(prefix="freshet-tests-"))


def folder_of(config: pytest.Config) -> Path:
    """The run's folder: the one that this process made, or was sent."""
    received: dict[str, str] | None = getattr(config, "workerinput", None)
    return config.stash[_FOLDER] if received is None else Path(received[FOLDER_KEY])


def stack(folder: Path) -> local_stack.Stack:
    """PostgreSQL with pgvector, Kafka and Kafka Connect, on free ports."""
    return local_stack.up(_made(folder / "stack"), ports=local_stack.free_ports())


def opensearch(folder: Path) -> servers.Server:
    """OpenSearch alone, on a free port."""
    server = servers.opensearch_at(_made(folder / "opensearch"))
    server.start()
    return server


def end(config: pytest.Config) -> None:
    """Stop what was started, and leave no file."""
    folder = folder_of(config)
    if (folder / "stack").exists():
        local_stack.down(folder / "stack", wipe=True)
    if (folder / "opensearch").exists():
        servers.end_opensearch(folder / "opensearch")
    shutil.rmtree(folder)


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
