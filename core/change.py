"""One change of one row or object, whatever feed it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType

Position = NewType("Position", str)
"""Orders the changes of ONE key: later changes compare greater as text. Equal means the same change again.

Across keys positions say nothing. A position is printable ASCII of a width fixed by its feed, so that stores
can compare it too (in Postgres: `COLLATE "C"`).
"""

BEGINNING = Position("")
"""Before every position of every feed."""


_NONE: frozenset[str] = frozenset()


class Operation(StrEnum):
    """What a change does to its key. REFUSED: nobody knows, for it couldn't be read; its key and position could."""

    UPSERT = "upsert"
    DELETE = "delete"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Event:
    """One message as a broker or stream delivered it, before anyone looked inside.

    `key` and `value` are None where the broker had a null (a tombstone has a key and no value).
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Turn:
    """Where the positions of several rows' changes don't compare, as they come by several partitions.

    place  in the log, which orders the changes of different places: what the position begins with
    came   the greater, the later the change came among those of its row at this place
    row    which row it is of
    width  digits of `came` in positions
    """

    place: str
    came: int
    row: str
    width: int

    def position(self, came: int) -> Position:
        """Of a change at this place that came then."""
        return Position(f"{self.place}{came:0{self.width}x}")


@dataclass(frozen=True, slots=True)
class Rare:
    """What few changes have to say: in one field of theirs, as each field takes its time with each change.

    pair         of halves whose positions differ: what they have in common, without blanks. Several key changes of one
                 transaction may share it
    commit       of a deletion that brings its whole old row, and of the new half of a key's change: which transaction
                 it belongs to, where the feed tells
    key_kinds    of feeds whose keys have no type of a column's: a letter a key column, for the kind of JSON value it is
    numbers      columns of `row` whose text is a number's digits, as no float has them all
    turn         where documents go by other columns than the row's key, and only its row's changes have an order
    """

    pair: str = ""
    commit: str = ""
    key_kinds: str = ""
    numbers: frozenset[str] = frozenset()
    turn: Turn | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One row's change.

    table        `schema.table`
    key          column to value, in the order in which the feed gives the key's columns
    row          the row after the change, column to JSON value; for a delete, what the feed still knows of the old row;
                 of a refused one, the columns that could be read
    unavailable  columns of `row` whose value did not travel: the previous value stands
    partial      what `row` lacks may be null or may have a value that did not travel: no previous value stands for it
    doubtful     columns of `row` that arrived as null, which for their type may mean that the value did not travel:
                 where a previous value is known it stands, else the null may be true
    moves        the change is half of a primary key's change: the delete of the old key or the creation of the new one.
                 Both halves have the same position, or the same `pair`
    ends_snapshot  the row is the last of its table in a snapshot
    source       the database that the row is of, where feeds of several may carry one table; "" where it isn't known
    snapshot     the row was read in a snapshot
    committed_ms when the source committed it, in milliseconds since 1970; None where the feed doesn't say.
                 For measuring only: never for ordering.
    rare         what most changes have nothing to say of; `pair`, `commit`, `key_kinds`, `numbers` and `turn` read it
    """

    table: str
    key: Mapping[str, Any]
    operation: Operation
    position: Position
    row: Mapping[str, Any] = field(default_factory=dict)
    unavailable: frozenset[str] = frozenset()
    doubtful: frozenset[str] = frozenset()
    partial: bool = False
    moves: bool = False
    ends_snapshot: bool = False
    committed_ms: int | None = None
    source: str = ""
    snapshot: bool = False
    rare: Rare | None = None

    @property
    def pair(self) -> str:
        """What a half of a key's change shares with the other, where their positions differ."""
        return "" if self.rare is None else self.rare.pair

    @property
    def commit(self) -> str:
        """The transaction that a deletion, or a half of a key's change, belongs to."""
        return "" if self.rare is None else self.rare.commit

    @property
    def key_kinds(self) -> str:
        """Of which kinds of JSON values the key is."""
        return "" if self.rare is None else self.rare.key_kinds

    @property
    def numbers(self) -> frozenset[str]:
        """The columns whose text is a number's digits."""
        return _NONE if self.rare is None else self.rare.numbers

    @property
    def turn(self) -> Turn | None:
        """Where its position stands among those of other rows."""
        return None if self.rare is None else self.rare.turn


@dataclass(frozen=True, slots=True)
class Truncate:
    """A whole table's change: every row that was there at `position` is gone.

    Its position compares with those of each of the table's keys. `committed_ms` and `source` as in Change.
    """

    table: str
    position: Position
    committed_ms: int | None = None
    source: str = ""


class Skip(StrEnum):
    """Why an event that is no fault of anyone's carries no change of a row. Skipped events are counted by reason.

    PLACE: a heartbeat that says where the source's log stands, which is heard, and not counted.
    """

    TOMBSTONE = "tombstone"
    HEARTBEAT = "heartbeat"
    PLACE = "place"
    TRANSACTION = "transaction"
    SCHEMA_CHANGE = "schema-change"
    MESSAGE = "message"
    NOTIFICATION = "notification"
    MARKER = "marker"
    OTHER_TABLE = "other-table"
    KIN = "kin-of-a-table"
