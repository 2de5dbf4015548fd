"""Where a stack keeps things: one folder for all that it has, `.freshet/stack` of the directory it belongs to."""

import fcntl
import json
import os
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path

from core.errors import FreshetError
from stack.own_folder import close, close_way

HERE = "127.0.0.1"
_SERVERS_PORTS = range(15_000, 32_000)


@dataclass(frozen=True)
class Ports:
    """The TCP ports of a stack's servers, all on 127.0.0.1. `controller` is Kafka's own (KRaft)."""

    postgres: int = 5432
    kafka: int = 9092
    controller: int = 9093
    connect: int = 8083
    opensearch: int = 9200
    aws: int = 5000


@dataclass(frozen=True)
class Layout:
    """The paths below a stack's folder, which is absolute."""

    folder: Path

    def of(self, server: str) -> Path:
        """The folder of one server's data and configuration."""
        return self.folder / server

    def log(self, server: str) -> Path:
        """What a server has said since its last start; the log of the start before is beside it, as `.1`."""
        return self.folder / "logs" / f"{server}.log"

    def pid(self, server: str) -> Path:
        """The file with a server's process id."""
        return self.folder / "run" / f"{server}.pid"

    @property
    def passfile(self) -> Path:
        """The file with PostgreSQL's password, as `stack.passfile` tells; none where the data asks for none."""
        return self.folder / "pgpass"

    @property
    def connects_passfile(self) -> Path:
        """The same for Kafka Connect, with the passwords of all databases that it has connectors to."""
        return self.of("connect") / "pgpass"

    @property
    def ports(self) -> Path:
        """The file with the ports that the stack had last."""
        return self.folder / "ports.json"


def layout_of(directory: Path) -> Layout:
    """The layout of the stack that belongs to `directory`."""
    return Layout(directory.resolve() / ".freshet" / "stack")


def prepare(of: Layout) -> None:
    """Makes the stack's folders, and closes them to other users.

    Raises FreshetError where they belong to someone else.
    """
    try:
        for folder in (of.folder, of.folder / "logs", of.folder / "run"):
            folder.mkdir(parents=True, exist_ok=True)
    except PermissionError as error:
        raise FreshetError(
            f"{error.filename} can't be made: permission denied. Start from a folder of your own."
        ) from error
    if not os.access(of.folder, os.W_OK) or of.folder.stat().st_uid != os.geteuid():
        raise FreshetError(
            f"{of.folder} belongs to user {of.folder.stat().st_uid}, and this is user {os.geteuid()}: "
            "run as that user, or start from another folder."
        )
    for folder in (of.folder.parent, of.folder):
        close_way(folder)
    for server in ("kafka", "connect"):
        of.of(server).mkdir(exist_ok=True)
    for name in ("logs", "run", "kafka", "connect"):
        close(of.folder / name)


@contextmanager
def locked(of: Layout) -> Iterator[None]:
    """Holds the stack for one `up` or `down`; another one waits."""
    with (of.folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remembered_ports(of: Layout) -> Ports | None:
    """The ports that the stack had last, or None where it never was up."""
    try:
        ports = Ports(**json.loads(of.ports.read_text(encoding="utf-8")))
        return ports if all(type(port) is int and 0 < port < 65_536 for port in asdict(ports).values()) else None
    except (FileNotFoundError, ValueError, TypeError):
        return None


def remember_ports(of: Layout, ports: Ports) -> None:
    """Writes the ports down, in one step."""
    temporary = of.ports.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(ports)), encoding="utf-8")
    temporary.replace(of.ports)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens, as `free_ports`' are."""
    return _free_ports(1)[0]


def free_ports() -> Ports:
    """As many ports as a stack has, on which nobody listens.

    From below those that systems hand out to connections, which might take one before its server listens, or while
    that is started again.
    """
    return Ports(*_free_ports(len(fields(Ports))))


def _free_ports(count: int) -> list[int]:
    numbers = random.sample(_SERVERS_PORTS, len(_SERVERS_PORTS))
    return list(islice(filter(is_free, numbers), count))
