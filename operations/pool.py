"""Connections for many who ask at once: each is lent to one of them at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import LifoQueue
from typing import Generic, Protocol, TypeVar


class Closing(Protocol):
    """What is closed at last."""

    def close(self) -> None:
        """Give connections back."""


Lent = TypeVar("Lent", bound=Closing)


class Pool(Generic[Lent]):
    """Opened things that aren't for several threads: the one that came back last is lent next."""

    def __init__(self, opened: Sequence[Lent]) -> None:
        self.all = tuple(opened)
        self._idle: LifoQueue[Lent] = LifoQueue()
        for each in self.all:
            self._idle.put(each)

    @contextmanager
    def one(self) -> Iterator[Lent]:
        """One of them, until the block ends; waits while all are lent."""
        lent = self._idle.get()
        try:
            yield lent
        finally:
            self._idle.put(lent)

    def close(self) -> None:
        """Close them all; nobody asks any more."""
        for each in self.all:
            each.close()
