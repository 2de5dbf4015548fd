"""KPIs' rows as who looks at them asks for them: a table's latest, with its columns as the server knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from connectors.postgres.kpis.tables import COLUMNS, KEY
from connectors.postgres.login import AS_WRITTEN, Login
from connectors.postgres.session import Session

_SETTING = "store.postgres"
_TIMES = ("timestamp with time zone", "date")
_NUMBERS = ("integer", "bigint", "double precision", "numeric")
_SELECT = sql.SQL("SELECT {columns} FROM {table}{since} ORDER BY {time} DESC, {key} LIMIT {limit}")
_SINCE = sql.SQL(" WHERE {time} >= {since}")


@dataclass(frozen=True, slots=True)
class Table:
    """A KPI's columns in their order, those of its key, the one that is its time, and those that are its numbers."""

    columns: tuple[str, ...]
    key: tuple[str, ...]
    time: str
    numbers: tuple[str, ...]


class PostgresKpiRows:
    """Reads the tables `<pipeline>_<kpi>`. One holds one connection, made when first needed and made again when lost.

    Every method raises Unavailable where the server doesn't answer, ConfigError where it refuses.
    """

    def __init__(self, dsn: str, pipeline: str, login: Login = AS_WRITTEN) -> None:
        """Connects to nothing. Raises ConfigError where the connection string can't be read."""
        self._session = Session(dsn, _SETTING, login=login)
        self._pipeline = pipeline

    def table(self, kpi: str) -> Table | None:
        """What a KPI's rows have; None where its job hasn't made a table yet."""
        return self._session.once(lambda: self._table(kpi))

    def _table(self, kpi: str) -> Table | None:
        of = {"name": sql.Literal(self._named(kpi).as_string(None))}
        kinds: Mapping[str, str] = dict(self._session.rows(COLUMNS.format(**of), before=()))
        key = {each for (each,) in self._session.rows(KEY.format(**of), before=())}
        times = [each for each, kind in kinds.items() if each in key and kind in _TIMES]
        if not times:
            return None
        named = tuple(each for each in kinds if each in key)
        numbers = tuple(each for each, kind in kinds.items() if each not in key and kind in _NUMBERS)
        return Table(tuple(kinds), named, times[0], numbers)

    def rows(self, kpi: str, table: Table, since: datetime | None, most: int) -> list[tuple[Any, ...]]:
        """A KPI's latest rows, `most` at most, of all times or `since` one: a value a column, the latest first."""
        time = sql.Identifier(table.time)
        query = _SELECT.format(
            columns=_names(table.columns),
            table=self._named(kpi),
            since=sql.SQL("") if since is None else _SINCE.format(time=time, since=sql.Literal(since)),
            time=time,
            key=_names(table.key),
            limit=sql.Literal(most),
        )
        return self._session.once(lambda: self._session.rows(query, before=()))

    def _named(self, kpi: str) -> sql.Identifier:
        return sql.Identifier(f"{self._pipeline}_{kpi}")

    def close(self) -> None:
        """Give the connection back."""
        self._session.close()


def _names(columns: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))
