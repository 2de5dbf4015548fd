"""The stores of KPIs that a pipeline file names, opened. One that is added has its opener here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from core.config.pipeline import Pipeline
from core.config.staging import StagedTopic
from core.config.store import OpenSearch, Postgres
from core.config.targets import Target
from core.errors import ConfigError
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
    settings: Target


@dataclass(frozen=True, slots=True)
class KpiOpening:
    """What a store of KPIs is opened with beside its own settings.

    pipeline    its name
    tables      the rows that go to it, by their KPIs' names
    patience_s  how long a server that is away is waited for
    """

    pipeline: str
    tables: Mapping[str, KpiTable]
    patience_s: float


# Clients are imported late: each is an extra's, and only what a pipeline names is needed.


def _postgres(target: Postgres, to: KpiOpening) -> KpiStore:
    from connectors.postgres.kpis.store import PostgresKpis
    from connectors.postgres.login import login_of

    return PostgresKpis(target.dsn, to.pipeline, to.tables, to.patience_s, login_of(target))


def _kafka(target: StagedTopic, to: KpiOpening) -> KpiStore:
    from connectors.kafka.kpis import KafkaKpis

    return KafkaKpis(target, to.pipeline, to.tables, to.patience_s)


def _opensearch(target: OpenSearch, to: KpiOpening) -> KpiStore:
    from connectors.opensearch.kpis import OpenSearchKpis

    return OpenSearchKpis(target, to.pipeline, to.tables, to.patience_s)


OF_KPIS: dict[str, Callable[[Any, KpiOpening], KpiStore]] = {
    "postgres": _postgres,
    "opensearch": _opensearch,
    "kafka": _kafka,
}
"""By the names of `core.config.store.Store`'s fields."""


def kpi_places(pipeline: Pipeline) -> list[KpiPlace]:
    """Those of a pipeline, by their names in the file."""
    found = pipeline.store.targets.items()
    return [KpiPlace(pipeline.name, name, each) for name, each in found if name in OF_KPIS]


def going_to(pipeline: Pipeline, place: KpiPlace, tables: Mapping[str, KpiTable]) -> dict[str, KpiTable]:
    """The KPIs that go to a place."""
    kpis = pipeline.feedback_job.feedback.kpis
    return {name: table for name, table in tables.items() if place.name in kpis[name].to}


def open_kpis(place: KpiPlace, tables: Mapping[str, KpiTable], patience_s: float) -> KpiStore:
    """A store of KPIs; nothing is connected yet. Raises ConfigError where its settings don't fit."""
    return OF_KPIS[place.name](place.settings, KpiOpening(place.pipeline, tables, patience_s))


def open_rows(pipeline: Pipeline) -> tuple[tuple[str, ...], Callable[[], PostgresKpiRows]]:
    """The KPIs that can be looked at, which are those in PostgreSQL, by their names, and what opens their reader.

    Raises ConfigError where none is there.
    """
    from connectors.postgres.kpis.rows import PostgresKpiRows
    from connectors.postgres.login import login_of

    kpis = pipeline.feedback_job.feedback.kpis
    for place in kpi_places(pipeline):
        settings = place.settings
        if isinstance(settings, Postgres):
            names = tuple(name for name, each in kpis.items() if place.name in each.to)
            return names, partial(PostgresKpiRows, settings.dsn, pipeline.name, login_of(settings))
    raise ConfigError([f"no KPI of {pipeline.name} goes to store.postgres, which they are read from"])


def empty_kpis(pipeline: Pipeline) -> None:
    """Take all rows of a pipeline's KPIs out of their places. Raises as `KpiStore.empty`."""
    nothing = {name: KpiTable(name, {}, ()) for name in pipeline.feedback_job.feedback.kpis}
    for place in kpi_places(pipeline):
        store = open_kpis(place, going_to(pipeline, place, nothing), 0.0)
        try:
            store.empty()
        finally:
            store.close()
