"""What a job says of itself in its stores: that it runs, and how much of each partition is applied."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import time_ns
from typing import Any

from pyflink.common import Row
from pyflink.datastream import DataStream, RuntimeContext
from pyflink.datastream.functions import FlatMapFunction

from connectors.opening.sources import PartitionEnds, partition_ends
from connectors.opening.stores import Stores, open_stores, stores_of
from core.change import BEGINNING, Position
from core.config.pipeline import Pipeline
from core.documents.step import table_id
from core.errors import Displaced, FreshetError, Unavailable
from core.shards.progress import Passed, Progress, Reached, Reckoning
from core.stores.contract import VectorStore
from core.stores.fingerprint import Owner
from flink_jobs import payloads
from flink_jobs.payloads import Mark
from flink_jobs.steps.aside import ASIDE_MS
from flink_jobs.steps.operators import LETTERS

_EVERY_S = 0.15
_AT_LEAST_S = 1.0
_LOOK_S = 5.0
_PAUSE_S = 10.0
_MOST_HELD = 100
log = logging.getLogger(__name__)


def kept(pipeline: Pipeline, applied: DataStream, owner: Owner | None) -> DataStream:
    """Have the stores keep what is applied. `applied`: encoded Answers; nothing comes out."""
    keep = KeepProgress(stores_of(pipeline, owner), partition_ends(pipeline))
    keeping = applied.flat_map(keep, LETTERS).name("progress").uid("progress")
    return keeping.set_parallelism(1).set_buffer_timeout(ASIDE_MS)


class KeepProgress(FlatMapFunction):
    """Answers in, nothing out: one subtask gathers the marks, and a thread of its own tells the stores.

    What a store doesn't take is sent again: a stream must not wait for it here, where the plans' own writer does.
    """

    def __init__(self, stores: Stores, ends: Callable[[], PartitionEnds]) -> None:
        self._stores = stores
        self._ends = ends

    def open(self, runtime_context: RuntimeContext) -> None:
        """Start the thread."""
        self._passed = Passed()
        self._fresh: list[Mark] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._task = _started(threading.get_native_id())
        self._thread = threading.Thread(target=self._tell, name="progress", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(_PAUSE_S)

    def flat_map(self, value: Row) -> Iterator[Any]:
        """`value` has an encoded Answer, and an event."""
        passed = payloads.ANSWER.decode(value[0]).passed
        if passed:
            mark = payloads.MARK.decode(passed)
            if self._passed.take(mark.by, mark.number, mark.way, mark.ways):
                with self._lock:
                    self._fresh.append(mark)
        yield from ()

    def _tell(self) -> None:
        try:
            teller = _Teller(self._stores, self._ends())
        except FreshetError as error:
            log.warning("None of the stores keeps how fresh it is: %s", error)
            return
        try:
            while not self._stop.wait(_EVERY_S) and self._runs():
                teller.tell(self._taken())
        except Displaced:
            pass  # what writes plans says so
        finally:
            teller.close()

    def _runs(self) -> bool:
        """Whether the task's thread is there: Flink calls `close` at an input's end alone, not when a job stops."""
        return self._task is None or _started(self._task[0]) == self._task

    def _taken(self) -> list[Mark]:
        with self._lock:
            taken, self._fresh = self._fresh, []
        return taken


def _started(thread: int) -> tuple[int, str] | None:
    """A thread of this process and when it started (proc(5), "stat"); None where it has ended, or isn't on Linux."""
    try:
        stat = Path(f"/proc/self/task/{thread}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return thread, stat.rpartition(")")[2].split()[19]


class _Teller:
    """What is said to the stores, of one pipeline."""

    def __init__(self, stores: Stores, ends: PartitionEnds) -> None:
        self._epoch = 0 if stores.owner is None else stores.owner.epoch
        # no vector is read or written: their dimension is nobody's concern
        self._stores = open_stores(stores, dimension=1, patience_s=0.0)
        self._rests_until = dict.fromkeys(self._stores, 0)
        self._ends = ends
        self._known: Reckoning | None = None
        self._partitions: frozenset[str] | None = None
        self._said_ms = 0
        self._cleared: dict[str, Position] = {}
        self._held: list[Mark] = []
        self._looked_ms = 0

    def tell(self, marks: Sequence[Mark]) -> None:
        """Tell what is applied by now, where there is something new, or a second has passed. Raises Displaced."""
        now_ms = time_ns() // 1_000_000
        applied: dict[str, Reached] = {}
        # the first of several that wait says when to go on, the last what is there then
        self._held = [*self._held, *marks][-_MOST_HELD:]
        while self._held and all(self._is_cleared(*each) for each in self._held[0].cleared.items()):
            applied.update(self._held.pop(0).reached)
        known = self._reckoning()
        known.hear(applied, now_ms)
        if now_ms >= self._looked_ms + _LOOK_S * 1000:
            self._looked_ms = now_ms
            self._look(known, now_ms)
        if not applied and now_ms < self._said_ms + _AT_LEAST_S * 1000:
            return
        self._said_ms = now_ms
        progress = Progress(self._epoch, now_ms, *self._said(known))
        for name, store in self._stores.items():
            self._keep(name, store, progress, now_ms)

    def _is_cleared(self, table: str, below: Position) -> bool:
        """Whether every store has cleared a table below a position: that comes on a way that has no marks."""
        if self._cleared.get(table, BEGINNING) < below:
            with suppress(FreshetError):
                self._cleared[table] = min(store.mark(table_id(table)) for store in self._stores.values())
        return self._cleared.get(table, BEGINNING) >= below

    def _look(self, known: Reckoning, now_ms: int) -> None:
        found = self._ends.now()
        if found is not None:
            self._partitions = frozenset(found)
            known.look(found, now_ms)

    def _said(self, known: Reckoning) -> tuple[Mapping[str, Reached], tuple[str, ...]]:
        """Where it isn't known which partitions there are, nobody can say how far all of them are."""
        reached = known.reached
        if self._partitions is None:
            return {name: Reached(each.offset, "", each.committed_ms) for name, each in reached.items()}, ()
        return reached, tuple(sorted(self._partitions - reached.keys()))

    def _reckoning(self) -> Reckoning:
        """What this run has applied before Flink restarted it stays applied."""
        if self._known is None:
            before: Mapping[str, Reached] = {}
            for store in self._stores.values() if self._epoch else ():
                with suppress(FreshetError):
                    there = store.progress()
                    before = there.reached if there is not None and there.epoch == self._epoch else before
            self._known = Reckoning(before)
        return self._known

    def _keep(self, name: str, store: VectorStore, progress: Progress, now_ms: int) -> None:
        if now_ms < self._rests_until[name]:
            return
        try:
            store.keep(progress)
        except Displaced:
            raise
        except FreshetError as error:
            level = logging.INFO if isinstance(error, Unavailable) else logging.WARNING
            log.log(level, "%s can't keep how fresh it is: %s", name, error)
            self._rests_until[name] = now_ms + int(_PAUSE_S * 1000)

    def close(self) -> None:
        """Give connections back."""
        for store in self._stores.values():
            store.close()
        self._ends.close()
