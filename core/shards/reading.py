"""What a slot's reader remembers of each shard, and what each answer of the stream makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile

import msgspec

from core.shards.log import Record
from core.shards.slots import Assigned

_VERSION = b"\x01"


@dataclass(frozen=True, slots=True)
class Reading:
    """How far one shard is read.

    after     the sequence number of the last record handed on; "" before the first
    since_ms  records that arrived earlier are passed over until one that didn't; 0: none are
    whole_ms  of what arrived before this time (ms since 1970) all is handed on, or was never wanted
    finished  it is closed, and read to its end
    listed    whether its stream listed it the last time
    """

    parents: tuple[str, ...] = ()
    since_ms: int = 0
    after: str = ""
    whole_ms: int = 0
    finished: bool = False
    listed: bool = True


Readings = dict[str, dict[str, Reading]]
"""By stream, then by shard: what one slot reads."""


def heard(before: Readings, assigned: Mapping[str, Iterable[Assigned]]) -> Readings:
    """The readings after a listing. A finished shard is kept for as long as it is among those assigned."""
    return {stream: _heard(before.get(stream, {}), shards) for stream, shards in assigned.items()}


def _heard(before: Mapping[str, Reading], assigned: Iterable[Assigned]) -> dict[str, Reading]:
    after = {name: replace(reading, listed=False) for name, reading in before.items() if not reading.finished}
    for each in assigned:
        known = before.get(each.shard.id)
        if known is not None:
            after[each.shard.id] = replace(known, listed=each.listed)
        elif each.listed:
            after[each.shard.id] = Reading(
                each.shard.parents, each.since_ms, whole_ms=each.made_ms, finished=each.skipped
            )
    return after


def readable(readings: Mapping[str, Reading]) -> list[str]:
    """The shards to read now: those whose parents are all finished, or gone."""
    return [
        name
        for name, reading in readings.items()
        if not reading.finished
        and all(parent not in readings or readings[parent].finished for parent in reading.parents)
    ]


@dataclass(frozen=True, slots=True)
class Taken:
    """What an answer leaves to hand on.

    oldest     the first record's number, where the last one read isn't there any more
    searching  the last record read is still to come
    """

    records: Sequence[Record]
    oldest: str | None = None
    searching: bool = False


def take(after: str, since_ms: int, records: Sequence[Record], searching: bool) -> Taken:
    """The wanted ones of records that aren't empty.

    searching  they come from a new iterator, which was asked to begin at `after` and may have begun earlier (records
               again) or later (records lost)
    """
    oldest = None
    if searching and after:
        last = int(after)
        if int(records[-1].number) < last:
            return Taken((), searching=True)
        if all(record.number != after for record in records):
            oldest = next(record.number for record in records if int(record.number) > last)
        records = list(dropwhile(lambda record: int(record.number) <= last, records))
    if since_ms:
        records = list(dropwhile(lambda record: record.arrived_ms < since_ms, records))
    return Taken(records, oldest)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Readings).decode


def readings_to_bytes(readings: Readings) -> bytes:
    """A slot's readings as Flink keeps them: a version byte, then MessagePack."""
    return _VERSION + _encode(readings)


def readings_from_bytes(raw: bytes) -> Readings:
    """What `readings_to_bytes` wrote. Raises ValueError for a version that this release doesn't know."""
    if raw[:1] != _VERSION:
        raise ValueError(f"position in shards has version {raw[:1].hex() or 'none'}, this release reads 01")
    return _decode(raw[1:])
