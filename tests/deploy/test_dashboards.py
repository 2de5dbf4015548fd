"""Dashboards and alarms ask for metrics that exist, and fit where they are mounted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.metrics.figures import FEWER, FLINKS, METRICS
from tests.deploy.dashboards import GRAFANA, KPIS, ROOT, asked, asked_of_cloudwatch, dashboard, queries, rules

KNOWN = {metric.prometheus for metric in METRICS.values()} | set(FLINKS)


@pytest.mark.parametrize(("title", "query"), queries().items(), ids=lambda text: str(text)[:40])
def test_a_query_asks_for_what_is_defined(title: str, query: str) -> None:
    assert asked(query) - KNOWN == set()
    assert asked(query) or not query, f"{title} asks for nothing"


def test_no_metric_of_flinks_is_named_for_nothing() -> None:
    assert set(FLINKS) == set().union(*map(asked, queries().values())) & set(FLINKS)


def test_the_page_has_the_option_that_leaves_no_more_than_is_asked_for() -> None:
    page = (ROOT / "docs/operate.md").read_text(encoding="utf-8")
    assert all(f'{name}: "{value}"' in page for name, value in FEWER.items())


def test_cloudwatch_asks_for_what_is_defined() -> None:
    names, labels = asked_of_cloudwatch()
    assert len(names) > 5 and names <= METRICS.keys()
    assert labels <= {label for name in names for label in METRICS[name].labels}


def test_cloudwatch_does_not_ask_for_buckets() -> None:
    assert not any(name.endswith("_bucket") for name in asked_of_cloudwatch()[0])


@pytest.mark.parametrize("file", GRAFANA, ids=lambda file: file.name)
def test_a_dashboard_is_one_that_grafana_takes(file: Path) -> None:
    board = dashboard(file)
    assert board["uid"] and board["title"]
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {variable["name"] for variable in board["templating"]["list"]}
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] >= 0 and place["x"] + place["w"] <= 24
        assert panel["description"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${source}"
            query = target["rawSql"] if file == KPIS else target["expr"]
            assert set(_variables(query)) <= variables | {"__rate_interval", "__timeFilter"}


def test_panels_do_not_lie_on_each_other() -> None:
    for file in GRAFANA:
        taken: set[tuple[int, int]] = set()
        for panel in dashboard(file)["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            taken |= cells


def _variables(query: str) -> list[str]:
    return re.findall(r"\$\{?(\w+)", query)


def test_every_alarm_says_what_is_wrong_and_is_on_the_page() -> None:
    page = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    for rule in rules():
        assert rule["annotations"]["summary"] and rule["labels"]["severity"] in ("page", "ticket")
        assert rule["alert"] in page
