"""The types of columns whose events tell none, asked of the source's database."""

from __future__ import annotations

from collections.abc import Mapping

from core.config.pipeline import Pipeline
from core.errors import ConfigError


def typed(pipeline: Pipeline) -> tuple[Pipeline, list[str]]:
    """The pipeline, with the types that the source's database has for what the file doesn't name.

    Where an event has its schema, that goes first all the same. Beside it a line for each table that isn't there, which
    keeps the types that the file names. Raises Unavailable where the database doesn't answer.
    """
    if pipeline.format.debezium is None or pipeline.reselect is None or pipeline.reselect.postgres is None:
        return pipeline, []
    from connectors.postgres.rows import Reselect

    source = Reselect(pipeline.reselect.postgres.dsn, pipeline.debezium)
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
    if pipeline.profiles is not None:
        records = {
            table: record.model_copy(update={"types": found[table]})
            for table, record in pipeline.profiles.records.items()
        }
        return pipeline.model_copy(
            update={"profiles": pipeline.profiles.model_copy(update={"records": records})}
        ), missing
    documents = {
        table: document.model_copy(update={"types": found[table]}) for table, document in pipeline.documents.items()
    }
    return pipeline.model_copy(update={"documents": documents}), missing


def _types(pipeline: Pipeline) -> Mapping[str, Mapping[str, str]]:
    types = pipeline.debezium.types
    return {table: types.get(table, {}) for table in pipeline.used}
