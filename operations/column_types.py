"""Types of columns where events carry none: the source's database is asked, else the columns are named in a warning."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from connectors.kafka import source as kafka
from connectors.kafka.feed import group_of, has_schemas, tail
from connectors.kafka.topics import Message, reading
from connectors.postgres.column_types import typed
from core.config.pipeline import Pipeline
from core.errors import Unavailable
from core.formats.debezium.doubt import may_be, remedy
from operations.key_partitions import unordered

_json = msgspec.json.Decoder().decode


def unknown_types(pipeline: Pipeline) -> list[str]:
    """A line for each table with columns whose type nothing says, by the last events of its topic; [] where all do.

    Raises Unavailable.
    """
    if not (pipeline.events.of_debezium and pipeline.reads_kafka):
        return []
    if not any(pipeline.events.debezium.untyped.values()):
        return []
    source = pipeline.kafka
    if kafka.client_options(source) is None:
        return []  # only Java clients can log in: the job's own refusals tell
    lines: dict[str, None] = {}
    with reading(source, group_of(pipeline)) as consumer:
        for topic in kafka.check(source):
            found = tail(consumer, source, topic)
            if not has_schemas(found):
                lines |= dict.fromkeys(doubtful(pipeline, found))
    return list(lines)


def doubtful(pipeline: Pipeline, messages: Iterable[Message]) -> list[str]:
    """As `unknown_types`, of messages without schemas."""
    settings = pipeline.events.debezium
    seen: dict[str, dict[str, Any]] = {}
    for message in messages:
        envelope, key = _object(message.value), _object(message.key)
        source, row = envelope.get("source"), envelope.get("after")
        if not isinstance(source, dict) or not isinstance(row, dict):
            continue
        table = settings.tables.of(f"{source.get('schema') or source.get('db')}.{source.get('table')}")
        for name in settings.untyped.get(table, ()):
            if name not in key and may_be(row.get(name)):
                seen.setdefault(table, {}).setdefault(name, row[name])
    return [
        f"{table}: events have no schema, and nothing tells what these are: "
        f"{'; '.join(f'{name} ({may_be(value)})' for name, value in columns.items())}. "
        f"Such values become dead letters: {remedy(*next(iter(columns.items())))}"
        for table, columns in seen.items()
    ]


def _object(raw: bytes | None) -> dict[str, Any]:
    try:
        value = _json(raw) if raw else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def with_types(pipeline: Pipeline) -> tuple[Pipeline, list[str]]:
    """The pipeline with its types, and what to say of columns that have none.

    Raises Unavailable where Kafka doesn't answer, or the database doesn't and nothing else tells a type.
    """
    try:
        found, missing = typed(pipeline)
    except Unavailable as error:
        if doubts := unknown_types(pipeline):
            raise Unavailable(f"{error}. It is needed: {doubts[0]}") from None
        return pipeline, [f"{error}. The types of columns weren't asked; the last events need none"]
    return found, [*missing, *unknown_types(found), *unordered(found)]
