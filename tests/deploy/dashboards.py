"""What dashboards and alarms ask for: the names of metrics in their queries."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
GRAFANA = sorted((ROOT / "deploy" / "dashboards" / "grafana").glob("*.json"))
KPIS = ROOT / "deploy" / "dashboards" / "grafana" / "kpis.json"
"""The one that asks PostgreSQL."""
ALERTS = ROOT / "deploy" / "dashboards" / "prometheus" / "alerts.yaml"
CLOUDWATCH = ROOT / "deploy" / "cloudformation" / "operations.yaml"


def dashboard(file: Path) -> dict[str, Any]:
    """A Grafana dashboard."""
    read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return read


def rules() -> list[dict[str, Any]]:
    """Prometheus' alerting rules."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> dict[str, str]:
    """Every query in Prometheus' language, by the title of what asks it."""
    found = {rule["alert"]: rule["expr"] for rule in rules()}
    for file in set(GRAFANA) - {KPIS}:
        for panel in dashboard(file)["panels"]:
            for target in panel["targets"]:
                found[f"{panel['title']} {target['refId']}"] = target["expr"]
        for variable in dashboard(file)["templating"]["list"]:
            found[f"${variable['name']}"] = variable.get("definition", "")
    return found


def asked(query: str) -> set[str]:
    """The metrics that a query of Prometheus asks for."""
    return set(re.findall(r"\bflink_\w+", query))


def asked_of_cloudwatch() -> tuple[set[str], set[str]]:
    """Freshet's metrics that CloudWatch's alarms and dashboard select, and the labels that they group by."""
    text = CLOUDWATCH.read_text(encoding="utf-8")
    return set(re.findall(r"SELECT \w+\((\w+)\)", text)), set(re.findall(r"GROUP BY (\w+)", text))
