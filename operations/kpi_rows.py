"""The KPIs of one pipeline, opened to be looked at by many at once. They are read where they are in PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from connectors.opening.kpis import open_rows
from connectors.postgres.kpis.rows import Table
from core.config.pipeline import Pipeline
from operations.pool import Pool


class KpiRows:
    """What a pipeline of feedback wrote. Methods raise Unavailable where the store doesn't answer."""

    def __init__(self, pipeline: Pipeline, connections: int) -> None:
        """So many `connections` ask at once. Raises ConfigError where none of its KPIs goes to PostgreSQL."""
        self.names, opener = open_rows(pipeline)
        self._stores = Pool([opener() for _ in range(connections)])

    def check(self) -> None:
        """Raises Unavailable where the store doesn't answer."""
        with self._stores.one() as store:
            store.table(self.names[0])

    def latest(self, kpi: str, since: datetime | None, most: int) -> tuple[Table, list[tuple[Any, ...]]] | None:
        """A KPI's table and its latest rows, the latest first; None where the table isn't there."""
        with self._stores.one() as store:
            table = store.table(kpi)
            return None if table is None else (table, store.rows(kpi, table, since, most))

    def close(self) -> None:
        """Give the connections back; nobody asks any more."""
        self._stores.close()
