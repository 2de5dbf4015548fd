"""How far a job is: what it has applied of each partition of its source, and what follows of that for a whole index.

A place is where a source's log stands, as text that compares across all of its tables, keys and partitions: all that
was committed before it is applied. PostgreSQL's is an LSN, MySQL's a file of the binlog and a place in it. Feeds whose
positions order the changes of one key alone have none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

STALE_S = 10.0
"""After so long a silence no job is taken to write any more; one that runs writes every second."""

SLACK_MS = 30_000
"""How much later than an event what was sent before it may have been written to other partitions."""

_KEPT = 64
_MOST_UNFINISHED = 1_000


class Reached(msgspec.Struct, frozen=True, array_like=True):
    """What is applied of one partition.

    offset        of the last event that counts
    place         before which all that was committed is there; "" where nobody knows
    committed_ms  when the last of that was committed, in ms since 1970; None where nobody knows
    """

    offset: int
    place: str = ""
    committed_ms: int | None = None


def later(known: Reached | None, new: Reached) -> Reached:
    """What is applied by two accounts of one partition: what a restarted connector repeats takes nothing back."""
    if known is None:
        return new
    place, committed_ms = max((known.place, known.committed_ms), (new.place, new.committed_ms), key=_order)
    return Reached(max(known.offset, new.offset), place, committed_ms)


def _order(stand: tuple[str, int | None]) -> tuple[str, int]:
    return stand[0], -1 if stand[1] is None else stand[1]


class Progress(msgspec.Struct, frozen=True):
    """What a run says of itself in a store.

    epoch       of the run, as its owner's
    written_ms  when it said so, by its machine's clock
    reached     by partition, as in `topic/3`
    unknown     partitions of which this run can say nothing yet
    """

    epoch: int
    written_ms: int
    reached: Mapping[str, Reached] = {}
    unknown: tuple[str, ...] = ()


_to_text = msgspec.json.Encoder().encode
_from_text = msgspec.json.Decoder(Progress).decode


def progress_to_text(progress: Progress) -> str:
    """As a store keeps it."""
    return _to_text(progress).decode()


def progress_from_text(text: str) -> Progress | None:
    """What a store has kept; None where another release wrote it, in a form that this one doesn't read."""
    try:
        return _from_text(text)
    except msgspec.DecodeError:
        return None


@dataclass(frozen=True, slots=True)
class Standing:
    """How fresh an index is.

    place         before which all that was committed is there; "" where nobody can tell
    committed_ms  the same as a time; None where nobody can tell
    lag_ms        between that and now
    stale_ms      since when no job writes; None while one does, and 0 where none ever said so
    """

    place: str = ""
    committed_ms: int | None = None
    lag_ms: int | None = None
    stale_ms: int | None = 0


def standing(progress: Progress | None, now_ms: int) -> Standing:
    """The least of what a store's job has reached."""
    if progress is None:
        return Standing()
    stale_ms = None if now_ms - progress.written_ms <= STALE_S * 1000 else progress.written_ms
    if progress.unknown or not progress.reached:
        return Standing(stale_ms=stale_ms)
    times = [each.committed_ms for each in progress.reached.values() if each.committed_ms is not None]
    committed_ms = min(times) if len(times) == len(progress.reached) else None
    lag_ms = None if committed_ms is None else max(0, now_ms - committed_ms)
    return Standing(min(each.place for each in progress.reached.values()), committed_ms, lag_ms, stale_ms)


class Passed:
    """Marks that are under way, in several copies each: what is before one is applied once all its copies have come."""

    def __init__(self) -> None:
        self._ways: dict[tuple[str, int], set[str]] = {}

    def take(self, by: str, number: int, way: str, ways: int) -> bool:
        """Whether all before a mark has passed with this copy of it.

        by, number  whose mark it is, and which of theirs
        way, ways   which copy, and of how many
        """
        come = self._ways.setdefault((by, number), set())
        come.add(way)
        if len(come) < ways:
            # what was held back, or is of an earlier start, never becomes whole
            while len(self._ways) > _MOST_UNFINISHED:
                del self._ways[next(iter(self._ways))]
            return False
        for earlier in [each for each in self._ways if each[0] == by and each[1] <= number]:
            del self._ways[earlier]
        return True


class Reckoning:
    """What is known of a source's partitions together, over time.

    A partition in which nothing comes says nothing of how far it is. But one that was applied to its end has, SLACK_MS
    before that was looked at, been as far as any other of its topic: what those said by then holds for it too. Topics
    may be of several connectors, one of which is away, so none speaks for another.
    """

    def __init__(self, reached: Mapping[str, Reached]) -> None:
        """`reached`: what the run has applied already, before it went back to a checkpoint."""
        self._reached = dict(reached)
        self._seen: dict[str, deque[tuple[int, Reached]]] = {}

    def hear(self, applied: Mapping[str, Reached], now_ms: int) -> None:
        """So much of these partitions is applied by now."""
        for name, each in applied.items():
            self._reached[name] = later(self._reached.get(name), each)
            seen = self._seen.setdefault(_topic(name), deque(maxlen=_KEPT))
            if not seen or now_ms - seen[-1][0] >= 2 * SLACK_MS // _KEPT:
                seen.append((now_ms, later(seen[-1][1] if seen else None, self._reached[name])))

    def look(self, after: Mapping[str, int], asked_ms: int) -> None:
        """So the partitions ended when that was asked: the offset after the last event of each, 0 where none ever was.

        None may be left out.
        """
        for name, end in after.items():
            known = self._reached.get(name)
            before = [each for at, each in self._seen.get(_topic(name), ()) if at <= asked_ms - SLACK_MS]
            offset = -1 if known is None else known.offset
            if before and offset >= end - 1:
                self._reached[name] = later(known, Reached(offset, before[-1].place, before[-1].committed_ms))

    @property
    def reached(self) -> Mapping[str, Reached]:
        """What is applied of each partition of which anything can be said."""
        return dict(self._reached)


def _topic(partition: str) -> str:
    return partition.rpartition("/")[0]
