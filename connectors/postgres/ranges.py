"""A table's rows in ranges of its key, each range in a snapshot of its own that is not older than what a topic tells.

So no snapshot is held for as long as a large table takes, and whoever has read up to a key goes on behind it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from connectors.postgres.rows import SETTING, Reselect, raw_of, selected
from connectors.postgres.visibility import visible
from core.errors import ConfigError, Unavailable

_NOW = "SELECT pg_current_snapshot()::text"
_AT_WORK = """
    SELECT transactionid::text FROM pg_locks
    WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted"""
_RELATIONS = """
    SELECT n.nspname || '.' || c.relname, c.relkind = 'p', coalesce(r.nspname || '.' || root.relname, '')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_class root ON root.oid = pg_partition_root(c.oid) AND root.oid <> c.oid
    LEFT JOIN pg_namespace r ON r.oid = root.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%%'
    ORDER BY 1"""
_LOOK_S = 0.01
_PATIENCE_S = 30.0
# What another transaction takes from its commit record to its end is far less, where no standby is waited for.
_ENDING_S = 1.0

Key = tuple[str, ...]
"""A key's values, as PostgreSQL writes them."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table that the database has. `root`: the partitioned table that it is a part of; "" where it is none."""

    name: str
    partitioned: bool
    root: str


def relations(source: Reselect) -> list[Relation]:
    """All tables of the database, partitions among them. Raises as `Reselect.execute` does."""
    return [Relation(*row) for row in source.execute(_RELATIONS)]


def catch_up(source: Reselect, transactions: frozenset[int]) -> None:
    """Wait until whoever reads now sees all that a topic tells, whose last events are of these `transactions`.

    A transaction whose earlier events alone are in the topic, behind others' or on their way, may have committed a
    moment ago as well: so those that are in progress are given a second to end. Who doesn't end then is still at work.
    Raises Unavailable where the source doesn't show the transactions within half a minute.
    """
    deadline = time.monotonic() + _PATIENCE_S
    at_work = _at_work(source)
    while lacking := visible(str(source.execute(_NOW)[0][0])).lacks(transactions):
        if time.monotonic() > deadline:
            raise unseen(source, lacking)
        time.sleep(_LOOK_S)
    deadline = time.monotonic() + _ENDING_S
    while at_work & _at_work(source) and time.monotonic() < deadline:
        time.sleep(_LOOK_S)


def _at_work(source: Reselect) -> frozenset[str]:
    """The transactions that others don't see yet. A standby has none: it shows them in the order of its log."""
    # a snapshot lists those alone that are older than the last one that has ended
    return frozenset(transaction for (transaction,) in source.execute(_AT_WORK))


def unseen(source: Reselect, transactions: frozenset[int]) -> Unavailable:
    """The error of a source that doesn't show what the topic tells."""
    return Unavailable(
        f"{SETTING}: PostgreSQL at {source.server} doesn't show transaction {min(transactions)} yet, and the topic has "
        "events of it: wait for a replica that is behind, or name the database that the connector reads"
    )


@dataclass(frozen=True, slots=True)
class Ranges:
    """How a table is read.

    key           columns that order its rows, best those of its primary key
    columns       that are read, those of the key among them
    transactions  which each snapshot must see, as `catch_up` has seen
    """

    source: Reselect
    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    transactions: frozenset[int] = frozenset()

    def about(self) -> int:
        """About how many rows there are, by the planner's statistics; 0 where it has none."""
        with self.source.snapshot() as snapshot:
            return snapshot.count(self.table)

    def rows(self, after: Key, at_once: Callable[[], int]) -> Iterator[tuple[dict[str, Any], Key]]:
        """Each row behind the key `after` (empty: all), as Debezium's JSON has it, with its key; one in memory.

        Rows whose key has a null are left out: nothing can tell of them. `at_once`: how many the next range has.
        Raises Unavailable or ConfigError as `Reselect.snapshot` does.
        """
        while True:
            count, most, begin = 0, at_once(), after
            for row, key in self._range(begin, most):
                count, after = count + 1, key
                yield row, key
            if count < most:
                return

    def _range(self, after: Key, most: int) -> Iterator[tuple[dict[str, Any], Key]]:
        of, width = self.source.table(self.table), len(self.columns)
        with self.source.snapshot() as snapshot:
            now = visible(str(snapshot.connection.execute(_NOW).fetchall()[0][0]))
            if lacking := now.lacks(self.transactions):
                raise unseen(self.source, lacking)
            # row by row, as nothing else bounds what long rows take
            for values in _streamed(snapshot.connection, self._query(bool(after)), [*after, most]):
                key = tuple(values[width:])
                try:
                    row = raw_of(of, self.columns, values[:width])
                except (ValueError, ArithmeticError) as error:
                    raise ConfigError([f"{self.table}: the row {', '.join(key)} can't be read: {error}"]) from None
                yield row, key

    def _query(self, goes_on: bool) -> sql.Composed:
        of = self.source.table(self.table)
        # by the table's name: unqualified they would be those of the columns that are read, text among them
        names = [sql.Identifier("of_table", name) for name in self.key]
        key = sql.SQL(", ").join(names)
        conditions = [sql.SQL("{} IS NOT NULL").format(name) for name in names]
        if goes_on:
            values = sql.SQL(", ").join(_parameter(number) for number in range(1, 1 + len(names)))
            conditions.append(sql.SQL("({}) > ({})").format(key, values))
        return sql.SQL("SELECT {}, {} FROM {} AS of_table WHERE {} ORDER BY {} LIMIT {}").format(
            selected(of, self.columns),
            sql.SQL(", ").join(sql.SQL("{}::text").format(name) for name in names),
            of.sql(),
            sql.SQL(" AND ").join(conditions),
            key,
            _parameter(1 + len(names) * goes_on),
        )


def _parameter(number: int) -> sql.SQL:
    # numbered, as PostgreSQL has them: among psycopg's own the % in a column's name would be one
    return sql.SQL(f"${int(number)}")


def _streamed(
    connection: psycopg.Connection[Any], query: sql.Composed, parameters: Sequence[Any]
) -> Iterator[tuple[Any, ...]]:
    with psycopg.RawCursor(connection) as cursor:
        yield from cursor.stream(query, parameters)
