"""PostgreSQL as a store of KPIs: the table `<pipeline>_<kpi>` each, whose rows are replaced by their key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import sql

from connectors.postgres.faults import ROW_FAULTS, TOO_SLOW, reason
from connectors.postgres.kpis.tables import COLUMNS, KEY
from connectors.postgres.login import AS_WRITTEN, Login
from connectors.postgres.session import Session
from core.errors import ConfigError
from core.plans import Outcome, Status, rejected
from core.stores.batches import halving
from core.stores.fitting import without_nul
from core.stores.kpis import ColumnType, KpiChange, KpiTable, Value, last_of, row_name

_SETTING = "store.postgres"
_LONGEST_NAME = 63  # bytes
_TYPES: Mapping[ColumnType, str] = {
    ColumnType.TEXT: "text",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.INTEGER: "integer",
    ColumnType.BIGINT: "bigint",
    ColumnType.DOUBLE: "double precision",
    ColumnType.DECIMAL: "numeric",
    ColumnType.TIMESTAMP: "timestamp with time zone",
    ColumnType.DATE: "date",
    ColumnType.TIME: "time without time zone",
}
# one after the other, as two who make the same table at once fail
_ONE_AT_A_TIME = sql.SQL("SELECT pg_advisory_xact_lock(7316529407311)")
_OWNER = sql.SQL("SELECT obj_description(to_regclass({name}), 'pg_class')")
_OWN = sql.SQL("COMMENT ON TABLE {table} IS {comment}")
_COMMENT = "KPIs of Freshet's pipeline "
_CREATE = sql.SQL("CREATE TABLE {table} ({columns}, PRIMARY KEY ({key}))")
_UPSERT = sql.SQL("INSERT INTO {table} ({columns}) VALUES ({values}) ON CONFLICT ({key}) DO {update}")
_EMPTY = sql.SQL("DELETE FROM {table}")
_DELETE = sql.SQL("DELETE FROM {table} WHERE {key}")


class PostgresKpis:
    """A `KpiStore`. One holds one connection, made when first needed and made again when lost."""

    def __init__(
        self,
        dsn: str,
        pipeline: str,
        tables: Mapping[str, KpiTable],
        patience_s: float = 30.0,
        login: Login = AS_WRITTEN,
    ) -> None:
        """`tables` by their KPIs' names; `patience_s`: how long to wait for a server that is away.

        Raises ConfigError where the connection string can't be read, or a name is too long. Connects to nothing.
        """
        self._session = Session(dsn, _SETTING, login=login)
        self._patience_s = patience_s
        self._tables = tables
        self._pipeline = pipeline
        self._names = {name: f"{pipeline}_{name}" for name in tables}
        for each in self._names.values():
            if len(each.encode()) > _LONGEST_NAME:
                raise ConfigError(
                    [f"{_SETTING}: the table {each} would have {len(each.encode())} bytes, PostgreSQL takes 63"]
                )
        self._upserts = {name: _upsert(self._names[name], table).as_bytes(None) for name, table in tables.items()}
        self._deletes = {name: _delete(self._names[name], table).as_bytes(None) for name, table in tables.items()}

    @property
    def place(self) -> str:
        """See `KpiStore.place`."""
        return f"tables {self._pipeline}_…"

    def prepare(self) -> None:
        """See `KpiStore.prepare`. Doesn't wait for a server that is away."""
        self._session.once(self._prepare)

    def look(self) -> bool:
        """See `KpiStore.look`."""
        return self._session.once(lambda: not self._missing())

    def _prepare(self) -> None:
        with self._session.transaction(before=(_ONE_AT_A_TIME,)) as connection:
            for name in self._missing():
                connection.execute(_create(self._names[name], self._tables[name]))
                table = sql.Identifier(self._names[name])
                connection.execute(_OWN.format(table=table, comment=sql.Literal(f"{_COMMENT}{self._pipeline}")))

    def _missing(self) -> list[str]:
        """The KPIs whose tables aren't there. Raises ConfigError where one is there and is another, or another's."""
        missing = []
        for name, table in self._tables.items():
            of = self._of(name)
            there = dict(self._session.rows(COLUMNS.format(**of), before=()))
            if not there:
                missing.append(name)
                continue
            self._check_owner(self._names[name], of)
            key = {each for (each,) in self._session.rows(KEY.format(**of), before=())}
            wanted = {column: _TYPES[kind] for column, kind in table.columns.items()}
            if there != wanted or key != set(table.key):
                raise ConfigError([_differs(self._names[name], name, there, wanted, key, table.key)])
        return missing

    def _of(self, kpi: str) -> Mapping[str, sql.Composable]:
        return {"name": sql.Literal(sql.Identifier(self._names[kpi]).as_string(None))}

    def empty(self) -> None:
        """See `KpiStore.empty`. Doesn't wait for a server that is away."""
        self._session.once(self._empty)

    def _empty(self) -> None:
        with self._session.transaction(before=(_ONE_AT_A_TIME,)) as connection:
            for kpi, name in self._names.items():
                if self._session.rows(COLUMNS.format(**self._of(kpi)), before=()):
                    self._check_owner(name, self._of(kpi))
                    connection.execute(_EMPTY.format(table=sql.Identifier(name)))

    def _check_owner(self, table: str, of: Mapping[str, sql.Composable]) -> None:
        """Raises ConfigError where the table says that it is another pipeline's; an earlier release's says nothing."""
        ((comment,),) = self._session.rows(_OWNER.format(**of), before=())
        owner = str(comment or "").removeprefix(_COMMENT)
        if owner not in (str(comment or ""), self._pipeline):
            raise ConfigError(
                [f"{_SETTING}: the table {table} has rows of the pipeline {owner}: give pipeline or KPI another name"]
            )

    def apply(self, changes: Sequence[KpiChange]) -> list[Outcome]:
        """See `KpiStore.apply`: a transaction, unless a row can't be stored."""
        last = last_of(self._tables, changes)
        return halving(last, self._attempt, self._rejected, (*ROW_FAULTS, *TOO_SLOW))

    def _attempt(self, changes: Sequence[KpiChange]) -> list[Outcome]:
        halved = TOO_SLOW if len(changes) > 1 else ()
        return self._session.patiently(lambda: self._transact(changes), self._patience_s, halved)

    def _transact(self, changes: Sequence[KpiChange]) -> list[Outcome]:
        with self._session.transaction(before=()) as connection, connection.pipeline():
            for each in changes:
                table = self._tables[each.kpi]
                if each.gone:
                    connection.execute(self._deletes[each.kpi], _sent(table, each, table.key))
                else:
                    connection.execute(self._upserts[each.kpi], _sent(table, each, tuple(table.columns)))
        return [Outcome(self._row(each), Status.APPLIED) for each in changes]

    def _rejected(self, change: KpiChange, error: Exception) -> Outcome:
        return rejected(self._row(change), error, reason(error))

    def _row(self, change: KpiChange) -> str:
        return row_name(self._tables[change.kpi], change)

    def close(self) -> None:
        """Give the connection back."""
        self._session.close()


def _create(name: str, table: KpiTable) -> sql.Composed:
    columns = [
        sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(_TYPES[kind])) for column, kind in table.columns.items()
    ]
    return _CREATE.format(table=sql.Identifier(name), columns=sql.SQL(", ").join(columns), key=_names(table.key))


def _upsert(name: str, table: KpiTable) -> sql.Composed:
    others = [column for column in table.columns if column not in table.key]
    updates = [sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(column)) for column in others]
    return _UPSERT.format(
        table=sql.Identifier(name),
        columns=_names(table.columns),
        values=sql.SQL(", ").join(sql.SQL("%s::") + sql.SQL(_TYPES[kind]) for kind in table.columns.values()),
        key=_names(table.key),
        update=sql.SQL("UPDATE SET ") + sql.SQL(", ").join(updates) if updates else sql.SQL("NOTHING"),
    )


def _delete(name: str, table: KpiTable) -> sql.Composed:
    same = [
        sql.SQL("{} = %s::{}").format(sql.Identifier(column), sql.SQL(_TYPES[table.columns[column]]))
        for column in table.key
    ]
    return _DELETE.format(table=sql.Identifier(name), key=sql.SQL(" AND ").join(same))


def _names(columns: Sequence[str] | Mapping[str, Any]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _sent(table: KpiTable, change: KpiChange, columns: Sequence[str]) -> list[Value]:
    row = dict(zip(table.columns, change.values, strict=True))
    return [_value(table.columns[column], row[column]) for column in columns]


def _value(kind: ColumnType, value: Value) -> Value:
    if value is None or not isinstance(value, str):
        return value
    if kind is ColumnType.TIMESTAMP:
        return f"{value}+00"
    text: str = without_nul(value)
    return text


def _differs(
    table: str, kpi: str, there: Mapping[str, str], wanted: Mapping[str, str], key: set[str], right: Sequence[str]
) -> str:
    now = ", ".join(f"{name} {kind}" for name, kind in there.items())
    should = ", ".join(f"{name} {kind}" for name, kind in wanted.items())
    return (
        f"{_SETTING}: the table {table} has {now}, keyed by {', '.join(sorted(key)) or 'nothing'}; "
        f"feedback.kpis.{kpi} makes {should}, keyed by {', '.join(sorted(right))}: drop the table, or give the KPI "
        "another name"
    )
