"""Rows of the source's tables, as `decoding` gives them: for values that no event carried, and to compare."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.types import TypeInfo
from psycopg.types.array import register_array
from psycopg.types.string import TextLoader

from connectors.postgres.faults import ROW_FAULTS
from connectors.postgres.login import AS_WRITTEN, Login, login_of
from connectors.postgres.session import Session
from core.config.pipeline import SourceDatabase
from core.documents.step import DocumentSpec, used_columns
from core.errors import ConfigError
from core.formats.debezium.columns import NOTHING_KNOWN, columns_of_types
from core.formats.debezium.format import DebeziumFormat
from core.formats.debezium.raw import Writer, read_by_postgres, writer
from core.formats.debezium.values import Reader, variable_scale_decimal
from core.stores.source import Row

SETTING = "reselect.postgres"

_PATIENCE_S = 30.0
_FIRST_BATCH = 100
_BATCH_BYTES = 16 * 2**20
# Text that doesn't depend on where the server is; what `core.formats.debezium.raw` expects.
_SETTINGS = (
    sql.SQL("SET LOCAL DateStyle TO 'ISO, YMD'"),
    sql.SQL("SET LOCAL IntervalStyle TO 'iso_8601'"),
    sql.SQL("SET LOCAL TimeZone TO 'UTC'"),
    sql.SQL("SET LOCAL extra_float_digits TO 1"),
)
_FROZEN = sql.SQL("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
_NAMED_BY_SCHEMAS = ("date", "time", "interval", "json", "bit")
_DECIMAL = ("numeric", "money")
_WHOLE = re.compile(r"-?\d{1,19}", re.ASCII)
_AS_TEXT = (
    "numeric", "date", "time", "timetz", "timestamp", "timestamptz", "interval", "json", "jsonb", "uuid", "inet",
    "cidr", "int4range", "int8range", "numrange", "tsrange", "tstzrange", "daterange",
    "int4multirange", "int8multirange", "nummultirange", "tsmultirange", "tstzmultirange", "datemultirange",
)  # fmt: skip
_COLUMNS = """
    WITH RECURSIVE plain AS (
        SELECT a.attname, a.attnum, a.atttypid AS type, a.atttypmod AS modifier
        FROM pg_attribute a
        WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL
        SELECT plain.attname, plain.attnum, t.typbasetype, t.typtypmod
        FROM plain JOIN pg_type t ON t.oid = plain.type AND t.typtype = 'd'
    )
    SELECT plain.attname, format_type(plain.type, plain.modifier), t.oid,
        CASE t.typcategory WHEN 'A' THEN t.typelem ELSE 0 END,
        array_position((i.indkey::int2[])[0:i.indnkeyatts - 1], plain.attnum)
    FROM plain
    JOIN pg_type t ON t.oid = plain.type AND t.typtype <> 'd'
    LEFT JOIN pg_index i ON i.indrelid = to_regclass(%s) AND i.indisprimary
    ORDER BY plain.attnum"""

_COUNT = """
    SELECT sum(greatest(0, reltuples))::bigint FROM pg_class
    WHERE oid = to_regclass(%s) OR oid IN (SELECT relid FROM pg_partition_tree(to_regclass(%s)) WHERE isleaf)"""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the source.

    types    column to SQL type, in the table's order
    key      the columns of its primary key, in the key's order; empty where it has none
    writers  what makes a column's value as PostgreSQL prints it what Debezium's JSON has
    readers  what makes that what `decode` makes of it
    catalog  what would make it what people write, by the catalog's types
    """

    name: str
    types: Mapping[str, str]
    key: tuple[str, ...]
    writers: Mapping[str, Writer]
    readers: Mapping[str, Reader]
    catalog: Mapping[str, Reader]

    def sql(self) -> sql.Identifier:
        """Its quoted name."""
        return sql.Identifier(*self.name.split(".", 1))

    def is_decimal(self, column: str) -> bool:
        """Whether the column is a numeric: its base64 may look like a number, and a number isn't base64."""
        return self.types[column].startswith(_DECIMAL)


class Reselect:
    """The source's database, over one connection that is made when first needed and made again when lost."""

    def __init__(
        self, dsn: str, settings: DebeziumFormat | None = None, schemas: bool = True, login: Login = AS_WRITTEN
    ) -> None:
        """Connects to nothing. Raises ConfigError where the dsn can't be read, or can't log in so.

        settings  the pipeline's
        schemas   whether events bring their schema, so that what `settings.types` doesn't name is known all the same
        """
        self._session = Session(dsn, SETTING, self._set_up, login)
        found = settings or DebeziumFormat()
        # what this class itself writes and reads leaves no doubt
        self.settings = replace(found, decimal_handling_mode=found.decimals)
        self._schemas = schemas
        self._tables: dict[str, Table] = {}
        self._arrays: dict[int, int] = {}
        self.server = self._session.server

    @classmethod
    def of(cls, database: SourceDatabase, settings: DebeziumFormat | None = None, schemas: bool = True) -> Reselect:
        """The one that a pipeline file names, else as its constructor."""
        return cls(database.dsn, settings, schemas, login_of(database))

    def _set_up(self, connection: psycopg.Connection[Any]) -> None:
        for name in _AS_TEXT:
            connection.adapters.register_loader(name, TextLoader)
        _read_as_lists(self._arrays, connection)

    def close(self) -> None:
        """Give the connection back."""
        self._session.close()

    def reach(self) -> None:
        """Connect. Doesn't wait for a server that is away: raises Unavailable."""
        self._session.once(self._session.connection)

    def execute(self, query: LiteralString | sql.Composed, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """A query's rows. Raises Unavailable or ConfigError as `Session.patiently` does, after half a minute."""
        return self._session.patiently(lambda: self._session.rows(query, parameters, _SETTINGS), _PATIENCE_S)

    def table(self, name: str) -> Table:
        """The table `schema.table` as the catalog has it now. Raises ConfigError where there is none."""
        if name not in self._tables:
            self._tables[name] = self._describe(name)
        return self._tables[name]

    def _describe(self, name: str) -> Table:
        quoted = sql.Identifier(*name.split(".", 1)).as_string(None)
        rows = self.execute(_COLUMNS, (quoted, quoted))
        if not rows:
            raise ConfigError(
                [f"{SETTING}: PostgreSQL at {self.server} has no table {name} that this user sees: correct the name"]
            )
        unknown = {oid: element for _, _, oid, element, _ in rows if element and self._is_unknown(oid)}
        if unknown:
            self._arrays |= unknown
            # not on a new connection: this one's snapshot may be open
            _read_as_lists(unknown, self._session.connection())
        types = {column: sql_type for column, sql_type, *_ in rows}
        places = {column: place for column, *_, place in rows if place is not None}
        writers = {column: write for column, kind in types.items() if (write := writer(kind, self.settings))}
        readers = dict(self.settings.columns.get(name, NOTHING_KNOWN).readers)
        if self._schemas:
            readers |= _readers_by_schemas(types, self.settings)
        catalog = _readers(types, self.settings)
        return Table(name, types, tuple(sorted(places, key=places.__getitem__)), writers, readers, catalog)

    def _is_unknown(self, oid: int) -> bool:
        return self._session.connection().adapters.types.get(oid) is None and oid not in self._arrays

    def row(self, table: str, key: Row) -> dict[str, Any] | None:
        """The row of this key as people write it; None where there is none.

        `key` as a change has it, or as text. Raises Unavailable where the server is away for half a minute, ConfigError
        where the table or the right to read it is gone.
        """
        raw = self.raw_row(table, key)
        return None if raw is None else self.as_in_events(table, raw)

    def as_in_events(self, table: str, raw: Row) -> dict[str, Any]:
        """A row of Debezium's JSON as `core.formats.debezium.decoding` gives it."""
        readers = self.table(table).readers
        return {
            name: readers[name](value) if value is not None and name in readers else _by_shape(value)
            for name, value in raw.items()
        }

    def key(self, table: str) -> tuple[str, ...]:
        """The columns of the table's primary key, in the key's order; empty where it has none."""
        return self.table(table).key

    def columns(self, spec: DocumentSpec) -> tuple[str, ...]:
        """The columns to read for a table's documents: those of its key, and those that are used and there."""
        table = self.table(spec.table)
        used = used_columns(spec, dict.fromkeys(table.types))
        return tuple(dict.fromkeys(each for each in (*table.key, *spec.key, *used) if each in table.types))

    def raw_row(self, table: str, key: Row) -> dict[str, Any] | None:
        """As `row`, as Debezium's JSON has it."""
        of = self.table(table)
        columns = tuple(of.types)
        lost = [name for name in key if name not in of.types]
        if lost or not key:
            raise ConfigError(
                [f"{SETTING}: {table} has no column {', '.join(lost)}: its rows can't be looked up by it"]
            )
        conditions = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder()) for name in key]
        query = sql.SQL("SELECT {} FROM {} WHERE {}").format(
            selected(of, columns), of.sql(), sql.SQL(" AND ").join(conditions)
        )
        try:
            rows = self.execute(query, [_argument(of, name, value) for name, value in key.items()])
        except ROW_FAULTS:
            return None  # no value of the column's type, so no row has it
        return raw_of(of, columns, rows[0]) if rows else None

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """One state of the database to read tables in. Its own connection's transaction: read only, REPEATABLE READ."""
        self._session.once(self._session.connection)
        try:
            with self._session.transaction(_FROZEN, _SETTINGS) as connection:
                yield Snapshot(connection, self.table)
        except psycopg.Error as error:
            raise self._session.named(error) from error


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An open transaction of `Reselect.snapshot`."""

    connection: psycopg.Connection[Any]
    table: Callable[[str], Table]

    def count(self, table: str) -> int:
        """About how many rows the table and its partitions have, by the planner's statistics; 0 where it has none."""
        name = self.table(table).sql().as_string(None)
        found = self.connection.execute(_COUNT, (name, name)).fetchone()
        return int(found[0] or 0) if found else 0

    def rows(self, table: str, columns: Sequence[str], at_once: int) -> Iterator[list[dict[str, Any]]]:
        """The table's rows, as Debezium's JSON has them: in memory `at_once` at a time, fewer where they are long."""
        of = self.table(table)
        query = sql.SQL("SELECT {} FROM {}").format(selected(of, columns), of.sql())
        with self.connection.cursor("freshet_rows") as cursor:
            cursor.execute(query)
            count = min(at_once, _FIRST_BATCH)
            while batch := cursor.fetchmany(count):
                yield [raw_of(of, columns, values) for values in batch]
                row_bytes = sum(len(str(value)) for values in batch for value in values) // len(batch)
                count = max(1, min(at_once, _BATCH_BYTES // max(1, row_bytes)))


def _read_as_lists(arrays: Mapping[int, int], connection: psycopg.Connection[Any]) -> None:
    """Have a connection read arrays of types that psycopg doesn't know, as enumerations; each with its element's."""
    for array, element in arrays.items():
        register_array(TypeInfo(f"element_{element}", element, array), connection)


def raw_of(table: Table, columns: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """A row of the database, as Debezium's JSON has it."""
    writers = table.writers
    return {
        name: writers[name](value) if value is not None and name in writers else value
        for name, value in zip(columns, values, strict=True)
    }


def _by_shape(value: Any) -> Any:
    if isinstance(value, dict):
        return variable_scale_decimal(value) or value
    return [_by_shape(item) for item in value] if isinstance(value, list) else value


def _readers_by_schemas(types: Mapping[str, str], settings: DebeziumFormat) -> Mapping[str, Reader]:
    """How columns are read whose type the event's schema tells: those that have a type of Connect's or Debezium's."""
    encoded = settings.decimals == "precise"
    logical = {
        column: kind
        for column, kind in types.items()
        if kind.startswith(_NAMED_BY_SCHEMAS) or (encoded and kind.startswith(_DECIMAL))
    }
    return _readers(logical, settings)


def _readers(types: Mapping[str, str], settings: DebeziumFormat) -> Mapping[str, Reader]:
    plain = {column: kind.rpartition(".")[2] for column, kind in types.items()}
    encoded = settings.decimals == "precise"
    return columns_of_types(plain, encoded, settings.time_precision_mode, settings.binary_handling_mode).readers


def selected(table: Table, columns: Sequence[str]) -> sql.Composed:
    """The columns of a query whose rows `raw_of` takes."""
    # money is printed as the server's locale has it
    return sql.SQL(", ").join(
        sql.SQL("{}::numeric" if table.types[name] == "money" else "{}").format(sql.Identifier(name))
        for name in columns
    )


def _argument(table: Table, name: str, value: Any) -> Any:
    """A key column's value as text, whose type the server knows from the column; bytes for a bytea."""
    read = table.catalog.get(name)
    # Events carry a decimal as its number or as base64, and either may look like the other.
    if read is not None and not (table.is_decimal(name) and _is_decoded_as_number(table, name)):
        with suppress(ValueError, TypeError, ArithmeticError):
            value = read(int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else value)
    if table.types[name] == "bytea" and isinstance(value, str):
        with suppress(ValueError):
            return b64decode(value, validate=True)
    if table.types[name].startswith(("date", "timestamp")) and isinstance(value, str):
        return read_by_postgres(value)
    return value if isinstance(value, str) else json.dumps(value)


def _is_decoded_as_number(table: Table, name: str) -> bool:
    """Whether the decoder gives a decimal as its number: it knows the type, or {scale, value} tells."""
    return name in table.readers or table.types[name] == "numeric"
