"""Objects loaded as they are now: fetched and parsed in the background, in bounded memory, each with its outcome.

A file that takes long to parse isn't in the way of others: after some seconds it is put aside, and has a parser that
takes one such file after the other, from the beginning.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from core.documents.objects import Fetched, Fetcher, Gone, Loaded, ToLoad
from core.errors import ObjectError
from core.formats.markers import is_marker
from udfs.parsing.files import Limits, Options
from udfs.parsing.rows import OBJECTS_OWN
from udfs.parsing.sandbox import Sandboxes, TooSlow

THREADS = 16
PROCESSES = 2
BYTES_AT_ONCE = 64 * 2**20
QUICK_S = 3.0
"""How long a file is parsed before it is put aside."""

_LIMITS = Limits()

Look = Future[Loaded]
"""A look at an object that is being made; `Loader.forget` it once nothing of what it found is needed any more.

It raises Unavailable where a store is away for longer than its fetcher's patience, ConfigError where it refuses whoever
asks, or a library is missing.
"""


class Loader:
    """Looks at objects with threads and processes, which are started when first needed.

    fetchers       by bucket, and under "" that of all others; without that, others are errors
    options        by bucket and key
    threads        that fetch, beside one for files that were put aside
    processes      that parse, beside one for files that were put aside
    bytes_at_once  of objects that are being read or parsed, and as many of rows that nobody has forgotten yet; what is
                   larger than that is there alone
    quick_s        how long a file is parsed before it is put aside
    """

    def __init__(
        self,
        fetchers: Mapping[str, Fetcher],
        options: Callable[[str, str], Options] = lambda bucket, key: Options(),
        limits: Limits = _LIMITS,
        threads: int = THREADS,
        processes: int = PROCESSES,
        bytes_at_once: int = BYTES_AT_ONCE,
        quick_s: float = QUICK_S,
    ) -> None:
        """Starts nothing."""
        self._fetchers = fetchers
        self._options = options
        self._limits = limits
        self._read = _Budget(bytes_at_once)
        self._found = _Budget(bytes_at_once)
        self._quick = Sandboxes(processes, replace(limits, seconds=min(quick_s, limits.seconds)))
        self._slow = Sandboxes(1, limits)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="load")
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="load-aside")
        self._sizes: dict[Look, int] = {}

    def look(self, bucket: str, key: str) -> Look:
        """Begin to look at an object."""
        look: Look = Future()
        self._threads.submit(self._make, look, bucket, key, self._quick)
        return look

    def forget(self, look: Look) -> None:
        """Let other looks have the memory that this one's rows take."""
        self._found.give(self._sizes.pop(look, 0))

    def lift(self) -> None:
        """Lift the limit on rows' memory, for whoever forgets none of them before all are there."""
        self._found.lift()

    def load(self, batch: Sequence[ToLoad]) -> list[Loaded]:
        """What each look found, in order, all in memory. An object that several ask for is looked at once for all."""
        looks = {self.look(*each): each for each in dict.fromkeys((each.bucket, each.key) for each in batch)}
        found = {}
        for look in as_completed(looks):
            found[looks[look]] = look.result()
            self.forget(look)
        return [for_whom(found[each.bucket, each.key], each) for each in batch]

    def close(self) -> None:
        """Stops processes, and threads as soon as no store keeps them waiting. What isn't found by then never is."""
        for threads in (self._threads, self._aside):
            threads.shutdown(wait=False, cancel_futures=True)
        for budget in (self._read, self._found):
            budget.close()
        for processes in (self._quick, self._slow):
            processes.close()

    def _make(self, look: Look, bucket: str, key: str, parsers: Sandboxes) -> None:
        try:
            look.set_result(self._looked(look, bucket, key, parsers))
        except TooSlow:
            self.forget(look)
            if parsers is self._quick and self._limits.seconds > parsers.seconds:
                self._aside.submit(self._make, look, bucket, key, self._slow)
            else:
                why = f"{key} takes more than {parsers.seconds:g} s to parse: give it smaller, or not at all"
                look.set_result(Loaded(bucket, key, 0, error=why))
        except ObjectError as error:
            look.set_result(Loaded(bucket, key, 0, error=str(error)))
        except BaseException as error:
            look.set_exception(error)

    def _looked(self, look: Look, bucket: str, key: str, parsers: Sandboxes) -> Loaded:
        fetch = self._fetchers.get(bucket, self._fetchers.get(""))
        if fetch is None:
            raise ObjectError(f"nothing is said of bucket {bucket!r} in the pipeline file, in which {key!r} is")
        with self._read.lent() as lend:

            def admit(size: int) -> None:
                if size > self._limits.size:
                    raise ObjectError(
                        f"{key} has {size:,} bytes, more than {self._limits.size:,}: split it, or raise the limit"
                    )
                lend(size)

            fetched = fetch(bucket, key, admit)
            if isinstance(fetched, Gone):
                return Loaded(bucket, key, fetched.read_ms, gone=True)
            own = _columns(bucket, key, fetched)
            if is_marker(key, len(fetched.content)):
                return Loaded(bucket, key, fetched.read_ms, own)

            def keep(size: int) -> None:
                self._sizes[look] = self._found.take(size)

            options = self._options(bucket, key)
            rows = parsers.parse(fetched.content, key, fetched.content_type, options, keep)
            return Loaded(bucket, key, fetched.read_ms, own, rows)


def for_whom(found: Loaded, asked: ToLoad) -> Loaded:
    """What was found, as the answer to one of those who asked."""
    return replace(found, committed_ms=asked.committed_ms, event=asked.event, replayed=asked.replayed)


def _columns(bucket: str, key: str, fetched: Fetched) -> dict[str, Any]:
    """The object's own columns, which all of its rows have."""
    modified = fetched.last_modified_ms
    at = None if modified is None else datetime.fromtimestamp(modified / 1000, UTC).isoformat(timespec="milliseconds")
    values = (bucket, key, fetched.version_id, fetched.etag, fetched.content_type, at)
    return dict(zip(OBJECTS_OWN, values, strict=True))


class _Budget:
    """Bytes that may be in memory at once, given to those who want some in the order in which they come."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._closed = False
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    def take(self, size: int) -> int:
        """Waits until so many bytes are free, or all of them, and takes them: how many. ObjectError once closed."""
        turn = object()
        with self._changed:
            wanted = min(size, self._total)
            self._waiting.append(turn)
            self._changed.wait_for(lambda: self._closed or (self._waiting[0] is turn and self._free >= wanted))
            self._waiting.remove(turn)
            self._changed.notify_all()
            if self._closed:
                raise ObjectError("the loader is closed")
            self._free -= wanted
        return wanted

    def give(self, size: int) -> None:
        """Gives back what was taken."""
        with self._changed:
            self._free += size
            self._changed.notify_all()

    def lift(self) -> None:
        """As if all the memory in the world were free."""
        with self._changed:
            self._free = sys.maxsize
            self._changed.notify_all()

    def close(self) -> None:
        """Has nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @contextmanager
    def lent(self) -> Iterator[Callable[[int], None]]:
        """A function that takes bytes, in the place of those it took before; they are given back at the end."""
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            self.give(taken)
            taken = 0
            taken = self.take(size)

        try:
            yield take
        finally:
            self.give(taken)
