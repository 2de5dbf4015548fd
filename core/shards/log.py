"""Streams made of shards (Kinesis, DynamoDB Streams): what their clients answer, and how they fail.

`core.shards.slots` says who reads which shard, `core.shards.reading` what a reader remembers of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from core.errors import FreshetError

Begin = Literal["LATEST", "TRIM_HORIZON"] | int
"""Where to begin a stream that was never read: at what comes, at the oldest there is, or at a time (ms since 1970)."""


class ExpiredIterator(FreshetError):
    """The iterator is too old; another one goes on where it stood."""


class Trimmed(FreshetError):
    """The stream no longer has the record that reading should go on from."""


class NoSuchShard(FreshetError):
    """The stream no longer has, or not yet shows, this shard."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard as its stream lists it. `parents` are one (split, roll-over), two (merge) or none, listed or not."""

    id: str
    parents: tuple[str, ...] = ()
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """Where in a shard an iterator begins.

    at        the sequence number of its first record
    since_ms  where `at` is "": the arrival time (ms since 1970) of its first record; 0 is the oldest record there is
    """

    at: str = ""
    since_ms: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `number` is its decimal sequence number, `sub` its place in a KPL aggregate, `arrived_ms` since 1970.

    Numbers grow along a shard, as integers. The records of an aggregate share their number.
    """

    number: str
    key: bytes
    value: bytes
    arrived_ms: int
    sub: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """One answer of a stream.

    last          the greatest sequence number in it, "" where there is none
    iterator      goes on after it; None at the end of a closed shard
    behind_ms     how far its end is from the newest record, where the stream says so
    """

    records: Sequence[Record]
    last: str
    iterator: str | None
    behind_ms: int | None = None


class ShardStream(Protocol):
    """A stream's client: answers and errors are mapped to what stands here. Every method may raise Throttled,
    Unavailable or ConfigError; it is used by several threads at once.
    """

    @property
    def name(self) -> str:
        """What its events' `topic` is: the stream's or the table's name."""

    @property
    def feed(self) -> str:
        """`kinesis` or `dynamodb`: what the names of its events' headers begin with."""

    @property
    def pace_ms(self) -> int:
        """The least time between two reads of one shard."""

    @property
    def retention_ms(self) -> int:
        """How long it keeps a record at least."""

    def shards(self) -> list[Shard]:
        """Every shard that it has now, closed ones too."""

    def iterator(self, shard: str, start: Start) -> str:
        """Raises Trimmed, NoSuchShard. Where a time can't be asked for, earlier records come too."""

    def read(self, iterator: str, limit: int) -> Batch:
        """At most so many records, before aggregates are taken apart. Raises ExpiredIterator, Trimmed, NoSuchShard."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Records that may be gone unread: after number `after` ("": from the first), before `oldest` ("": up to now)."""

    stream: str
    shard: str
    after: str
    oldest: str

    @property
    def reason(self) -> str:
        """What to tell the user, and what to do."""
        since = f"after sequence number {self.after}" if self.after else "from its beginning"
        until = f"before {self.oldest}, the oldest there is now" if self.oldest else "up to now"
        return (
            f"{self.stream}: records of {self.shard} may be lost, {since}, {until}: the stream let them go before they "
            f"were read. Backfill what they changed, and lengthen the stream's retention or read faster"
        )
