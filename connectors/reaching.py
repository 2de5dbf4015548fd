"""Whether anybody listens at an address, asked before a client that would try again and again."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

_PATIENCE_S = 3.0


def unreachable(addresses: Sequence[str]) -> str:
    """Why none of the addresses, `host:port`, takes a connection within 3 s; "" where one does, or there are none.

    What is no such address is left to its client to judge.
    """
    with ThreadPoolExecutor(max(1, len(addresses))) as threads:
        found = list(threads.map(_refusal, addresses))
    return "" if "" in found else next(iter(found), "")


def _refusal(address: str) -> str:
    host, _, port = address.strip().rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal() or host.startswith("/"):
        return ""
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE_S).close()
    except TimeoutError:
        return f"no connection within {_PATIENCE_S:.0f} s"
    except (OSError, OverflowError, UnicodeError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""
