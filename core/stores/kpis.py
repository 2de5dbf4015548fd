"""What a store of KPIs is asked: rows of a table, each by its key, in the order in which they changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import msgspec

from core.plans import Outcome

Value = str | int | float | bool | None


class ColumnType(StrEnum):
    """What a column of a KPI holds. A number of DECIMAL and a TIME, a date or a TIMESTAMP of UTC come as their text."""

    TEXT = "text"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    BIGINT = "bigint"
    DOUBLE = "double"
    DECIMAL = "decimal"
    TIMESTAMP = "timestamp"
    DATE = "date"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class KpiTable:
    """A KPI's rows: its columns in their order, and those that tell its rows apart."""

    name: str
    columns: Mapping[str, ColumnType]
    key: tuple[str, ...]

    @property
    def key_places(self) -> tuple[int, ...]:
        """Where the key's columns stand among all."""
        names = list(self.columns)
        return tuple(names.index(each) for each in self.key)


class KpiChange(msgspec.Struct, frozen=True, array_like=True):
    """A row of a KPI as it is from now on, or its last state where it is `gone`: a value a column."""

    kpi: str
    values: tuple[Value, ...]
    gone: bool


def key_of(table: KpiTable, change: KpiChange) -> tuple[Value, ...]:
    """What tells the row apart."""
    return tuple(change.values[at] for at in table.key_places)


def row_name(table: KpiTable, change: KpiChange) -> str:
    """A row as outcomes and dead letters name it: its KPI and its key."""
    return f"{change.kpi}/{'/'.join(map(str, key_of(table, change)))}"


def last_of(tables: Mapping[str, KpiTable], changes: Iterable[KpiChange]) -> list[KpiChange]:
    """Of each row the last change: to follow these alone equals following all of them, one after the other."""
    places = {name: table.key_places for name, table in tables.items()}
    last: dict[tuple[str, tuple[Value, ...]], KpiChange] = {}
    for each in changes:
        last[each.kpi, tuple(each.values[at] for at in places[each.kpi])] = each
    return list(last.values())


class KpiStore(Protocol):
    """A place of KPIs' rows. Not for several threads.

    place  what of it holds them, as in `tables feedback_…`
    """

    @property
    def place(self) -> str:
        """See the class."""
        ...

    def prepare(self) -> None:
        """Make the tables that aren't there.

        Raises Unavailable where the server doesn't answer, ConfigError where a table has other columns, is another
        pipeline's, or the user may not make one.
        """
        ...

    def look(self) -> bool:
        """Whether all tables are there. Raises as `prepare`; makes nothing."""
        ...

    def empty(self) -> None:
        """Take all rows out of the tables that are there, for who counts them anew. Raises as `prepare`.

        What a table's columns are doesn't matter.
        """
        ...

    def apply(self, changes: Sequence[KpiChange]) -> list[Outcome]:
        """Follow changes in their order, all or none of a batch; those that can't be stored alone are rejected.

        Can be repeated. Waits for a server that is away; raises Unavailable where it stays away.
        """
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...
