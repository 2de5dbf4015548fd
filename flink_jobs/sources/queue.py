"""A queue of SQS as a source of events: a reader a subtask, which deletes what a completed checkpoint has.

Nothing of it is in the job's state: what wasn't deleted comes again, and a notification that comes again does no harm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import time_ns
from typing import Any

from pyflink.common import Row, Types
from pyflink.datastream import DataStream, RuntimeContext
from pyflink.datastream.functions import FlatMapFunction, KeyedProcessFunction
from pyflink.table import StreamTableEnvironment

from connectors.aws.client import Aws
from connectors.sqs.queue import Queue
from connectors.sqs.reader import THREADS, QueueReader
from core.config.source import Sqs
from core.shards.slots import slot_keys
from flink_jobs.engine.environment import MAX_PARALLELISM
from flink_jobs.engine.metrics import Meters
from flink_jobs.running.checkpoints import Checkpoints, checkpoints, interval_s
from flink_jobs.sources.ticking import READ, ticks, timed

MESSAGE_ID = "sqs.message-id"
"""The header of an event that has its message's id."""

_LOOK_MS = 20
_HIDDEN_S = 30
_LONGEST_HIDDEN_S = 43_200


def queue_source(tables: StreamTableEnvironment, source: Sqs, pipeline: str, parallelism: int) -> DataStream:
    """The messages of a queue as rows of EVENT_FIELDS, unbounded, for the pipeline of that name.

    A message is hidden from others for half a minute and the time of three checkpoints.
    """
    hidden_s = min(_LONGEST_HIDDEN_S, _HIDDEN_S + int(3 * interval_s(tables)))
    reading = ReadQueue(source, checkpoints(tables, pipeline), hidden_s)
    read = (
        ticks(tables)
        .flat_map(_Slots(slot_keys(parallelism, MAX_PARALLELISM)), Types.STRING())
        .name("slots")
        .uid("queue-slots")
        .key_by(lambda slot: slot, Types.STRING())
        .process(reading, READ)
        .name("read queue")
        .uid("read-queue")
    )
    return timed(tables, read)


class _Slots(FlatMapFunction):
    """A tick to all slots, which are keys that lie in one subtask each."""

    def __init__(self, slots: Sequence[str]) -> None:
        self._slots = tuple(slots)

    def flat_map(self, value: Row) -> Iterator[str]:
        """One tick in, each slot out."""
        yield from self._slots


class ReadQueue(KeyedProcessFunction):
    """Slots in, messages out, whenever its timer fires. The slots of a subtask share a reader."""

    def __init__(self, source: Sqs, completed: Checkpoints, hidden_s: int) -> None:
        self._source = source
        self._completed = completed
        self._hidden_s = hidden_s
        self._meters = Meters("messages", "messages_deleted")

    def open(self, runtime_context: RuntimeContext) -> None:
        """Open the client and the threads."""
        queue = Queue(self._source.queue_url, Aws(self._source.region, self._source.endpoint))
        self._name = queue.name
        self._threads = ThreadPoolExecutor(THREADS, "read-queue")
        self._reader = QueueReader(queue, self._completed.completed_ms, self._hidden_s, self._threads)
        self._timer = 0
        self._meters.open(runtime_context.get_metrics_group())

    def close(self) -> None:
        """Let the threads go; what they still receive is given back."""
        self._reader.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def process_element(self, value: str, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        """A slot in; nothing out."""
        if not self._timer:
            self._wake(ctx)
        yield from ()

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Any]:
        """Rows of READ out."""
        # one that was restored comes beside the first of this run
        if timestamp != self._timer:
            return
        found = self._reader.take(_now_ms())
        self._meters.count("messages", len(found))
        self._meters.count("messages_deleted", self._reader.deleted)
        self._reader.deleted = 0
        for message in found:
            now_ms = _now_ms()
            headers = {MESSAGE_ID: message.id.encode()}
            yield Row(None, message.body, self._name, 0, message.sent_ms, headers, now_ms, now_ms)
        self._reader.handed_on(found, _now_ms())
        self._wake(ctx)

    def _wake(self, ctx: KeyedProcessFunction.Context) -> None:
        self._timer = max(_now_ms() + _LOOK_MS, self._timer + 1)
        ctx.timer_service().register_processing_time_timer(self._timer)


def _now_ms() -> int:
    return time_ns() // 1_000_000
