"""What `freshet check` says of KPIs' queries, with file and line: all of a file at once, and nothing runs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.flink_jobs.conftest import Workshop
from tests.flink_jobs.feedback import pipeline

BY_HOUR = "SELECT FLOOR(asked_at TO HOUR) AS h, tenant, {} FROM turns GROUP BY FLOOR(asked_at TO HOUR), tenant"
WRONG: dict[str, tuple[str, list[str], str]] = {
    "syntax": ("SELECT FROM turns", ["a"], "sql: SQL parse failed. Incorrect syntax near the keyword 'FROM' at line 1"),
    "column": (BY_HOUR.format("COUNT(nope) AS n"), ["h", "tenant"], "Column 'nope' not found in any table"),
    "unbounded": (
        "SELECT tenant, COUNT(*) AS n FROM turns GROUP BY tenant",
        ["tenant"],
        "key is tenant, none of them a time: a row would change for ever",
    ),
    "shared": (
        f"{BY_HOUR.format('COUNT(*) AS n')}, model",
        ["h", "tenant"],
        "key is h, tenant, and several rows of sql may have the same",
    ),
    "nullable": (
        BY_HOUR.replace("tenant", "customer").format("COUNT(*) AS n"),
        ["h", "customer"],
        "key names customer, which may be NULL: write COALESCE(customer, '')",
    ),
    "unknown": (BY_HOUR.format("COUNT(*) AS n"), ["h", "shop"], "key names shop, and the columns of sql are h, tenant"),
    "many": (BY_HOUR.format("COLLECT(model) AS names"), ["h", "tenant"], "the column names is MULTISET<"),
    "statement": ("INSERT INTO turns SELECT * FROM turns", ["h"], "only accepts a single SQL query"),
    "two": ("SELECT 1; SELECT 2", ["h"], "only single statement supported"),
}
RIGHT: dict[str, Any] = {
    "all_columns": {
        "sql": "SELECT FLOOR(rated_at TO DAY) AS d, model, COUNT(comment_text) AS n, MAX(scale) AS scale FROM ratings "
        "GROUP BY FLOOR(rated_at TO DAY), model",
        "key": ["d", "model"],
        "to": ["postgres"],
    },
    **{name: {"to": ["postgres"]} for name in ("satisfaction", "latency", "unanswered", "cost")},
}


@pytest.fixture(scope="module")
def said(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    from tests.flink_jobs.conftest import workshop_in

    workshop: Workshop = workshop_in(stack, tmp_path_factory.mktemp("plans"))
    wrong = {name: {"sql": sql, "key": key, "to": ["postgres"]} for name, (sql, key, _) in WRONG.items()}
    file = pipeline(workshop, feedback={"kpis": {**RIGHT, **wrong}})
    return " ".join(workshop.freshet("check", file, ok=False).split())


@pytest.mark.parametrize("name", WRONG)
def test_a_query_that_cant_be_kept_up_to_date_is_refused(said: str, name: str) -> None:
    _, _, words = WRONG[name]
    _, found, rest = said.partition(f"feedback.kpis.{name}.")
    assert found and " line " in said
    assert words in rest.partition("feedback.kpis.")[0]


def test_what_is_right_is_not_named(said: str) -> None:
    assert [name for name in RIGHT if f"feedback.kpis.{name}." in said] == []
