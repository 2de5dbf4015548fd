"""A stream followed: all of its shards from their oldest records on, parents before their children, to their ends.

Sources of the rules: Kinesis Data Streams API reference, "GetRecords" (MillisBehindLatest; five reads a second and 2 MB
a second of a shard) and "GetShardIterator" (an iterator lives five minutes); developer guide, "Resharding".
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from connectors import patience
from connectors.kinesis.streams import KinesisStream
from connectors.patience import Answer
from core.errors import Throttled, Unavailable
from core.shards.log import Batch, ExpiredIterator, NoSuchShard, Record, Shard, Start, Trimmed
from core.stores.staged import Place

_AT_ONCE = 5_000
_MINUTE_MS = 60_000
_BUSY_S = 60.0
_SHARD = "shardId-"
NOTHING: Mapping[str, int] = {}


@dataclass(slots=True)
class _Cursor:
    """Where reading stands in a shard.

    iterator  goes on after `last`; None: it must be asked for
    last      the number of the record that was read last, "" for none
    behind    whether there was more when it was asked last
    asked_s   when it was asked last
    times     arrivals (ms since 1970) of some records that were read, a minute apart at least, in order; `numbers` are
              theirs
    """

    shard: Shard
    iterator: str | None = None
    last: str = ""
    behind: bool = True
    ended: bool = False
    asked_s: float = float("-inf")
    times: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def take(self, record: Record) -> None:
        """Note a record as read."""
        self.last = record.number
        if not self.times or record.arrived_ms - self.times[-1] >= _MINUTE_MS:
            self.times.append(record.arrived_ms)
            self.numbers.append(int(record.number))


class Follower:
    """Reads one stream. `pace_s`: the least time between two questions to one shard."""

    def __init__(self, stream: KinesisStream, pace_s: float) -> None:
        self._stream, self._pace_s = stream, pace_s
        self._cursors: dict[int, _Cursor] = {}
        self._stale = True

    def new(self, upto: Mapping[str, int] = NOTHING, wait_s: float = 0.0) -> Iterator[tuple[Place, Record]]:
        """The records that weren't read yet, shard by shard, each with its place; none of an aggregate's.

        A shard that was asked less than the pace ago isn't asked again: what came since would hardly be shown.

        upto    numbers by shard that must be among what was read: of records that the stream has taken
        wait_s  how long it may take until it shows them

        Raises Throttled, Unavailable, ConfigError. What was yielded until then isn't read again.
        """
        began_s = time.monotonic()
        while True:
            unseen = self._unseen(upto)
            self._list(again=any(cursor is None for cursor in unseen.values()))
            open_ = self._open()
            due = [each for each in open_ if each.behind or each.asked_s < began_s - self._pace_s] or (
                open_ if unseen else []
            )
            if not due:
                return
            for cursor in due:
                yield from self._more(cursor)
            if self._unseen(upto) and time.monotonic() - began_s > wait_s and not any(each.behind for each in due):
                raise Unavailable(f"Kinesis stream {self._stream.name} doesn't show what it has taken")

    def _unseen(self, upto: Mapping[str, int]) -> Mapping[str, _Cursor | None]:
        """The shards of which something isn't read that must be."""
        found = {shard: self._cursors.get(number_of(shard)) for shard in upto}
        return {
            shard: cursor
            for shard, cursor in found.items()
            if cursor is None or (not cursor.ended and int(cursor.last or 0) < upto[shard])
        }

    def _list(self, again: bool) -> None:
        if not (self._stale or again):
            return
        for shard in self._calmly(self._stream.shards):
            self._cursors.setdefault(number_of(shard.id), _Cursor(shard))
        self._stale = False

    def _open(self) -> list[_Cursor]:
        """Those that may be read: none whose parents aren't read to their ends, which keeps a key's order."""
        left = {each.shard.id for each in self._cursors.values() if not each.ended}
        return [each for each in self._cursors.values() if not each.ended and left.isdisjoint(each.shard.parents)]

    def _more(self, cursor: _Cursor) -> Iterator[tuple[Place, Record]]:
        try:
            batch = self._asked(cursor, cursor.iterator, Start(at=cursor.last), _AT_ONCE)
        except ExpiredIterator:
            cursor.iterator = None
            return
        except NoSuchShard:
            # the stream itself may be gone, which listing its shards says
            cursor.ended = self._stale = True
            return
        cursor.iterator = None  # who doesn't take all has the rest read again
        for record in batch.records:
            # reading that goes on by a number begins with it
            if record.sub is None and (not cursor.last or int(record.number) > int(cursor.last)):
                cursor.take(record)
                yield (number_of(cursor.shard.id), int(record.number)), record
        cursor.iterator, cursor.behind = batch.iterator, bool(batch.behind_ms)
        if batch.iterator is None:
            cursor.ended = self._stale = True

    def _asked(self, cursor: _Cursor, iterator: str | None, start: Start, most: int) -> Batch:
        shard = cursor.shard.id
        time.sleep(max(0.0, cursor.asked_s + self._pace_s - time.monotonic()))
        cursor.asked_s = time.monotonic()
        if iterator is None:
            try:
                iterator = self._calmly(lambda: self._stream.iterator(shard, start))
            except Trimmed:
                iterator = self._calmly(lambda: self._stream.iterator(shard, Start()))
        there = iterator
        return self._calmly(lambda: self._stream.read(there, most))

    def _calmly(self, call: Callable[[], Answer]) -> Answer:
        """What `call` returns, asked again while the stream is asked too often, by whomever."""
        stop = patience.for_seconds(_BUSY_S)
        return patience.patiently(call, stop, lambda each: isinstance(each, Throttled), of="aws", waits_s=(0.2, 2.0))

    def at(self, place: Place, most: int) -> Iterator[tuple[Place, bytes]]:
        """The record at a place and at most so many in all that follow it, with their data; none where it is gone.

        Raises as `new`.
        """
        number, record = place
        cursor = self._cursors[number]
        try:
            batch = self._asked(cursor, None, Start(at=str(record)), most)
        except (NoSuchShard, ExpiredIterator):
            return
        yield from (((number, int(each.number)), each.value) for each in batch.records)

    def arrived_ms(self, place: Place) -> int:
        """When a record that was read had arrived, in ms since 1970; up to a minute earlier."""
        cursor = self._cursors[place[0]]
        return cursor.times[bisect_right(cursor.numbers, place[1]) - 1]


def number_of(shard: str) -> int:
    """A shard's number, by its id."""
    return int(shard.removeprefix(_SHARD))
