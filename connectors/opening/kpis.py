"""The stores of KPIs that a pipeline file names, opened. One that is added has its opener here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from core.config.pipeline import Pipeline
from core.config.store import Postgres
from core.stores.kpis import KpiStore, KpiTable

if TYPE_CHECKING:
    from connectors.postgres.kpis.rows import PostgresKpiRows


@dataclass(frozen=True, slots=True)
class KpiPlace:
    """Where KPIs go. It can be sent to a job's workers.

    pipeline  its name
    name      the store's, in the file
    """

    pipeline: str
    name: str
    settings: Postgres


def kpi_places(pipeline: Pipeline) -> list[KpiPlace]:
    """Those of a pipeline, by their names in the file."""
    found = pipeline.store.targets.items()
    return [KpiPlace(pipeline.name, name, each) for name, each in found if isinstance(each, Postgres)]


def going_to(pipeline: Pipeline, place: KpiPlace, tables: Mapping[str, KpiTable]) -> dict[str, KpiTable]:
    """The KPIs that go to a place."""
    kpis = pipeline.feedback_job.feedback.kpis
    return {name: table for name, table in tables.items() if place.name in kpis[name].to}


def open_kpis(place: KpiPlace, tables: Mapping[str, KpiTable], patience_s: float) -> KpiStore:
    """A store of KPIs; nothing is connected yet. Raises ConfigError where its settings don't fit."""
    from connectors.postgres.kpis.store import PostgresKpis
    from connectors.postgres.login import login_of

    settings = place.settings
    return PostgresKpis(settings.dsn, place.pipeline, tables, patience_s, login_of(settings))


def open_rows(pipeline: Pipeline) -> tuple[tuple[str, ...], Callable[[], PostgresKpiRows]]:
    """The KPIs that can be looked at, which are those in PostgreSQL, by their names, and what opens their reader."""
    from connectors.postgres.kpis.rows import PostgresKpiRows
    from connectors.postgres.login import login_of

    kpis = pipeline.feedback_job.feedback.kpis
    for place in kpi_places(pipeline):
        settings = place.settings
        if isinstance(settings, Postgres):
            names = tuple(name for name, each in kpis.items() if place.name in each.to)
            return names, partial(PostgresKpiRows, settings.dsn, pipeline.name, login_of(settings))
    return (), partial(PostgresKpiRows, "", pipeline.name)
