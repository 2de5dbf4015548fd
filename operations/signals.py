"""What a process does with signals, changed for a while."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def handlers_given_back() -> Iterator[None]:
    """Give the caller its own handlers of SIGINT and SIGTERM back, whatever the block does with those."""
    before = {number: signal.getsignal(number) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that isn't Python's can't be given back
                signal.signal(number, handler)
