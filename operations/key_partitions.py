"""Events without keys, of which one row's come by several partitions, where nothing orders them across those."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from connectors.kafka import source as kafka
from connectors.kafka.feed import group_of, tail
from connectors.kafka.topics import Message, reading
from core.config.pipeline import Pipeline
from core.formats.debezium.source import table_of
from core.formats.wrapping import bare


def unordered(pipeline: Pipeline) -> list[str]:
    """A line for each table whose documents' changes have no order, by the last events of its topic.

    Raises Unavailable.
    """
    if not (pipeline.events.of_debezium and pipeline.reads_kafka and pipeline.events.keys):
        return []
    source = pipeline.kafka
    if kafka.client_options(source) is None:
        return []  # only Java clients can log in
    lines: dict[str, None] = {}
    with reading(source, group_of(pipeline)) as consumer:
        for topic in kafka.check(source):
            lines |= dict.fromkeys(spread(pipeline, tail(consumer, source, topic)))
    return list(lines)


def spread(pipeline: Pipeline, messages: Iterable[Message]) -> list[str]:
    """As `unordered`, of messages: MySQL's, in several partitions, that have no keys.

    Those of rows with keys are in order (`core.documents.tenants`).

    Source of the rule: Debezium's documentation, "Debezium connector for MySQL: message.key.columns"; several events
    of one statement, or of a compressed transaction, have one place in the binlog (`core.formats.debezium.position`).
    """
    seen: dict[str, None] = {}
    events, keys = pipeline.events, pipeline.events.keys
    for message in messages:
        source = _object(message.value).get("source")
        if message.key or not message.partition or not isinstance(source, dict) or "file" not in source:
            continue
        table = events.tables.of(table_of(source))
        if table in keys:
            seen.setdefault(table)
    return [
        f"{table}: its events have no keys, so one row's changes come by several partitions, and MySQL tells their "
        "order by no more than the place in its binlog, which a statement's share: set "
        f"message.key.columns={table}:{','.join(keys[table])} at the connector, or give the topic one partition"
        for table in seen
    ]


def _object(raw: bytes | None) -> Mapping[str, Any]:
    try:
        value = bare(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
