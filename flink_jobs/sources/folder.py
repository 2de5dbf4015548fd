"""A folder of this machine as a source of events: a notification for each file that came, changed or went.

The ETag of each file's last notification is in the job's state, so what happens between two runs is noticed too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from time import time_ns
from typing import Any

from pyflink.common import Row, Types
from pyflink.datastream import DataStream, RuntimeContext
from pyflink.datastream.functions import KeyedProcessFunction
from pyflink.datastream.state import MapState, MapStateDescriptor
from pyflink.table import StreamTableEnvironment

from connectors.folder.files import Folder
from connectors.folder.watch import Changes, FolderWatch
from core.documents.objects import ObjectListed
from flink_jobs.engine.metrics import Meters
from flink_jobs.sources.ticking import READ, ticks, timed

_IDLE_MS = 100
_AT_ONCE = 500


def folder_source(tables: StreamTableEnvironment, folder: Folder) -> DataStream:
    """Notifications as rows of EVENT_FIELDS, unbounded: of all files that are there first, then of what happens."""
    read = (
        ticks(tables)
        .key_by(lambda row: "folder", Types.STRING())
        .process(WatchFolder(folder), READ)
        .name("watch folder")
        .uid("watch-folder")
    )
    return timed(tables, read)


class WatchFolder(KeyedProcessFunction):
    """Ticks in, notifications out, a few at a time, so that no checkpoint waits for all of a large folder."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._meters = Meters("files", "files_left_out")

    def open(self, runtime_context: RuntimeContext) -> None:
        """Open the state and the thread that looks; what is watched is the key's, and so one subtask's."""
        self._state: MapState = runtime_context.get_map_state(
            MapStateDescriptor("told", Types.STRING(), Types.STRING())
        )
        self._etags: dict[str, str] | None = None
        self._thread = ThreadPoolExecutor(1, "watch-folder")
        self._watch = FolderWatch(self._folder)
        self._asked: Future[Changes] | None = None
        self._waiting: deque[tuple[str, ObjectListed | None]] = deque()
        self._timer = 0
        self._meters.open(runtime_context.get_metrics_group())

    def close(self) -> None:
        """Let the thread go, once it has let go of what it watches."""
        self._thread.submit(self._watch.close)
        self._thread.shutdown(wait=False)

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        """A tick in; nothing out."""
        if not self._timer:
            self._wake(ctx, 0)
        yield from ()

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Any]:
        """Rows of READ out."""
        # one that was restored comes beside the first of this run
        if timestamp != self._timer:
            return
        if self._etags is None:
            self._etags = dict(self._state.items())
        if not self._waiting:
            self._look(self._etags)
        self._wake(ctx, 0 if self._waiting else _IDLE_MS)
        for _ in range(min(_AT_ONCE, len(self._waiting))):
            key, found = self._waiting.popleft()
            self._note(self._etags, key, found)
            self._meters.count("files")
            now_ms = time_ns() // 1_000_000
            offset = now_ms if found is None else found.last_modified_ms or now_ms
            value = self._folder.notification(key, found)
            yield Row(key.encode(), value, self._folder.bucket, 0, offset, {}, now_ms, now_ms)

    def _look(self, etags: dict[str, str]) -> None:
        if self._asked is not None and self._asked.done():
            asked, self._asked = self._asked, None
            self._waiting.extend(asked.result())
            self._meters.hold("files_left_out", self._watch.left_out)
        if self._asked is None and not self._waiting:
            # nothing is noted while it looks
            self._asked = self._thread.submit(self._watch.changes, etags)

    def _note(self, etags: dict[str, str], key: str, found: ObjectListed | None) -> None:
        if found is None:
            etags.pop(key, None)
            self._state.remove(key)
        else:
            etags[key] = etag = found.etag or ""
            self._state.put(key, etag)

    def _wake(self, ctx: KeyedProcessFunction.Context, after_ms: int) -> None:
        self._timer = max(time_ns() // 1_000_000 + after_ms, self._timer + 1)
        ctx.timer_service().register_processing_time_timer(self._timer)
