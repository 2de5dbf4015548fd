"""A stream of shards that does what moto's can't (split, merge, trim, throttle, forget), and a job without Flink."""

from __future__ import annotations

import zlib
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

from connectors.shards.reader import Emitted, SlotReader
from core.errors import Throttled
from core.shards.log import Batch, Begin, ExpiredIterator, Lost, NoSuchShard, Record, Shard, Start, Trimmed
from core.shards.reading import Readings, readings_from_bytes, readings_to_bytes
from core.shards.slots import Assignment, assign, assignments_from_bytes, assignments_to_bytes, of_slot, slots_in

KEYS = 1 << 8
DAY_MS = 86_400_000


@dataclass
class FakeShard:
    """The keys whose hash lies in `low` to `high`. `gone` records of its beginning are trimmed."""

    id: str
    low: int
    high: int
    parents: tuple[str, ...] = ()
    closed: bool = False
    records: list[Record] = field(default_factory=list)
    gone: int = 0
    closed_ms: int = 0


@dataclass
class FakeStream:
    """`strict` refuses to begin at a trimmed record, as DynamoDB Streams does; Kinesis begins at what is there."""

    name: str = "orders"
    feed: str = "kinesis"
    pace_ms: int = 0
    strict: bool = False
    now_ms: int = 10**12
    retention_ms: int = DAY_MS
    throttled: int = 0
    hidden: set[str] = field(default_factory=set)
    reads: list[tuple[str, int]] = field(default_factory=list)
    all: dict[str, FakeShard] = field(default_factory=dict)
    epoch: int = 0
    _number: int = 10**30

    def __post_init__(self) -> None:
        if not self.all:
            self.add(0, KEYS // 2 - 1)
            self.add(KEYS // 2, KEYS - 1)

    def add(self, low: int, high: int, *parents: str) -> FakeShard:
        shard = FakeShard(f"shardId-{len(self.all):012d}", low, high, parents)
        self.all[shard.id] = shard
        return shard

    def open(self) -> list[FakeShard]:
        return [shard for shard in self.all.values() if not shard.closed]

    def put(self, key: str, value: str, sub: int | None = None) -> Record:
        where = zlib.crc32(key.encode()) % KEYS
        (shard,) = [each for each in self.open() if each.low <= where <= each.high]
        self._number += 10**12 + len(value)
        record = Record(str(self._number), key.encode(), value.encode(), self.now_ms, sub)
        shard.records.append(record)
        return record

    def split(self, shard: FakeShard) -> None:
        middle = (shard.low + shard.high) // 2
        self._close(shard)
        self.add(shard.low, middle, shard.id)
        self.add(middle + 1, shard.high, shard.id)

    def merge(self, left: FakeShard, right: FakeShard) -> None:
        assert left.high + 1 == right.low
        self._close(left)
        self._close(right)
        self.add(left.low, right.high, left.id, right.id)

    def trim(self) -> None:
        """Let go what is older than the retention; a shard that was closed so long ago goes too."""
        oldest_ms = self.now_ms - self.retention_ms
        for shard in self.all.values():
            shard.gone = sum(record.arrived_ms < oldest_ms for record in shard.records)
            if shard.closed and shard.closed_ms < oldest_ms:
                self.hidden.add(shard.id)

    def _close(self, shard: FakeShard) -> None:
        shard.closed, shard.closed_ms = True, self.now_ms

    def expire(self) -> None:
        self.epoch += 1

    def shards(self) -> list[Shard]:
        self._throttle()
        there = [each for each in self.all.values() if each.id not in self.hidden]
        return [Shard(each.id, each.parents, each.closed) for each in there]

    def iterator(self, shard: str, start: Start) -> str:
        self._throttle()
        found = self._found(shard)
        place = found.gone
        if start.at:
            place = next((n for n, each in enumerate(found.records) if each.number == start.at), len(found.records))
            if place < found.gone:
                if self.strict:
                    raise Trimmed(start.at)
                place = found.gone
        elif start.since_ms:
            early = [n for n, each in enumerate(found.records) if each.arrived_ms < start.since_ms]
            place = max(found.gone, early[-1] + 1 if early else 0)
        return f"{shard}:{place}:{self.epoch}"

    def read(self, iterator: str, limit: int) -> Batch:
        self._throttle()
        shard, place, epoch = iterator.split(":")
        found = self._found(shard)
        if int(epoch) != self.epoch:
            raise ExpiredIterator(iterator)
        begin = max(int(place), found.gone)
        self.reads.append((shard, begin))
        records = found.records[begin : begin + limit]
        end = begin + len(records)
        at_end = found.closed and end == len(found.records)
        behind = self.now_ms - records[-1].arrived_ms if records and end < len(found.records) else 0
        last = records[-1].number if records else ""
        return Batch(records, last, None if at_end else f"{shard}:{end}:{epoch}", behind)

    def _found(self, shard: str) -> FakeShard:
        if shard in self.hidden:
            raise NoSuchShard(shard)
        return self.all[shard]

    def _throttle(self) -> None:
        if self.throttled:
            self.throttled -= 1
            raise Throttled("too often")


class AtOnce(Executor):
    """Runs what it is given before it returns, so that a test decides what happens when."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@dataclass
class Job:
    """What the Flink job does, one callback at a time: a lister, a reader for each slot, checkpoints and crashes."""

    stream: FakeStream
    slots: list[str]
    begin: Begin = "TRIM_HORIZON"
    limit: int = 3
    seen: list[tuple[str, Emitted]] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    watermark_ms: int = 0

    def __post_init__(self) -> None:
        self.checkpoint_: tuple[bytes, dict[str, bytes]] = (assignments_to_bytes({}), {})
        self.crash()

    def list(self) -> None:
        try:
            listed = self.stream.shards()
        except Throttled:
            return
        before = self.assignments.get("orders", Assignment())
        found = assign(before, listed, self.slots, self.begin, self.stream.now_ms)
        self.assignments = {"orders": found.assignment}
        self.unseen += found.unseen
        for slot in {*self.slots, *slots_in(self.assignments.values())}:
            self.reader(slot).hear({"orders": of_slot(found.assignment, slot)})

    def reader(self, slot: str) -> SlotReader:
        if slot not in self.readers:
            self.readers[slot] = self._new({})
        return self.readers[slot]

    def _new(self, readings: Readings) -> SlotReader:
        return SlotReader({"orders": self.stream}, readings, AtOnce(), self.limit, lambda: 0.5)

    def poll(self, slot: str, budget: int = 2) -> list[Record]:
        self.stream.now_ms += 20
        step = self.reader(slot).step(self.stream.now_ms, budget)
        self.seen += [(slot, emitted) for emitted in step.emitted]
        self.lost += step.lost
        self.watermark_ms = step.watermark_ms
        return [emitted.record for emitted in step.emitted]

    def checkpoint(self) -> None:
        readings = {slot: readings_to_bytes(reader.readings) for slot, reader in self.readers.items()}
        self.checkpoint_ = (assignments_to_bytes(self.assignments), readings)

    def crash(self) -> None:
        assignments, readings = self.checkpoint_
        self.assignments = assignments_from_bytes(assignments)
        self.readers = {slot: self._new(readings_from_bytes(raw)) for slot, raw in readings.items()}

    def drain(self) -> None:
        """Until everything that is there has been read."""
        self.stream.throttled = 0
        # a shard is known to have ended one round after it has been read, and its children begin behind that
        for _ in range(12 + 2 * len(self.stream.all)):
            self.stream.now_ms += 20_000
            self.list()
            for slot in list(self.readers):
                while self.poll(slot, 1000) or self._due(slot):
                    pass

    def _due(self, slot: str) -> bool:
        cursors = self.readers[slot]._cursors.values()
        return any(cursor.ready is not None for cursor in cursors)

    def values(self) -> list[str]:
        return [emitted.record.value.decode() for _, emitted in self.seen]


def job(stream: FakeStream, begin: Begin = "TRIM_HORIZON", slots: int = 1, limit: int = 3) -> Job:
    started = Job(stream, ["a", "b", "c"][:slots], begin, limit)
    started.list()
    return started
