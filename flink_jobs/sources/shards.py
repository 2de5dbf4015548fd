"""Kinesis and DynamoDB Streams as a source of events, which PyFlink has no wrapper for: two keyed functions on ticks.

One lists the streams and says which slot reads what; the other is one reader a slot. What is read is in checkpointed
state, so a restart goes on after the last checkpoint. A source that ticks keeps the job alive: it never ends by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import time_ns
from typing import Any
from zlib import crc32

from pyflink.common import Row, Types
from pyflink.datastream import DataStream, OutputTag, RuntimeContext
from pyflink.datastream.functions import KeyedProcessFunction
from pyflink.datastream.state import ValueState, ValueStateDescriptor
from pyflink.table import StreamTableEnvironment

from connectors.shards.reader import Emitted, SlotReader
from connectors.shards.streams import Source, opened, stream_name
from core.errors import Throttled, Unavailable
from core.formats.arrival import KINESIS_SUBSEQUENCE
from core.shards.log import Lost, Shard, ShardStream
from core.shards.reading import readings_from_bytes, readings_to_bytes
from core.shards.slots import (
    Assignment,
    assign,
    assignments_from_bytes,
    assignments_to_bytes,
    of_slot,
    slot_keys,
    slots_in,
)
from flink_jobs import payloads
from flink_jobs.engine.metrics import Meters
from flink_jobs.sources.ticking import READ, ticks, timed
from flink_jobs.steps.operators import BYTES

_SLOT_ROW = Types.ROW_NAMED(["slot", "told"], [Types.STRING(), BYTES])
LOST_ROWS = Types.ROW_NAMED(["stream", "shard", "after", "oldest", "reason"], [Types.STRING() for _ in range(5)])
_LOST = OutputTag("lost", LOST_ROWS)
_LISTING_MS = 10_000
_AT_ONCE = 2000
_READERS = 8
_PATIENCE = 8


@dataclass(frozen=True, slots=True)
class ShardEvents:
    """`events` have EVENT_FIELDS, arrival times and watermarks; `lost` are LOST_ROWS, one for each loss noticed."""

    events: DataStream
    lost: DataStream


def shard_source(
    tables: StreamTableEnvironment,
    sources: Sequence[Source],
    parallelism: int,
    max_parallelism: int,
    behind_ms: int = 0,
) -> ShardEvents:
    """The events of all these streams, unbounded: the job goes on until it is stopped.

    A shard's watermark is the arrival time of its last record, or the clock where it is read to its end; that of a
    subtask is the least of its shards', less `behind_ms`. Both operators have the job's parallelism.
    """
    assigned = (
        ticks(tables)
        .key_by(lambda row: "streams", Types.STRING())
        .process(ListShards(sources, slot_keys(parallelism, max_parallelism)), _SLOT_ROW)
        .name("list shards")
        .uid("list-shards")
    )
    read = (
        assigned.key_by(lambda row: row[0], Types.STRING())
        .process(ReadShards(sources), READ)
        .name("read shards")
        .uid("read-shards")
    )
    lost = assigned.get_side_output(_LOST).union(read.get_side_output(_LOST))
    return ShardEvents(timed(tables, read, behind_ms), lost)


class ListShards(KeyedProcessFunction):
    """Ticks in; what each slot reads out, after every listing. One key holds it all, so slots never disagree."""

    def __init__(self, sources: Sequence[Source], slots: Sequence[str]) -> None:
        self._sources = tuple(sources)
        self._slots = list(slots)
        self._meters = Meters("losses")

    def open(self, runtime_context: RuntimeContext) -> None:
        """Open the state and the clients."""
        self._state: ValueState = runtime_context.get_state(ValueStateDescriptor("shards", Types.PICKLED_BYTE_ARRAY()))
        self._streams = opened(self._sources)
        self._thread = ThreadPoolExecutor(1, "list-shards")
        self._asked: Future[dict[str, list[Shard]]] | None = None
        self._due_ms = 0
        self._failures = 0
        self._meters.open(runtime_context.get_metrics_group())

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        """One tick in; rows of _SLOT_ROW and LOST_ROWS out where a listing has come."""
        now_ms = time_ns() // 1_000_000
        listed = self._listed(now_ms)
        if self._asked is None and now_ms >= self._due_ms:
            self._asked = self._thread.submit(_list, self._streams)
            self._due_ms = now_ms + _LISTING_MS
        if listed is None:
            return
        raw = self._state.value()
        before = {} if raw is None else assignments_from_bytes(raw)
        after: dict[str, Assignment] = {}
        for place, source in enumerate(self._sources):
            name = stream_name(source)
            # each stream begins with another slot: many of one shard are dealt out too
            slots = [*self._slots[place % len(self._slots) :], *self._slots[: place % len(self._slots)]]
            found = assign(before.get(name, Assignment()), listed[name], slots, source.begin, now_ms)
            after[name] = found.assignment
            for shard in found.unseen:
                self._meters.count("losses")
                yield _LOST, _lost(Lost(self._streams[name].name, shard, "", ""))
        self._state.update(assignments_to_bytes(after))
        for slot in sorted({*self._slots, *slots_in(after.values())}):
            assigned = {name: of_slot(assignment, slot) for name, assignment in after.items()}
            yield Row(slot, payloads.ASSIGNED.encode(assigned))

    def _listed(self, now_ms: int) -> dict[str, list[Shard]] | None:
        if self._asked is None or not self._asked.done():
            return None
        asked, self._asked = self._asked, None
        try:
            listed = asked.result()
        except Throttled:
            return None
        except Unavailable:
            self._failures += 1
            if self._failures > _PATIENCE:
                raise
            return None
        self._failures = 0
        return listed


def _list(streams: Mapping[str, ShardStream]) -> dict[str, list[Shard]]:
    return {name: stream.shards() for name, stream in streams.items()}


class ReadShards(KeyedProcessFunction):
    """Rows of _SLOT_ROW in, events out: each key is a slot, read whenever its timer fires, a little each time.

    Timers rather than ticks, as a tick that waits behind others would hold a checkpoint up: of a timer there is one.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = tuple(sources)
        self._meters = Meters("records", "losses", "behind_ms")

    def open(self, runtime_context: RuntimeContext) -> None:
        """Open the state, the clients and the threads."""
        self._state: ValueState = runtime_context.get_state(
            ValueStateDescriptor("readings", Types.PICKLED_BYTE_ARRAY())
        )
        self._streams = opened(self._sources)
        self._threads = ThreadPoolExecutor(_READERS, "read-shards")
        self._readers: dict[str, SlotReader] = {}
        self._timers: dict[str, int] = {}
        self._row = _rows(self._streams)
        self._meters.open(runtime_context.get_metrics_group())

    def close(self) -> None:
        """Let the threads go; what they still bring is read again."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        """One row of _SLOT_ROW in; nothing out."""
        slot, assigned = value
        reader = self._reader(slot)
        reader.hear(payloads.ASSIGNED.decode(assigned))
        self._state.update(readings_to_bytes(reader.readings))
        if slot not in self._timers:
            self._wake(slot, ctx.timer_service().current_processing_time(), ctx)
        yield from ()

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Any]:
        """Rows of READ and LOST_ROWS out."""
        slot = ctx.get_current_key()
        # one that was restored comes beside the first of this run
        if self._timers.get(slot, timestamp) != timestamp:
            return
        reader = self._reader(slot)
        now_ms = time_ns() // 1_000_000
        step = reader.step(now_ms, _AT_ONCE)
        if step.changed:
            self._state.update(readings_to_bytes(reader.readings))
        self._wake(slot, now_ms + step.wait_ms, ctx)
        for loss in step.lost:
            self._meters.count("losses")
            yield _LOST, _lost(loss)
        self._meters.count("records", len(step.emitted))
        self._meters.hold("behind_ms", self._behind_ms())
        for emitted in step.emitted:
            yield self._row(emitted, step.watermark_ms)

    def _reader(self, slot: str) -> SlotReader:
        if slot not in self._readers:
            raw = self._state.value()
            readings = {} if raw is None else readings_from_bytes(raw)
            self._readers[slot] = SlotReader(self._streams, readings, self._threads)
        return self._readers[slot]

    def _wake(self, slot: str, at_ms: int, ctx: KeyedProcessFunction.Context) -> None:
        # never the same again: a timer at a time that has one is none of its own
        self._timers[slot] = max(at_ms, self._timers.get(slot, 0) + 1)
        ctx.timer_service().register_processing_time_timer(self._timers[slot])

    def _behind_ms(self) -> int:
        return max((reader.behind_ms for reader in self._readers.values()), default=0)


def _rows(streams: Mapping[str, ShardStream]) -> Any:
    """Makes a row of READ; headers tell sequence number and shard, as `core.formats.arrival` names them."""
    topics = {name: stream.name for name, stream in streams.items()}
    feeds = {name: stream.feed for name, stream in streams.items()}
    partitions: dict[str, int] = {}

    def row(emitted: Emitted, watermark_ms: int) -> Row:
        record, shard = emitted.record, emitted.shard
        feed = feeds[emitted.stream]
        if shard not in partitions:
            partitions[shard] = partition(shard)
        headers = {f"{feed}.sequence-number": record.number.encode(), f"{feed}.shard": shard.encode()}
        if record.sub is not None:
            headers[KINESIS_SUBSEQUENCE] = b"%d" % record.sub
        return Row(
            record.key, record.value, topics[emitted.stream], partitions[shard], record.arrived_ms, headers,
            record.arrived_ms, watermark_ms,
        )  # fmt: skip

    return row


def partition(shard: str) -> int:
    """A number for a shard: that of its id in Kinesis, else one that hardly any other shard has."""
    number = shard.rpartition("-")[2]
    if shard.count("-") == 1 and number.isdecimal() and int(number) < 1 << 31:
        return int(number)
    return crc32(shard.encode()) & 0x7FFFFFFF


def _lost(loss: Lost) -> Row:
    return Row(loss.stream, loss.shard, loss.after, loss.oldest, loss.reason)
