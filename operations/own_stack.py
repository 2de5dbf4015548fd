"""What to do where a server doesn't answer: if it is of this folder's own stack, a command of ours starts it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from stack.layout import is_free, layout_of, remembered_ports

_NAMED = re.compile(r"(?<![\w.])(?:127\.0\.0\.1|localhost|\[::1\]):(\d{1,5})(?!\d)")


def started_by(addresses: Sequence[str]) -> str:
    """How to go on where nobody answers at any of the addresses, `host:port`."""
    named = [_NAMED.fullmatch(each) for each in addresses]
    if all(each is not None and int(each[1]) in _ports() for each in named):
        return "it is of this folder's stack: freshet stack up"
    return "start it, or correct the address"


def stopped(message: str) -> str:
    """How to go on where an error names a server of this folder's stack on whose port nobody listens; else ""."""
    own = set() if "freshet stack up" in message else _ports()
    if any(int(port) in own and is_free(int(port)) for port in _NAMED.findall(message)):
        return "this folder's stack doesn't run, or not as a whole: `freshet stack up` starts it"
    return ""


def _ports() -> set[int]:
    ports = remembered_ports(layout_of(Path.cwd()))
    return set() if ports is None else set(asdict(ports).values())
