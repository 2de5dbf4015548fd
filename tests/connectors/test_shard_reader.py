"""The reader over streams that split, merge, trim, throttle and forget, and readers that crash."""

from __future__ import annotations

from itertools import pairwise

import pytest

from core.errors import Unavailable
from core.shards.log import Lost, Record
from tests.shards import DAY_MS, FakeStream, job


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


def test_a_slot_that_reads_a_merged_shard_reads_first_what_the_other_slot_has_not() -> None:
    stream = FakeStream()
    (right,) = [shard for shard in stream.open() if shard.low]
    put = [stream.put(key, key) for key in "stuvwxyz"]
    reading = job(stream, slots=2)
    stream.split(right)
    put += [stream.put(key, key.upper()) for key in "stuvwxyz"]
    stream.merge(*stream.open()[:2])
    put += [stream.put(key, f"{key}{key}") for key in "stuvwxyz"]
    for _ in range(50):
        reading.list()
        reading.poll("a", 100)
    values = reading.values()
    merged = {record.value.decode() for record in stream.all["shardId-000000000004"].records}
    assert merged & {f"{key}{key}" for key in "stuvwxyz"} <= set(values)
    for value in merged:
        assert values.index(value[0]) < values.index(value[0].upper()) < values.index(value)


def test_a_shard_made_while_the_job_was_away_and_begun_too_late_is_reported() -> None:
    stream = FakeStream()
    reading = job(stream)
    reading.drain()
    reading.checkpoint()
    stream.now_ms += 1000
    for shard in stream.open():
        stream.split(shard)
    stream.put("x", "0")
    stream.now_ms += DAY_MS - 500
    reading.crash()
    reading.list()
    stream.now_ms += 1000
    stream.put("x", "1")
    stream.trim()
    reading.drain()
    assert "0" not in reading.values()
    (shard,) = [shard for shard in stream.open() if shard.records]
    assert [lost.after for lost in reading.lost if lost.shard == shard.id] == [""]


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
def test_records_that_were_let_go_are_reported(strict: bool) -> None:
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


def test_records_that_go_while_a_reader_is_far_behind_are_reported() -> None:
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


def test_a_shard_that_went_with_what_it_had_is_reported_once_a_listing_says_so() -> None:
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


def test_a_reader_that_slept_for_longer_than_anything_is_kept_says_what_it_may_have_missed() -> None:
    stream = FakeStream()
    stream.put("x", "0")
    reading = job(stream)
    reading.drain()
    stream.put("x", "1")
    stream.now_ms += DAY_MS + 1
    stream.trim()
    stream.put("x", "2")
    reading.drain()
    assert reading.values() == ["0", "2"]
    # of the other shard it can't know either
    assert sorted(loss.after for loss in reading.lost) == ["", reading.seen[0][1].record.number]
