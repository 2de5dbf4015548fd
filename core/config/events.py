"""A pipeline's events: how they are written, where they come from, and which tables' rows they tell of."""

from __future__ import annotations

from dataclasses import dataclass

from core.config.format import Debezium, Format
from core.config.jobs import Job
from core.config.source import Source
from core.formats.debezium.format import DebeziumFormat
from core.formats.tables import ITSELF, Tables


@dataclass(frozen=True, slots=True)
class Events:
    """What a decoder takes of a pipeline file; `job` has the tables, and what the file says of each."""

    format: Format
    source: Source
    job: Job

    @property
    def of_debezium(self) -> bool:
        """Whether events are written as Debezium writes them."""
        return isinstance(self.format.chosen, Debezium)

    @property
    def debezium(self) -> DebeziumFormat:
        """How Debezium's events and their values are written; its defaults where the events aren't Debezium's."""
        chosen = self.format.chosen
        return DebeziumFormat(
            **(chosen if isinstance(chosen, Debezium) else Debezium()).model_dump(),
            types={table: each.types for table, each in self.job.tables.items() if each.types},
            keys=self.keys,
            used=self.job.used,
            tables=self.tables,
        )

    @property
    def tables(self) -> Tables:
        """Which tables' rows are another one's documents, or records."""
        return Tables(self.patterns) if self.patterns else ITSELF

    @property
    def patterns(self) -> dict[str, tuple[str, ...]]:
        """Table to the patterns of those that are its partitions, where the file has any."""
        return {table: each.tables for table, each in self.job.tables.items() if each.tables}

    @property
    def keys(self) -> dict[str, tuple[str, ...]]:
        """Table to the columns of its key, where the file names them."""
        return {table: each.key for table, each in self.job.tables.items() if each.key}
