"""KPIs' rows in PostgreSQL: replaced by their key, gone where their group is, and a bad one alone refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from connectors.postgres.kpis.store import PostgresKpis
from core.errors import ConfigError, Unavailable
from core.plans import Status
from core.stores.kpis import ColumnType, KpiChange, KpiTable, Value, last_of
from tests.connectors.servers import Server, new_schema

HOUR = "2026-12-01 21:00:00.000"
TABLE = KpiTable(
    'by "model"',
    {
        "window_start": ColumnType.TIMESTAMP,
        "model": ColumnType.TEXT,
        "order": ColumnType.BIGINT,
        "share": ColumnType.DOUBLE,
        "cost": ColumnType.DECIMAL,
        "day": ColumnType.DATE,
        "at": ColumnType.TIME,
        "good": ColumnType.BOOLEAN,
        "count": ColumnType.INTEGER,
    },
    ("window_start", "model"),
)
NAME = 'feedback_by "model"'


def row(model: str, order: int = 1, cost: Value = "1.50") -> KpiChange:
    values = (HOUR, model, order, 0.25, cost, "2026-12-01", "21:00:01", True, 3)
    return KpiChange(TABLE.name, values, gone=False)


@pytest.fixture
def dsn(pgvector_server: Server) -> str:
    return new_schema(pgvector_server.dsn)


@pytest.fixture
def store(dsn: str) -> Iterator[PostgresKpis]:
    opened = PostgresKpis(dsn, "feedback", {TABLE.name: TABLE}, patience_s=1.0)
    yield opened
    opened.close()


def rows(dsn: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        query = sql.SQL("TABLE {}").format(sql.Identifier(NAME))
        return sorted(connection.execute(query).fetchall(), key=str)


def test_a_row_is_replaced_by_its_key_and_goes_with_its_group(dsn: str, store: PostgresKpis) -> None:
    assert store.look() is False
    store.prepare()
    store.prepare()
    assert store.look() is True
    store.apply([row("a", 1), row("b\x00", 7), row("a", 2)])
    hour = datetime(2026, 12, 1, 21, tzinfo=UTC)
    rest = (0.25, Decimal("1.50"), date(2026, 12, 1), time(21, 0, 1), True, 3)
    assert rows(dsn) == [(hour, "a", 2, *rest), (hour, "b\ufffd", 7, *rest)]
    store.apply([gone(row("a", 2))])
    store.apply([gone(row("a", 2))])
    assert [each[1] for each in rows(dsn)] == ["b\ufffd"]
    store.apply([gone(row("b\x00", 7)), row("b\x00", 8)])
    assert [each[1:3] for each in rows(dsn)] == [("b\ufffd", 8)]


def gone(change: KpiChange) -> KpiChange:
    return KpiChange(change.kpi, change.values, gone=True)


def test_a_row_that_cant_be_stored_is_refused_alone(dsn: str, store: PostgresKpis) -> None:
    store.prepare()
    outcomes = store.apply([row("a"), row("b", cost="a lot"), row("c"), row("d")])
    applied, rejected = Status.APPLIED, Status.REJECTED
    assert [each.status for each in outcomes] == [applied, rejected, applied, applied]
    assert (outcomes[1].document_id, outcomes[1].error) == (f"{TABLE.name}/{HOUR}/b", "InvalidTextRepresentation")
    assert [each[1] for each in rows(dsn)] == ["a", "c", "d"]


def test_a_table_that_is_another_is_refused(dsn: str, store: PostgresKpis) -> None:
    store.prepare()
    shorter = replace(TABLE, key=("window_start",))
    other = PostgresKpis(dsn, "feedback", {TABLE.name: shorter})
    with pytest.raises(ConfigError, match=r"keyed by model, window_start; .* keyed by window_start: drop the table"):
        other.look()
    other.close()


def test_a_name_that_postgres_would_cut_is_refused() -> None:
    with pytest.raises(ConfigError, match="would have 65 bytes, PostgreSQL takes 63"):
        PostgresKpis("postgresql://127.0.0.1", "p" * 54, {TABLE.name: TABLE})


def test_a_server_that_stays_away_is_unavailable() -> None:
    store = PostgresKpis("postgresql://u@127.0.0.1:1/d", "feedback", {TABLE.name: TABLE}, patience_s=0.2)
    with pytest.raises(Unavailable, match=r"store\.postgres\.dsn: PostgreSQL at 127\.0\.0\.1:1 doesn't answer"):
        store.apply([row("a")])


rows_of_k = st.tuples(st.sampled_from("abc"), st.integers(0, 3))
changes = st.lists(st.builds(KpiChange, st.just("k"), rows_of_k, st.booleans()))


@given(changes)
def test_the_last_change_of_each_row_says_all(told: list[KpiChange]) -> None:
    table = KpiTable("k", {"model": ColumnType.TEXT, "order": ColumnType.BIGINT}, ("model",))

    def end(some: list[KpiChange]) -> dict[Value, Value]:
        held: dict[Value, Value] = {}
        for model, order, gone in ((*each.values, each.gone) for each in some):
            held.pop(model, None)
            if not gone:
                held[model] = order
        return held

    assert end(last_of({"k": table}, told)) == end(told)
