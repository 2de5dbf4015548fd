"""Who sees a part of an index has a part of its threads: one who asks for what takes long keeps nobody else waiting."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

from core.stores.filters.language import EVERYTHING, Filter


class Lane(Executor):
    """So many threads of an executor at most; what is beyond waits for one of them."""

    def __init__(self, threads: Executor, most: int) -> None:
        self._threads, self._most = threads, most
        self._lock = Lock()
        self._busy = 0
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As `Executor.submit`."""
        found: Future[Any] = Future()
        with self._lock:
            self._waiting.append((found, partial(fn, *args, **kwargs)))
            begins = self._busy < self._most
            self._busy += begins
        if begins:
            self._threads.submit(self._work)
        return found

    def _work(self) -> None:
        """One that waits, then the next: behind what others have asked for by then."""
        found, ask = self._waiting.popleft()
        if found.set_running_or_notify_cancel():
            try:
                found.set_result(ask())
            except BaseException as error:
                found.set_exception(error)
        with self._lock:
            ends = len(self._waiting) < self._busy
            self._busy -= ends
        if not ends:
            self._threads.submit(self._work)


class Lanes:
    """The lanes of one index: each filter's that somebody sees it through has half of the threads."""

    def __init__(self, threads: Executor, many: int) -> None:
        """`threads` has so `many`."""
        self._threads, self._most = threads, (many + 1) // 2
        self._lanes: WeakValueDictionary[Filter, Lane] = WeakValueDictionary()

    def of(self, granted: Filter) -> Executor:
        """The threads of whoever sees what passes a filter; of who sees all, all of them."""
        if granted == EVERYTHING:
            return self._threads
        lane = self._lanes.get(granted) or Lane(self._threads, self._most)
        self._lanes[granted] = lane
        return lane
