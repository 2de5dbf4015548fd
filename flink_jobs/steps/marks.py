"""The positions below which the stores have cleared tables, for the operators that remember rows.

They run in Flink's JVM, on threads that Python didn't begin. There gRPC, by which Milvus is asked, waits for ever for
the interpreter's lock, which its own thread holds, and the whole job with it: PyGILState_Ensure of CPython's C API
knows no such thread. So the stores are asked on a thread of Python's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from connectors.opening.stores import Stores, open_stores
from core.change import BEGINNING, Position
from core.errors import ConfigError, Unavailable
from core.stores.contract import VectorStore

ASKED_EVERY_S = 5.0
"""How old an answer may be. An older mark is a lower one: less is forgotten by it, and nothing wrongly."""

PAUSE_S = 60.0
"""How long stores are left alone that didn't answer."""


class Marks:
    """The marks of a pipeline's stores, by the name that stores have for a table. Reached when first asked."""

    def __init__(
        self, stores: Callable[[], Sequence[VectorStore]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._open = stores
        self._clock = clock
        self._stores: Sequence[VectorStore] | None = None
        self._known: dict[str, tuple[float, Position]] = {}
        self._rests_until = float("-inf")
        self._thread = ThreadPoolExecutor(1, "marks")

    def of(self, table: str) -> Position:
        """The position below which every store refuses the table's changes; BEGINNING where one may take them all.

        Never raises for a store that doesn't answer: who writes says so, and what isn't forgotten now is later.
        """
        now = self._clock()
        asked, mark = self._known.get(table, (float("-inf"), BEGINNING))
        if now < asked + ASKED_EVERY_S or now < self._rests_until:
            return mark
        try:
            mark = self._thread.submit(self._asked, table).result()
        except (Unavailable, ConfigError):
            self._rests_until = now + PAUSE_S
            return mark
        self._known[table] = (now, mark)
        return mark

    def _asked(self, table: str) -> Position:
        if self._stores is None:
            self._stores = self._open()
        return min((store.mark(table) for store in self._stores), default=BEGINNING)

    def close(self) -> None:
        """Give connections back."""
        self._thread.submit(self._close).result()
        self._thread.shutdown()

    def _close(self) -> None:
        for store in self._stores or ():
            store.close()
        self._stores = None


def marks_of(stores: Stores) -> Marks:
    """The marks of these stores; one that is away isn't waited for."""
    # for no vector is read or written, their dimension is nobody's concern
    return Marks(lambda: tuple(open_stores(stores, dimension=1, patience_s=0.0).values()))
