"""The reader of one slot's shards, whatever stream they are of: asks in threads, hands on what has come, never waits.

Kinesis and DynamoDB Streams both stand under it, as `core.shards.log.ShardStream`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace

from core.errors import Throttled, Unavailable
from core.shards.log import Batch, ExpiredIterator, Lost, NoSuchShard, Record, ShardStream, Start, Trimmed
from core.shards.reading import Readings, heard, readable, take
from core.shards.slots import Assigned

LIMIT = 5000
"""The most records of one answer, before aggregates are taken apart."""

_LONGEST_BACKOFF_MS = 10_000
_PATIENCE = 8
_NOTED_MS = 60_000
_KEPT_MS = 24 * 3_600_000  # what every stream keeps a record for, at least
_HELD = 16  # answers of up to 10 MB each
_IDLE_MS = 100
_ASKED_MS = 5


@dataclass(slots=True)
class _Cursor:
    """Where the asking for one shard stands; gone with the process, unlike its Reading.

    fetched    the last record's number that came, "" for the reading's own
    searching  the next records come from a new iterator, and must show `fetched`
    asked_ms   when the last answer was asked for
    ready      records to hand on; `ends` where the shard ends after them; `last` the number that is read with them
    whole_ms   of what arrived before this time all has come
    seen_ms    nothing that arrived earlier is still to come, as far as is known
    """

    iterator: str | None = None
    fetched: str = ""
    searching: bool = True
    from_oldest: bool = False
    asked: Future[Batch] | None = None
    asked_ms: int = 0
    ready: deque[Record] | None = None
    last: str = ""
    ends: bool = False
    not_before_ms: int = 0
    failures: int = 0
    unavailable: int = 0
    behind_ms: int = 0
    whole_ms: int = 0
    seen_ms: int = 0


@dataclass(frozen=True, slots=True)
class Emitted:
    """One record handed on, with where it came from."""

    stream: str
    shard: str
    record: Record


@dataclass(slots=True)
class Step:
    """What one step brought.

    watermark_ms  no record still to come is known to have arrived earlier, of any shard that is read
    wait_ms       when the next step is worth its while
    changed       whether the readings differ from those before
    """

    emitted: list[Emitted] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    watermark_ms: int = 0
    wait_ms: int = _IDLE_MS
    changed: bool = False


class SlotReader:
    """Reads the shards of one slot. `readings` are what must be kept, and are right between any two calls.

    `step` raises Unavailable when a stream hasn't answered several times running, and ConfigError where it refuses.
    """

    def __init__(
        self,
        streams: Mapping[str, ShardStream],
        readings: Readings,
        executor: Executor,
        limit: int = LIMIT,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.readings = readings
        self._streams = streams
        self._executor = executor
        self._limit = limit
        self._chance = chance
        self._cursors: dict[tuple[str, str], _Cursor] = {}
        self._turn = 0

    def hear(self, assigned: Mapping[str, list[Assigned]]) -> None:
        """Take in what the last listing has for this slot."""
        self.readings = heard(self.readings, assigned)
        there = {(stream, shard) for stream, shards in self.readings.items() for shard in shards}
        for key in [key for key in self._cursors if key not in there]:
            del self._cursors[key]

    def step(self, now_ms: int, budget: int) -> Step:
        """Ask what is due, take what came, and hand on at most some `budget` records."""
        step = Step()
        keys = [(name, shard) for name in self._streams for shard in readable(self.readings.get(name, {}))]
        if not keys:
            return step
        self._turn += 1
        turn = self._turn % len(keys)
        keys = [*keys[turn:], *keys[:turn]]
        for key in keys:
            self._collect(key, now_ms, step)
        for key in keys:
            self._ask(key, now_ms)
        step.watermark_ms = min(self._cursors[key].seen_ms for key in keys)
        for key in keys:
            self._hand_on(key, step, budget)
        step.wait_ms = self._wait(keys, now_ms)
        return step

    @property
    def behind_ms(self) -> int:
        """How far the slowest shard is behind its newest record, by what the streams said last."""
        return max((cursor.behind_ms for cursor in self._cursors.values()), default=0)

    def _ask(self, key: tuple[str, str], now_ms: int) -> None:
        cursor, stream = self._cursors[key], self._streams[key[0]]
        # an answer that waits to be handed on and another one on its way are all that is held of a shard
        if cursor.asked is not None or cursor.ends or now_ms < cursor.not_before_ms:
            return
        if sum((each.asked is not None) + (each.ready is not None) for each in self._cursors.values()) >= _HELD:
            return
        reading = self.readings[key[0]][key[1]]
        if now_ms - cursor.asked_ms >= _KEPT_MS:
            # what came since may have gone, and an iterator of then would pass over it
            cursor.iterator, cursor.searching = None, True
        after = "" if cursor.from_oldest else cursor.fetched or reading.after
        begin = Start(at=after) if after else Start(since_ms=0 if cursor.from_oldest else reading.since_ms)
        cursor.asked = self._executor.submit(_fetch, stream, key[1], cursor.iterator, begin, self._limit)
        cursor.asked_ms = now_ms
        cursor.not_before_ms = now_ms + stream.pace_ms

    def _collect(self, key: tuple[str, str], now_ms: int, step: Step) -> None:
        cursor = self._cursors.setdefault(key, _Cursor())
        if cursor.asked is None or not cursor.asked.done() or cursor.ready is not None:
            return
        asked, cursor.asked = cursor.asked, None
        try:
            batch = asked.result()
        except ExpiredIterator:
            self._begin_again(cursor, now_ms, from_oldest=cursor.from_oldest)
        except Trimmed:
            self._begin_again(cursor, now_ms, from_oldest=True)
        except NoSuchShard:
            self._gone(key, now_ms, step)
        except Throttled:
            self._back_off(cursor, now_ms)
        except Unavailable:
            cursor.unavailable += 1
            if cursor.unavailable > _PATIENCE:
                raise
            self._back_off(cursor, now_ms)
        else:
            cursor.failures = cursor.unavailable = 0
            self._take(key, batch, now_ms, step)

    def _take(self, key: tuple[str, str], batch: Batch, now_ms: int, step: Step) -> None:
        cursor, reading = self._cursors[key], self.readings[key[0]][key[1]]
        after = cursor.fetched or reading.after
        cursor.iterator, cursor.ends, cursor.behind_ms = batch.iterator, batch.iterator is None, batch.behind_ms or 0
        records = batch.records
        if records:
            taken = take(after, reading.since_ms, records, cursor.searching)
            begins = records[0].number if cursor.searching and not after else None
            self._report(key, after, taken.oldest or begins, step)
            cursor.searching, cursor.from_oldest = taken.searching, taken.searching and cursor.from_oldest
            records = taken.records
            if not taken.searching:
                cursor.fetched, cursor.whole_ms = batch.last, batch.records[-1].arrived_ms
                if not cursor.ends and now_ms - cursor.whole_ms > self._streams[key[0]].retention_ms // 2:
                    # so far behind that records may go under our hands: one that comes twice shows that none did
                    cursor.iterator, cursor.searching = None, True
        elif cursor.ends or not batch.behind_ms:
            if cursor.searching:
                self._report(key, after, "", step)
            # what arrived since it was asked for, long ago perhaps, the answer doesn't show
            cursor.seen_ms = cursor.whole_ms = cursor.asked_ms
        cursor.ready, cursor.last = deque(records), cursor.fetched

    def _report(self, key: tuple[str, str], after: str, oldest: str | None, step: Step) -> None:
        # what arrived since all was read is still there, unless that is longer ago than anything is kept
        cursor = self._cursors[key]
        whole_ms = max(self.readings[key[0]][key[1]].whole_ms, cursor.whole_ms)
        if oldest is not None and cursor.asked_ms - whole_ms >= self._streams[key[0]].retention_ms:
            step.lost.append(Lost(*key, after, oldest))

    def _hand_on(self, key: tuple[str, str], step: Step, budget: int) -> None:
        cursor, reading = self._cursors[key], self.readings[key[0]][key[1]]
        ready = cursor.ready
        if ready is None:
            return
        number = ""
        # an aggregate goes out whole, as it is read whole or not at all
        while ready and (len(step.emitted) < budget or ready[0].number == number):
            record = ready.popleft()
            number = record.number
            cursor.seen_ms = record.arrived_ms
            step.emitted.append(Emitted(key[0], key[1], record))
        if ready:
            after = replace(reading, after=number, since_ms=0, whole_ms=cursor.seen_ms) if number else reading
        else:
            cursor.ready = None
            since_ms = 0 if number else reading.since_ms
            late = number or cursor.ends or cursor.whole_ms - reading.whole_ms > _NOTED_MS
            whole_ms = cursor.whole_ms if late else reading.whole_ms
            last = cursor.last or reading.after
            after = replace(reading, after=last, since_ms=since_ms, whole_ms=whole_ms, finished=cursor.ends)
        if after != reading:
            self.readings[key[0]][key[1]] = after
            step.changed = True
        if after.finished:
            del self._cursors[key]

    def _begin_again(self, cursor: _Cursor, now_ms: int, from_oldest: bool) -> None:
        cursor.iterator, cursor.searching, cursor.from_oldest = None, True, from_oldest
        self._back_off(cursor, now_ms)

    def _gone(self, key: tuple[str, str], now_ms: int, step: Step) -> None:
        cursor, reading = self._cursors[key], self.readings[key[0]][key[1]]
        if reading.listed:
            # not believed until a listing says so too: the whole stream may be gone, which the listing tells
            self._begin_again(cursor, now_ms, cursor.from_oldest)
            return
        step.lost.append(Lost(*key, cursor.fetched or reading.after, ""))
        cursor.ready, cursor.last, cursor.ends = deque(), cursor.fetched, True

    def _back_off(self, cursor: _Cursor, now_ms: int) -> None:
        longest = min(_LONGEST_BACKOFF_MS, 200 << min(cursor.failures, 10))
        cursor.failures += 1
        cursor.not_before_ms = now_ms + int(longest * (0.5 + self._chance() / 2))

    def _wait(self, keys: list[tuple[str, str]], now_ms: int) -> int:
        cursors = [self._cursors[key] for key in keys if key in self._cursors]
        if len(cursors) < len(keys) or any(cursor.ready is not None for cursor in cursors):
            return 0
        if any(cursor.asked is not None for cursor in cursors):
            return _ASKED_MS
        return max(0, min(_IDLE_MS, *(cursor.not_before_ms - now_ms for cursor in cursors)))


def _fetch(stream: ShardStream, shard: str, iterator: str | None, begin: Start, limit: int) -> Batch:
    return stream.read(iterator or stream.iterator(shard, begin), limit)
