"""The law of the shard reader, over histories of any kind."""

from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from core.shards.log import Record
from tests.shards import DAY_MS, FakeStream, Job


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
    actions = [
        *["put", "poll"] * 4,
        "split",
        "merge",
        "merge",
        "rush",
        "list",
        "throttle",
        "expire",
        "checkpoint",
        "crash",
    ]
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
        elif action == "rush":
            slot = data.draw(st.sampled_from(reading.slots))
            reading.list()
            for _ in range(20):
                reading.poll(slot, 100)
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
