"""The types of columns whose events tell none, asked of the source's database."""

from __future__ import annotations

from collections.abc import Mapping

from core.config.pipeline import Pipeline, SourceDatabase
from core.errors import ConfigError


def typed(pipeline: Pipeline) -> tuple[Pipeline, list[str]]:
    """The pipeline, with the types that the source's database has for what the file doesn't name.

    Where an event has its schema, that goes first all the same. Beside it a line for each table that isn't there, which
    keeps the types that the file names. Raises Unavailable where the database doesn't answer.
    """
    database = pipeline.database
    if not pipeline.events.of_debezium or not isinstance(database, SourceDatabase):
        return pipeline, []
    from connectors.postgres.rows import Reselect

    source = Reselect.of(database, pipeline.events.debezium)
    found: dict[str, Mapping[str, str]] = {}
    missing = []
    try:
        source.reach()
        for table, types in _types(pipeline).items():
            try:
                found[table] = {**source.table(table).types, **types}
            except ConfigError as error:
                missing.append(str(error))
                found[table] = types
    finally:
        source.close()
    return pipeline.model_copy(update=pipeline.job.typed(found)), missing


def _types(pipeline: Pipeline) -> Mapping[str, Mapping[str, str]]:
    types = pipeline.events.debezium.types
    return {table: types.get(table, {}) for table in pipeline.job.used}
