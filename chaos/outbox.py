"""What tells of changes, on its way: late, swapped and repeated as the service does it, and never lost."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from random import Random
from typing import Generic, TypeVar

_AT_ONCE = 100
_IDLE_S = 0.01

Item = TypeVar("Item")


class Outbox(Generic[Item]):
    """Hands items to `send`, in batches, by a thread of its own.

    late_s   an item waits up to so long, so items are swapped; 0: they stay in order
    repeats  the share of items that come again, up to twice as late
    """

    def __init__(
        self, send: Callable[[list[Item]], None], choices: Random, late_s: float = 0.0, repeats: float = 0.0
    ) -> None:
        self._send = send
        self._choices = choices
        self._late_s = late_s
        self._repeats = repeats
        self._waiting: list[tuple[float, int, Item]] = []
        self._count = 0
        self._busy = False
        self._again = 0.0
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._error: Exception | None = None

    def add(self, item: Item) -> None:
        """Take one in, for once and perhaps for once more."""
        with self._lock:
            self._push(item, self._late_s)
            if self._choices.random() < self._repeats:
                self._push(item, 2 * self._late_s)

    def send_again(self, items: Callable[[], list[Item]]) -> None:
        """Send once more, in order, what `items` gives when nothing is being sent; what comes next comes after it."""
        with self._sending, self._lock:
            self._again -= 1.0
            # before all that waits, as they were before it
            for place, item in enumerate(items()):
                heapq.heappush(self._waiting, (self._again, place, item))

    def _push(self, item: Item, late_s: float) -> None:
        self._count += 1
        due = time.monotonic() + self._choices.uniform(0, late_s) if late_s else 0.0
        heapq.heappush(self._waiting, (due, self._count, item))

    def start(self) -> None:
        """Send from now on, as long as the process lives."""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            while True:
                with self._sending:
                    if batch := self._due():
                        self._send(batch)
                    self._busy = False
                time.sleep(_IDLE_S)
        except Exception as error:
            self._error = error

    def _due(self) -> list[Item]:
        batch: list[Item] = []
        with self._lock:
            while self._waiting and self._waiting[0][0] <= time.monotonic() and len(batch) < _AT_ONCE:
                batch.append(heapq.heappop(self._waiting)[2])
            self._busy = bool(batch)
        return batch

    def flush(self) -> None:
        """Wait until all is sent. Raises what `send` has raised."""
        while True:
            if self._error is not None:
                raise self._error
            with self._lock:
                if not self._waiting and not self._busy:
                    return
            time.sleep(_IDLE_S)
