"""Streams of shards as Kinesis and DynamoDB keep them, and moto can't: split, merged, and read to their end.

Sources of the rules: Kinesis Data Streams developer guide, "Resharding, scaling, and parallel processing" (a closed
parent takes nothing more, its records stay, and reading it ends) and "Key concepts" (MD5 of the partition key chooses
the shard); DynamoDB developer guide, "DynamoDB Streams": shards roll over and split, and never merge.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

HASHES = 1 << 128
PARTS = 16
"""Shards are cut at these parts of all hashes alone, so that so many keys are enough to have one in each shard."""

_PART = HASHES // PARTS
_MOST_OPEN = 6

JsonObject = dict[str, Any]
"""A record or an answer, as the service sends it."""


@dataclass(slots=True)
class Shard:
    """The keys whose hash is in `low` to `high`, both included."""

    id: str
    low: int
    high: int
    parents: tuple[str, ...] = ()
    closed: bool = False
    records: list[tuple[int, JsonObject]] = field(default_factory=list)

    @property
    def width(self) -> int:
        """How many hashes it has."""
        return self.high - self.low + 1


def place(key: str) -> int:
    """Where a partition key is among the HASHES."""
    return int.from_bytes(hashlib.md5(key.encode(), usedforsecurity=False).digest(), "big")


def spread(name: Callable[[int], str]) -> list[int]:
    """So many numbers from 1 on that each shard there can ever be has the key `name(number)` of one of them."""
    found: dict[int, int] = {}
    for number in itertools.count(1):
        found.setdefault(place(name(number)) * PARTS // HASHES, number)
        if len(found) == PARTS:
            return sorted(found.values())
    raise AssertionError


class Stream:
    """One stream. Not for several threads at once."""

    def __init__(self, shards: int, shard_name: Callable[[int], str]) -> None:
        """Begin with so many shards; `shard_name` gives the id of the nth."""
        self._name = shard_name
        self.shards: dict[str, Shard] = {}
        bounds = [number * PARTS // shards * _PART for number in range(shards + 1)]
        for low, end in itertools.pairwise(bounds):
            self._add(low, end - 1)

    def _add(self, low: int, high: int, *parents: Shard) -> None:
        for parent in parents:
            parent.closed = True
        made = Shard(self._name(len(self.shards)), low, high, tuple(parent.id for parent in parents))
        self.shards[made.id] = made

    def open(self) -> list[Shard]:
        """Those that take records, in the order of their hashes."""
        return sorted((shard for shard in self.shards.values() if not shard.closed), key=lambda shard: shard.low)

    def put(self, key: str, number: int, record: JsonObject) -> Shard:
        """Add a record; numbers must rise."""
        where = place(key)
        (shard,) = (each for each in self.open() if each.low <= where <= each.high)
        shard.records.append((number, record))
        return shard

    def reshard(self, choices: Random, merges: bool) -> str:
        """Split a shard, let one roll over, or merge two where the service does that; what was done."""
        there = self.open()
        wide = [shard for shard in there if shard.width > _PART]
        pairs = list(itertools.pairwise(there)) if merges else []
        only = merges and not pairs
        if wide and len(there) < _MOST_OPEN and (only or choices.random() < 0.5):
            return self._split(choices.choice(wide))
        if pairs:
            return self._merge(*choices.choice(pairs))
        return self._roll(choices.choice(there))

    def _split(self, shard: Shard) -> str:
        middle = shard.low + shard.width // _PART // 2 * _PART
        self._add(shard.low, middle - 1, shard)
        self._add(middle, shard.high, shard)
        return f"{shard.id} split"

    def _merge(self, left: Shard, right: Shard) -> str:
        self._add(left.low, right.high, left, right)
        return f"{left.id} and {right.id} merged"

    def _roll(self, shard: Shard) -> str:
        self._add(shard.low, shard.high, shard)
        return f"{shard.id} rolled over"

    def begin(self, shard: Shard, kind: str, at: int, since: Callable[[JsonObject], bool]) -> int:
        """The place in `shard.records` where an iterator of this kind begins. `since` is of AT_TIMESTAMP."""
        kinds: dict[str, Callable[[tuple[int, JsonObject]], bool]] = {
            "TRIM_HORIZON": lambda record: True,
            "LATEST": lambda record: False,
            "AT_SEQUENCE_NUMBER": lambda record: record[0] >= at,
            "AFTER_SEQUENCE_NUMBER": lambda record: record[0] > at,
            "AT_TIMESTAMP": lambda record: since(record[1]),
        }
        after = kinds[kind]
        return next((n for n, record in enumerate(shard.records) if after(record)), len(shard.records))

    def read(self, shard: Shard, begin: int, limit: int) -> tuple[list[JsonObject], int, bool]:
        """The records from a place on, the place behind them, and whether the shard ends there."""
        records = [record for _, record in shard.records[begin : begin + limit]]
        end = begin + len(records)
        return records, end, shard.closed and end == len(shard.records)

    def all(self) -> Iterator[tuple[str, int, JsonObject]]:
        """Every record, with its shard and number, in the order of numbers."""
        found = ((shard.id, number, record) for shard in self.shards.values() for number, record in shard.records)
        return iter(sorted(found, key=lambda each: each[1]))
