"""What `freshet check` sees of KPIs: whether Flink plans their queries, and their stores have tables for them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from connectors.opening.kpis import KpiPlace, going_to, open_kpis
from core.config.pipeline import Pipeline
from core.errors import ConfigError
from core.stores.kpis import KpiTable


@dataclass(slots=True)
class Kpis:
    """The KPIs of a pipeline, planned once: what their rows are decides what a store is asked."""

    pipeline: Pipeline
    _tables: Mapping[str, KpiTable] | None = None

    def described(self) -> str:
        """Plan all queries. Raises ConfigError, with the planner's words, for each that can't be."""
        # imported late: pyflink takes a second, and its JVM three
        from flink_jobs.engine.environment import local_environment, local_options
        from flink_jobs.feedback import planned

        with tempfile.TemporaryDirectory() as folder:
            environment = local_environment(local_options(self.pipeline, Path(folder), [], None))
            self._tables = planned(self.pipeline, environment)
        return "; ".join(f"{name} by {', '.join(each.key)}" for name, each in self._tables.items())

    def store(self, place: KpiPlace, prepare: bool) -> str:
        """Look for a store's tables, and make them where `prepare` says so. Raises Unavailable, ConfigError."""
        if self._tables is None:
            raise ConfigError(
                ["not asked: what columns its tables have, the queries alone could say; see feedback.kpis"]
            )
        store = open_kpis(place, going_to(self.pipeline, place, self._tables), 0.0)
        try:
            there = store.look()
            if prepare:
                store.prepare()
        finally:
            store.close()
        named = store.place
        return f"{named} are ready" if there or prepare else f"{named} aren't all there yet: run makes them"
