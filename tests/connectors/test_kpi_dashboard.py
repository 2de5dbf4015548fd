"""The dashboard of KPIs asks for what the tables have: each of its queries, of a PostgreSQL with such tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from connectors.postgres.kpis.store import PostgresKpis
from core.answers.kpis.ready_made import READY_MADE
from core.stores.kpis import ColumnType, KpiChange, KpiTable, Value
from tests.connectors.servers import Server, new_schema
from tests.deploy.dashboards import KPIS, dashboard

KEYS = {"window_start": ColumnType.TIMESTAMP, "tenant": ColumnType.TEXT, "model": ColumnType.TEXT}
TABLES = {
    "satisfaction": KpiTable(
        "satisfaction",
        {
            **KEYS,
            **dict.fromkeys(("turns", "rated", "good"), ColumnType.BIGINT),
            **dict.fromkeys(("satisfaction", "sentiment", "comment_sentiment"), ColumnType.DOUBLE),
        },
        tuple(KEYS),
    ),
    "latency": KpiTable(
        "latency",
        {
            "window_start": ColumnType.TIMESTAMP,
            "model": ColumnType.TEXT,
            "turns": ColumnType.BIGINT,
            **{
                f"{what}_{share}_ms": ColumnType.DOUBLE for what in ("first_token", "total") for share in ("p50", "p95")
            },
        },
        ("window_start", "model"),
    ),
    "unanswered": KpiTable(
        "unanswered",
        {
            "window_start": ColumnType.TIMESTAMP,
            "tenant": ColumnType.TEXT,
            **dict.fromkeys(("turns", "failed", "cancelled", "nothing_found"), ColumnType.BIGINT),
        },
        ("window_start", "tenant"),
    ),
    "cost": KpiTable(
        "cost",
        {**KEYS, **dict.fromkeys(("turns", "prompt_tokens", "answer_tokens"), ColumnType.BIGINT)},
        tuple(KEYS),
    ),
}
"""As Flink makes them of `core/answers/kpis/`."""

EIGHT, NINE = datetime(2026, 12, 1, 8, tzinfo=UTC), datetime(2026, 12, 1, 9, tzinfo=UTC)
ROWS: list[tuple[str, tuple[Value, ...]]] = [
    ("satisfaction", ("2026-12-01 08:00:00.000", "shop's", "small", 10, 4, 3, 0.75, 0.5, None)),
    ("satisfaction", ("2026-12-01 08:00:00.000", "other", "small", 30, 0, 0, None, -0.5, None)),
    ("satisfaction", ("2026-12-01 09:00:00.000", "shop's", "large", 6, 2, 2, 1.0, None, 0.25)),
    ("satisfaction", ("2026-11-01 09:00:00.000", "shop's", "large", 999, 999, 999, 1.0, 1.0, 1.0)),
    ("latency", ("2026-12-01 08:01:00.000", "small", 10, 100.0, 400.0, 900.0, 2000.0)),
    ("unanswered", ("2026-12-01 08:00:00.000", "shop's", 10, 1, 2, 3)),
    ("cost", ("2026-12-01 08:00:00.000", "shop's", "small", 10, 1000, 200)),
]
PIPELINE = "feed-back"


@pytest.fixture(scope="module")
def connection(pgvector_server: Server) -> Iterator[psycopg.Connection[Any]]:
    dsn = new_schema(pgvector_server.dsn)
    store = PostgresKpis(dsn, PIPELINE, TABLES)
    store.prepare()
    assert all(outcome.status == "applied" for outcome in store.apply([KpiChange(*row, gone=False) for row in ROWS]))
    store.close()
    with psycopg.connect(dsn, autocommit=True) as opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


def filled(query: str) -> str:
    """The query as Grafana sends it: its documentation's macro of PostgreSQL, and the formats of its variables."""
    given = {
        "$__timeFilter(window_start)": "window_start BETWEEN '2026-12-01T00:00:00Z' AND '2026-12-02T00:00:00Z'",
        "${pipeline:raw}": PIPELINE,
        "${tenant:sqlstring}": "'other','shop''s'",
        "${model:sqlstring}": "'large','small'",
    }
    for name, value in given.items():
        query = query.replace(name, value)
    assert "$" not in query
    return query


SHOWN: dict[str, list[tuple[Any, ...]]] = {
    "Satisfaction": [(5 / 6,)],
    "Rated": [(6 / 46,)],
    "Turns": [(46,)],
    "Without an answer": [(0.3,)],
    "Satisfaction, by model": [(EIGHT, "small", 0.75), (NINE, "large", 1.0)],
    "Turns, by model": [(EIGHT, "small", 40), (NINE, "large", 6)],
    "How questions sound, by model": [(EIGHT, "small", -0.25), (NINE, "large", None)],
    "How comments sound, by model": [(EIGHT, "small", None), (NINE, "large", 0.25)],
    "First token, p50, by model": [(EIGHT.replace(minute=1), "small", 100.0)],
    "First token, p95, by model": [(EIGHT.replace(minute=1), "small", 400.0)],
    "Whole answer, p50, by model": [(EIGHT.replace(minute=1), "small", 900.0)],
    "Whole answer, p95, by model": [(EIGHT.replace(minute=1), "small", 2000.0)],
    "Questions without a good end": [(EIGHT, 1, 2, 3)],
    "Tokens": [(EIGHT, 1000, 200)],
    "By tenant and model": [
        ("shop's", "small", 10, 4, 0.75, 0.5),
        ("shop's", "large", 6, 2, 1.0, None),
        ("other", "small", 30, 0, None, -0.5),
    ],
}


def test_each_panel_shows_what_the_tables_have(connection: psycopg.Connection[Any]) -> None:
    panels = dashboard(KPIS)["panels"]
    assert {panel["title"] for panel in panels} == SHOWN.keys()
    for panel in panels:
        (target,) = panel["targets"]
        found = connection.execute(filled(target["rawSql"]).encode())
        assert found.fetchall() == SHOWN[panel["title"]], panel["title"]
        names = [column.name for column in found.description or ()]
        # what Grafana draws over time has its times in a column of that name, and what lines are called in `metric`
        assert (target["format"] == "time_series") == (names[0] == "time") == (panel["type"] == "timeseries")


def test_the_tables_are_those_of_the_queries_that_come_with_freshet() -> None:
    assert TABLES.keys() == READY_MADE.keys()
    for name, table in TABLES.items():
        selected, _, _ = READY_MADE[name].sql.partition("\nFROM ")
        columns = re.findall(r"(\w+),?$", re.sub(r"^(--|SELECT).*$", "", selected, flags=re.MULTILINE), re.MULTILINE)
        assert columns == list(table.columns), name
        assert READY_MADE[name].key == table.key


def test_what_can_be_chosen_is_what_is_there(connection: psycopg.Connection[Any]) -> None:
    chosen = {
        each["name"]: [row for (row,) in connection.execute(filled(each["query"]).encode()).fetchall()]
        for each in dashboard(KPIS)["templating"]["list"]
        if each["type"] == "query"
    }
    assert PIPELINE in chosen["pipeline"]
    assert (chosen["tenant"], chosen["model"]) == (["other", "shop's"], ["large", "small"])
