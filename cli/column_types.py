"""The types of columns whose events tell none: asked of the source's database, else named before anything is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from connectors import kafka
from connectors.kafka_feed import group_of, has_schemas, tail
from connectors.kafka_topics import Message, reading
from core.config import Pipeline
from core.errors import ConfigError
from core.formats.debezium_doubt import REMEDY, may_be

_json = msgspec.json.Decoder().decode


def typed(pipeline: Pipeline) -> Pipeline:
    """The pipeline, with the types that the source's database has for what the file doesn't name.

    Where an event has its schema, that goes first all the same. Raises Unavailable, or ConfigError for a table that
    isn't there.
    """
    if pipeline.format.debezium is None or pipeline.reselect is None or pipeline.reselect.postgres is None:
        return pipeline
    from connectors.postgres_rows import Reselect

    source = Reselect(pipeline.reselect.postgres.dsn, pipeline.debezium)
    try:
        found = {table: {**source.table(table).types, **types} for table, types in _types(pipeline).items()}
    finally:
        source.close()
    if pipeline.profiles is not None:
        records = {
            table: record.model_copy(update={"types": found[table]})
            for table, record in pipeline.profiles.records.items()
        }
        return pipeline.model_copy(update={"profiles": pipeline.profiles.model_copy(update={"records": records})})
    documents = {
        table: document.model_copy(update={"types": found[table]}) for table, document in pipeline.documents.items()
    }
    return pipeline.model_copy(update={"documents": documents})


def _types(pipeline: Pipeline) -> Mapping[str, Mapping[str, str]]:
    told = pipeline.debezium.types
    return {table: told.get(table, {}) for table in pipeline.used}


def untold(pipeline: Pipeline) -> list[str]:
    """A line for each table with columns whose type nothing tells, by the last events of its topic; [] where all do.

    Raises Unavailable.
    """
    if pipeline.format.debezium is None or pipeline.source.kafka is None:
        return []
    source = pipeline.kafka
    if kafka.client_options(source) is None:
        return []  # only Java clients can log in: the job's own refusals tell
    topics = kafka.check(source)
    with reading(source, group_of(pipeline)) as consumer:
        found = [message for topic in topics for message in tail(consumer, source, topic)]
    return [] if has_schemas(found) else doubtful(pipeline, found)


def doubtful(pipeline: Pipeline, messages: Iterable[Message]) -> list[str]:
    """As `untold`, of messages without schemas."""
    settings = pipeline.debezium
    seen: dict[str, dict[str, str]] = {}
    for message in messages:
        envelope, key = _object(message.value), _object(message.key)
        source, row = envelope.get("source"), envelope.get("after")
        if not isinstance(source, dict) or not isinstance(row, dict):
            continue
        table = settings.tables.of(f"{source.get('schema') or source.get('db')}.{source.get('table')}")
        for name in settings.untold.get(table, ()):
            if name not in key and (doubt := may_be(row.get(name))):
                seen.setdefault(table, {}).setdefault(name, doubt)
    return [
        f"{table}: events have no schema, and nothing tells what these are: "
        f"{'; '.join(f'{name} ({doubt})' for name, doubt in columns.items())}. Such values become dead letters: "
        f"{REMEDY.replace('COLUMN', next(iter(columns)))}"
        for table, columns in seen.items()
    ]


def _object(raw: bytes | None) -> dict[str, Any]:
    try:
        value = _json(raw) if raw else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def told_or_named(pipeline: Pipeline) -> tuple[Pipeline, list[str]]:
    """The pipeline with its types, and what to say of columns that have none. Raises Unavailable."""
    try:
        found = typed(pipeline)
    except ConfigError as error:
        return pipeline, [str(error), *untold(pipeline)]
    return found, untold(found)
