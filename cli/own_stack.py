"""What to do about a server that nobody answers for: the folder's own stack is started by a command of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from cli.stack.layout import layout_of, remembered_ports

_HERE = ("127.0.0.1", "localhost", "[::1]")


def started_by(addresses: Sequence[str]) -> str:
    """How to go on where nobody answers at any of the addresses, `host:port`."""
    ports = remembered_ports(layout_of(Path.cwd()))
    own = set() if ports is None else {f"{host}:{port}" for host in _HERE for port in asdict(ports).values()}
    if own and set(addresses) <= own:
        return "it is of this folder's stack: freshet stack up"
    return "start it, or correct the address"
