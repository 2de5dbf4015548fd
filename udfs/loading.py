"""Objects loaded as they are now: fetched and parsed by several threads, in bounded memory, each with its outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from core.errors import ObjectError
from core.markers import is_marker
from core.objects import Fetched, Fetcher, Gone, Loaded, ToLoad
from udfs.parsing import Limits, Options
from udfs.parsing_rows import OBJECTS_OWN
from udfs.sandbox import Sandboxes

THREADS = 16
PROCESSES = 2
BYTES_AT_ONCE = 128 * 2**20

_LIMITS = Limits()


class Loader:
    """Loads batches of objects with the same threads and processes, which are started when first needed.

    fetchers       by bucket, and under "" that of all others; without that, others are errors
    options        by bucket and key
    bytes_at_once  of objects that are being read or parsed; a larger one is read alone
    """

    def __init__(
        self,
        fetchers: Mapping[str, Fetcher],
        options: Callable[[str, str], Options] = lambda bucket, key: Options(),
        limits: Limits = _LIMITS,
        threads: int = THREADS,
        processes: int = PROCESSES,
        bytes_at_once: int = BYTES_AT_ONCE,
    ) -> None:
        """Starts nothing."""
        self._fetchers = fetchers
        self._options = options
        self._limits = limits
        self._budget = _Budget(bytes_at_once)
        self._sandboxes = Sandboxes(processes, limits)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="load")

    def load(self, batch: Sequence[ToLoad]) -> list[Loaded]:
        """What each look found, in order. An object that several ask for is looked at once, for all of them.

        Raises Unavailable where a store is away for longer than its fetcher's patience, ConfigError where it refuses
        whoever asks, or a library is missing; then none of the batch counts.
        """
        looks = dict.fromkeys((each.bucket, each.key) for each in batch)
        found = dict(zip(looks, self._threads.map(self._look, *zip(*looks, strict=True)), strict=True)) if looks else {}
        return [
            replace(
                found[each.bucket, each.key],
                committed_ms=each.committed_ms,
                event=each.event,
                replayed=each.replayed,
            )
            for each in batch
        ]

    def close(self) -> None:
        """Stops threads and processes."""
        self._threads.shutdown()
        self._sandboxes.close()

    def _look(self, bucket: str, key: str) -> Loaded:
        try:
            with self._budget.lent() as lend:
                return self._found(bucket, key, lend)
        except ObjectError as error:
            return Loaded(bucket, key, 0, error=str(error))

    def _found(self, bucket: str, key: str, lend: Callable[[int], None]) -> Loaded:
        fetch = self._fetchers.get(bucket, self._fetchers.get(""))
        if fetch is None:
            raise ObjectError(f"nothing is said of bucket {bucket!r} in the pipeline file, in which {key!r} is")

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
        rows = self._sandboxes.parse(fetched.content, key, fetched.content_type, self._options(bucket, key))
        return Loaded(bucket, key, fetched.read_ms, own, rows)


def _columns(bucket: str, key: str, fetched: Fetched) -> dict[str, Any]:
    """The object's own columns, which all of its rows have."""
    modified = fetched.last_modified_ms
    at = None if modified is None else datetime.fromtimestamp(modified / 1000, UTC).isoformat(timespec="milliseconds")
    values = (bucket, key, fetched.version_id, fetched.etag, fetched.content_type, at)
    return dict(zip(OBJECTS_OWN, values, strict=True))


class _Budget:
    """Bytes that may be in memory at once."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._changed = threading.Condition()

    @contextmanager
    def lent(self) -> Iterator[Callable[[int], None]]:
        """A function that waits until so many bytes are free and takes them; they are given back at the end."""
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            wanted = min(size, self._total)
            with self._changed:
                self._free += taken  # of an attempt before, whose bytes are gone
                self._changed.notify_all()
                taken = 0
                self._changed.wait_for(lambda: self._free >= wanted)
                self._free -= wanted
                taken = wanted

        try:
            yield take
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify_all()
