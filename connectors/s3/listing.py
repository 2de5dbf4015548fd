"""What is in a bucket, in order of the keys, listed by several threads ahead of who asks."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from connectors.s3.objects import S3, listed
from core.documents.objects import ObjectListed

_PAGES_AHEAD = 4  # of 1000 objects, a folder

Part = str | ObjectListed
"""A prefix up to a slash, with all that is under it, or an object beside such prefixes."""


def listing(
    store: S3, bucket: str, prefix: str = "", start_after: str = "", threads: int = 8
) -> Generator[ObjectListed, None, None]:
    """The bucket's objects under a prefix, in order of their keys; those after the key `start_after` alone.

    Folders (up to the first slash behind the prefix at which there are several) are listed at once, as many as there
    are threads, and a few pages ahead. To go on after a stop, give the last key that was dealt with.
    Raises ConfigError where the bucket can't be listed, Unavailable where the store is away.
    """
    stop = threading.Event()
    parts = _parts(store, bucket, prefix, start_after)
    with ThreadPoolExecutor(threads, thread_name_prefix="list") as pool:
        ahead: deque[ObjectListed | _Pages] = deque()
        try:
            while True:
                while sum(isinstance(each, _Pages) for each in ahead) < threads and len(ahead) < 1_000:
                    part = next(parts, None)
                    if part is None:
                        break
                    ahead.append(
                        _Pages(pool, store, bucket, part, start_after, stop) if isinstance(part, str) else part
                    )
                if not ahead:
                    return
                first = ahead.popleft()
                if isinstance(first, ObjectListed):
                    yield first
                else:
                    yield from first.objects()
        finally:
            stop.set()


class _Pages:
    """The pages of a folder, listed in a thread until enough are waiting."""

    def __init__(
        self, pool: ThreadPoolExecutor, store: S3, bucket: str, prefix: str, start_after: str, stop: threading.Event
    ) -> None:
        self._waiting: queue.Queue[list[ObjectListed] | None] = queue.Queue(_PAGES_AHEAD)
        after = start_after if start_after.startswith(prefix) else ""
        self._done: Future[None] = pool.submit(self._list, store.objects(bucket, prefix, after), stop)

    def _list(self, pages: Iterator[list[ObjectListed]], stop: threading.Event) -> None:
        try:
            for page in pages:
                if not self._put(page, stop):
                    return
        finally:
            self._put(None, stop)

    def _put(self, page: list[ObjectListed] | None, stop: threading.Event) -> bool:
        while not stop.is_set():
            try:
                self._waiting.put(page, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def objects(self) -> Iterator[ObjectListed]:
        while (page := self._waiting.get()) is not None:
            yield from page
        self._done.result()


def _parts(store: S3, bucket: str, prefix: str, start_after: str) -> Iterator[Part]:
    """In order; of a prefix that has one folder alone, that folder's parts."""
    level = _level(store, bucket, prefix, start_after)
    first, second = next(level, None), next(level, None)
    if isinstance(first, str) and second is None and first != prefix:
        yield from _parts(store, bucket, first, start_after)
        return
    for part in (first, second):
        if part is not None:
            yield part
    yield from level


def _level(store: S3, bucket: str, prefix: str, start_after: str) -> Iterator[Part]:
    parameters = {"Prefix": prefix, "Delimiter": "/", "StartAfter": _before(prefix, start_after)}
    while True:
        page = store.page(bucket, **{name: value for name, value in parameters.items() if value})
        objects = [found for found in listed(page) if found.key > start_after]
        folders = [found["Prefix"] for found in page.get("CommonPrefixes", ())]
        left = [each for each in folders if each > start_after or start_after.startswith(each)]
        yield from sorted([*objects, *left], key=lambda part: part if isinstance(part, str) else part.key)
        if not page.get("IsTruncated"):
            return
        parameters["ContinuationToken"] = page["NextContinuationToken"]


def _before(prefix: str, start_after: str) -> str:
    """A key that is not after the folder in which `start_after` is, or `start_after` where it is in none."""
    if not start_after.startswith(prefix):
        return start_after
    name, slash, _ = start_after.removeprefix(prefix).partition("/")
    return prefix + name if slash else start_after
