"""The reader over streams that split, merge, trim, throttle and forget, and readers that crash."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.shard_reader import Emitted, SlotReader
from core.errors import Unavailable
from core.shard_reading import Readings, readings_from_bytes, readings_to_bytes
from core.shard_slots import Assignment, assign, assignments_from_bytes, assignments_to_bytes, of_slot, slots_in
from core.shards import Begin, Lost, Record, Throttled
from tests.shards import DAY_MS, AtOnce, FakeStream


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
        for _ in range(12):
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


def test_a_record_is_read_once_in_the_order_of_its_shard() -> None:
    stream = FakeStream()
    for number in range(10):
        stream.put("x", str(number))
    reading = job(stream)
    reading.drain()
    assert reading.values() == [str(number) for number in range(10)]


def test_children_wait_for_their_parents() -> None:
    stream = FakeStream()
    for number in range(5):
        stream.put("x", str(number))
    for shard in stream.open():
        stream.split(shard)
    for number in range(5, 8):
        stream.put("x", str(number))
    left, right = stream.open()[:2]
    stream.merge(left, right)
    left, right = stream.open()[:2]
    stream.merge(left, right)
    stream.put("x", "8")
    reading = job(stream, slots=2)
    reading.drain()
    assert list(dict.fromkeys(reading.values())) == [str(number) for number in range(9)]


def test_latest_means_when_the_job_was_first_started_also_after_a_crash() -> None:
    stream = FakeStream()
    stream.put("x", "old")
    stream.now_ms += 1
    reading = job(stream, "LATEST")
    reading.checkpoint()
    stream.now_ms += 2_000
    stream.put("x", "new")
    reading.crash()
    reading.drain()
    assert reading.values() == ["new"]


def test_what_was_closed_before_latest_is_not_asked_for() -> None:
    stream = FakeStream()
    stream.put("x", "old")
    for shard in stream.open():
        stream.split(shard)
    reading = job(stream, "LATEST")
    reading.drain()
    assert {shard for shard, _ in stream.reads} == {shard.id for shard in stream.open()}


def test_a_crash_repeats_only_what_came_since_the_checkpoint() -> None:
    stream = FakeStream()
    for number in range(10):
        stream.put("x", str(number))
    reading = job(stream)
    while len(reading.seen) < 4:
        reading.poll("a", 1)
    reading.checkpoint()
    while len(reading.seen) < 7:
        reading.poll("a", 1)
    reading.crash()
    reading.drain()
    assert reading.values() == [*"0123456", *"456789"]


@pytest.mark.parametrize("strict", [True, False])
def test_records_that_were_let_go_are_told(strict: bool) -> None:
    stream = FakeStream(strict=strict)
    put = [stream.put("x", str(number)) for number in range(4)]
    reading = job(stream)
    while len(reading.seen) < 2:
        reading.poll("a", 1)
    reading.checkpoint()
    stream.now_ms += DAY_MS + 1
    put += [stream.put("x", str(number)) for number in range(4, 6)]
    stream.trim()
    reading.crash()
    reading.drain()
    (shard,) = [shard for shard in stream.open() if shard.records]
    assert Lost("orders", shard.id, put[1].number, put[4].number) in reading.lost
    assert reading.values() == ["0", "1", "4", "5"]


def test_a_shard_that_was_always_read_to_its_end_has_lost_nothing_though_its_last_record_is_gone() -> None:
    stream = FakeStream()
    stream.put("x", "0")
    reading = job(stream)
    reading.drain()
    stream.now_ms += DAY_MS // 2
    reading.drain()
    reading.checkpoint()
    stream.now_ms += DAY_MS // 2
    stream.trim()
    stream.put("x", "1")
    reading.crash()
    reading.drain()
    assert reading.lost == [] and reading.values() == ["0", "1"]


def test_records_that_go_while_a_reader_is_far_behind_are_told() -> None:
    stream = FakeStream()
    for number in range(30):
        stream.put("x", str(number))
        stream.now_ms += DAY_MS // 30
    reading = job(stream)
    while len(reading.seen) < 2:
        reading.poll("a", 1)
    stream.now_ms += DAY_MS // 2
    stream.trim()
    reading.drain()
    assert [lost.after != "" and lost.oldest != "" for lost in reading.lost] == [True]
    assert 2 < len(reading.seen) < 30


def test_a_shard_that_went_with_what_it_had_is_told_once_a_listing_says_so() -> None:
    stream = FakeStream()
    first = stream.put("x", "0")
    reading = job(stream)
    while not reading.seen:
        reading.poll("a")
    stream.put("x", "1")
    (shard,) = [shard for shard in stream.open() if shard.records]
    stream.split(shard)
    stream.now_ms += DAY_MS + 1
    stream.trim()
    reading.checkpoint()
    reading.crash()
    reading.poll("a")
    reading.poll("a")
    assert shard.id not in [lost.shard for lost in reading.lost]
    stream.put("x", "2")
    reading.drain()
    assert Lost("orders", shard.id, first.number, "") in reading.lost
    assert reading.values() == ["0", "2"]


def test_a_whole_stream_that_is_hidden_loses_nothing_once_it_is_there_again() -> None:
    stream = FakeStream()
    stream.put("x", "0")
    reading = job(stream)
    stream.hidden |= stream.all.keys()
    for _ in range(5):
        reading.poll("a")
    stream.hidden.clear()
    reading.drain()
    assert reading.lost == [] and reading.values() == ["0"]


def test_an_expired_iterator_is_renewed_where_it_stood() -> None:
    stream = FakeStream()
    for number in range(4):
        stream.put("x", str(number))
    reading = job(stream)
    while len(reading.seen) < 2:
        reading.poll("a", 1)
    stream.expire()
    reading.drain()
    assert reading.values() == list("0123") and reading.lost == []


def test_a_throttled_shard_is_left_alone_longer_each_time() -> None:
    stream = FakeStream()
    del stream.all["shardId-000000000001"]
    reading = job(stream)
    stream.throttled = 5
    asked: list[int] = []
    while stream.throttled:
        before = stream.throttled
        reading.poll("a")
        if stream.throttled < before:
            asked.append(stream.now_ms)
    waits = [late - early for early, late in pairwise(asked)]
    assert waits == sorted(waits) and waits[0] >= 150 and waits[-1] >= 1200


def test_a_stream_that_stays_away_ends_the_job() -> None:
    class Away(FakeStream):
        def read(self, iterator: str, limit: int) -> object:  # type: ignore[override]
            raise Unavailable("orders doesn't answer")

    reading = job(Away())
    with pytest.raises(Unavailable, match="orders doesn't answer"):
        for _ in range(2000):
            reading.poll("a")


def test_the_watermark_is_that_of_the_slowest_shard() -> None:
    stream = FakeStream(now_ms=5_000)
    assert stream.put("x", "0").arrived_ms == 5_000
    reading = job(stream)
    reading.poll("a")
    assert reading.watermark_ms == 0, "nothing is known of shards that were not read yet"
    reading.poll("a")
    reading.poll("a")
    lagging, current = reading.reader("a")._cursors.values()
    lagging.seen_ms, current.seen_ms = 70, 90
    lagging.not_before_ms = current.not_before_ms = 10**9
    lagging.asked = current.asked = lagging.ready = current.ready = None
    reading.poll("a")
    assert reading.watermark_ms == 70


def test_an_aggregate_is_handed_on_whole() -> None:
    stream = FakeStream()
    del stream.all["shardId-000000000001"]
    (shard,) = stream.open()
    for number in ("10", "11", "12"):
        shard.records += [Record(number, b"k", f"{number}.{sub}".encode(), 1, sub) for sub in range(3)]
    reading = job(stream, limit=100)
    while not reading.poll("a", 1):
        pass
    assert reading.values() == ["10.0", "10.1", "10.2"]


@settings(max_examples=200, deadline=None)
@given(data=st.data(), slots=st.integers(1, 3), strict=st.booleans(), trims=st.booleans())
def test_any_history(data: st.DataObject, slots: int, strict: bool, trims: bool) -> None:
    """Whatever is put, split, merged, polled, throttled, expired, let go, checkpointed and crashed, in whatever order:

    1. every record is handed on, or a report names where it was lost;
    2. of each key, the records are handed on for the first time in the order in which they were put;
    3. without crashes a slot hands a record on once, and with one slot it comes once;
    4. where nothing was let go, nothing is reported.
    """
    stream = FakeStream(strict=strict)
    reading = Job(stream, ["a", "b", "c"][:slots])
    reading.list()
    reading.checkpoint()
    put: dict[str, list[Record]] = defaultdict(list)
    actions = [*["put", "poll"] * 4, "split", "merge", "list", "throttle", "expire", "checkpoint", "crash"]
    history = data.draw(st.lists(st.sampled_from(actions + ["wait", "wait"] * trims), max_size=60))
    for action in history:
        open_shards = sorted(stream.open(), key=lambda shard: shard.low)
        if action == "put":
            key = data.draw(st.sampled_from("stuvwxyz"))
            put[key].append(stream.put(key, f"{key}{len(put[key])}"))
            stream.now_ms += 1
        elif action == "split" and len(stream.all) < 16:
            stream.split(data.draw(st.sampled_from([shard for shard in open_shards if shard.low < shard.high])))
        elif action == "merge" and len(open_shards) > 1:
            left = data.draw(st.integers(0, len(open_shards) - 2))
            stream.merge(open_shards[left], open_shards[left + 1])
        elif action == "poll":
            reading.poll(data.draw(st.sampled_from(reading.slots)), data.draw(st.integers(1, 4)))
        elif action == "throttle":
            stream.throttled += data.draw(st.integers(1, 3))
        elif action == "wait":
            stream.now_ms += data.draw(st.sampled_from([DAY_MS // 3, DAY_MS + 1]))
            stream.trim()
        elif action in ("list", "expire", "checkpoint", "crash"):
            {"list": reading.list, "expire": stream.expire, "checkpoint": reading.checkpoint, "crash": reading.crash}[
                action
            ]()
    reading.drain()
    _check_order(reading, put)
    missing = _missing(reading, stream)
    assert [record for shard, record in missing if not _reported(reading, stream, shard, record)] == []
    if "wait" not in history:
        assert missing == [] and reading.lost == [] and reading.unseen == []
    if "crash" not in history:
        times = Counter((slot, emitted.record.number) for slot, emitted in reading.seen)
        assert set(times.values()) <= {1}


def _check_order(reading: Job, put: dict[str, list[Record]]) -> None:
    for key, records in put.items():
        seen = [each.record.number for _, each in reading.seen if each.record.key.decode() == key]
        first = list(dict.fromkeys(seen))
        assert first == [record.number for record in records if record.number in first]


def _missing(reading: Job, stream: FakeStream) -> list[tuple[str, Record]]:
    seen = {emitted.record.number for _, emitted in reading.seen}
    records = [(shard.id, record) for shard in stream.all.values() for record in shard.records]
    return [(shard, record) for shard, record in records if record.number not in seen]


def _reported(reading: Job, stream: FakeStream, shard: str, record: Record) -> bool:
    def before_unseen(name: str) -> bool:
        children = [each.id for each in stream.all.values() if name in each.parents]
        return name in reading.unseen or any(before_unseen(child) for child in children)

    number = int(record.number)
    covered = [
        int(lost.after or 0) < number < int(lost.oldest or 10**99) for lost in reading.lost if lost.shard == shard
    ]
    return any(covered) or before_unseen(shard)
