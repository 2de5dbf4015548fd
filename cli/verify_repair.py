"""`freshet verify --repair`: differences mended through the topic, by events like the connector's own."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from confluent_kafka import Consumer

from cli.verify_pass import Suspect
from cli.verify_stream import Progress
from connectors import kafka
from connectors.kafka_feed import latest, tail, topic_of
from connectors.kafka_producer import produce
from connectors.kafka_topics import Message
from connectors.postgres_rows import Reselect, Table
from core.change import BEGINNING, Position
from core.config import Pipeline
from core.errors import ConfigError
from core.formats.debezium_source import REPAIRS
from core.letters import REPLAY
from core.recordings import Record
from core.verification import Difference, Kind

_AS_OF_REPAIR = ((REPLAY, b"0"),)
_INTEGERS = ("smallint", "integer", "bigint", "oid")
_json = msgspec.json.Encoder().encode


class _Wrapped(msgspec.Struct):
    schema: msgspec.Raw
    payload: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Pattern:
    """How the connector writes a table's events, taken from one of the last of them.

    position             of the last of them: after all that was told, not after anything that will be
    key_schema, schema   of key and value where the converter adds them, as they are in JSON
    source               its source block
    columns              of its row; the connector may leave some of the table's out
    """

    topic: str
    position: Position
    key_schema: bytes | None
    schema: bytes | None
    source: Mapping[str, Any]
    columns: frozenset[str]


@dataclass(slots=True)
class Mender:
    """Sends an event for each difference: the row as it is now (op r), or that it is gone (op d).

    Events have the position of the topic's last one, and the header of a replay, by which the job takes a change of
    equal position. An earlier one would be late. A later one, the log's own position say, would make the source's next
    change late: its `source.sequence` starts with the last commit that the connector has seen.
    """

    pipeline: Pipeline
    source: Reselect
    consumer: Consumer
    stream: Progress
    sent: int = 0
    notes: dict[str, None] = field(default_factory=dict)

    def __call__(self, stand: Sequence[tuple[Suspect, Difference]]) -> None:
        """Mend what differs. Raises Unavailable where Kafka or the source is away."""
        documents = {suspect.document_id: (suspect, difference) for suspect, difference in reversed(stand)}
        spoiled = {suspect.document_id for suspect, difference in stand if difference.spoiled}
        for table in sorted({suspect.table for suspect, _ in stand}):
            try:
                pattern = self._pattern(table)
            except ConfigError as error:
                self.notes[str(error)] = None
                continue
            of_table = [each for each in documents.values() if each[0].table == table]
            gone = [each for each in of_table if each[1].kind is Kind.GHOST or each[0].document_id in spoiled]
            self._send(record for suspect, _ in gone for record in self._removal(pattern, suspect))
            if any(suspect.document_id in spoiled for suspect, _ in gone):
                self.stream.passed()  # removed first: what a store has by its id, it isn't sent again
            self._send(
                record
                for suspect, difference in of_table
                if difference.kind is not Kind.GHOST
                for record in self._row(pattern, suspect)
            )
            self.sent += len(of_table)

    def _pattern(self, table: str) -> Pattern:
        # before any row is read: a change that comes in between is later than this position
        source = self.pipeline.kafka
        topic = topic_of(table, kafka.check(source))
        found = tail(self.consumer, source, topic)
        position = latest(self.pipeline, found)
        of_table = [pattern for message in found if (pattern := pattern_of(message, table, position)) is not None]
        if position == BEGINNING or not of_table:
            raise ConfigError([f"topic {topic} ends without an event of {table}: nothing tells where a repair belongs"])
        return max(of_table, key=lambda pattern: len(pattern.columns))

    def _send(self, records: Any) -> None:
        source = self.pipeline.kafka
        produce(source.bootstrap_servers, records, login=kafka.login(source))

    def _row(self, pattern: Pattern, suspect: Suspect) -> list[Record]:
        raw = self.source.raw_row(suspect.table, dict(suspect.key))
        if raw is None:
            return []  # gone since: the connector tells
        table = self.source.table(suspect.table)
        after = {name: value for name, value in raw.items() if name in pattern.columns} or raw
        key = {name: raw[name] for name in table.key or dict(suspect.key)}
        value = _event(pattern, "r", None, after)
        return [Record(pattern.topic, _key(pattern, key), _wrapped(pattern.schema, value), _AS_OF_REPAIR)]

    def _removal(self, pattern: Pattern, suspect: Suspect) -> list[Record]:
        table = self.source.table(suspect.table)
        key = {name: _as_told(table, name, value) for name, value in suspect.key}
        if not key:
            self.notes[f"{suspect.document_id} has no key of its table's: remove it from the store"] = None
            return []
        # its image is no whole row, so no schema fits it
        schema = None if pattern.schema is None else b"null"
        raw_key, value = _key(pattern, key), _wrapped(schema, _event(pattern, "d", key, None))
        return [Record(pattern.topic, raw_key, value, _AS_OF_REPAIR), Record(pattern.topic, raw_key, None)]


def pattern_of(message: Message, table: str, position: Position) -> Pattern | None:
    """What a message shows of a table's events; None where it is none of them."""
    try:
        envelope, schema = _unwrapped(message.value)
        key, key_schema = _unwrapped(message.key)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    source = envelope.get("source")
    image = envelope.get("after") or envelope.get("before")
    if not isinstance(source, dict) or not isinstance(image, dict) or not key:
        return None
    if f"{source.get('schema')}.{source.get('table')}" != table or source.get("connector") != "postgresql":
        return None
    return Pattern(message.topic, position, key_schema, schema, source, frozenset(image))


def _unwrapped(raw: bytes | None) -> tuple[dict[str, Any], bytes | None]:
    if raw is None:
        return {}, None
    if raw.startswith(b'{"schema"'):
        parts = msgspec.json.decode(raw, type=_Wrapped)
        return dict(msgspec.json.decode(parts.payload) or {}), bytes(parts.schema)
    found = msgspec.json.decode(raw)
    return (found if isinstance(found, dict) else {}), None


def _wrapped(schema: bytes | None, payload: Mapping[str, Any]) -> bytes:
    if schema is None:
        return _json(payload)
    return _json(_Wrapped(msgspec.Raw(schema), msgspec.Raw(_json(payload))))


def _key(pattern: Pattern, key: Mapping[str, Any]) -> bytes:
    return _wrapped(pattern.key_schema, key)


def _event(
    pattern: Pattern, operation: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> dict[str, Any]:
    commit, lsn = (int(part, 16) for part in pattern.position.split("."))
    now = time.time_ns()
    times = {"ts_ms": now // 1_000_000, "ts_us": now // 1000, "ts_ns": now}
    told = {
        "name": REPAIRS,
        # an incremental snapshot's rows have no LSN of their own, but the sequence that they were read after
        "snapshot": "incremental",
        "sequence": f'["{commit}","{lsn}"]',
        "lsn": None,
        "txId": None,
        "xmin": None,
    }
    source = {**pattern.source, **told, **{name: value for name, value in times.items() if name in pattern.source}}
    return {"before": before, "after": after, "source": source, "transaction": None, "op": operation, **times}


def _as_told(table: Table, name: str, value: Any) -> Any:
    """A key column's value, which may come from a document's id as text, so that it decodes to the same id."""
    if not isinstance(value, str):
        return value
    kind = table.types[name]
    if kind in _INTEGERS and value.removeprefix("-").isdecimal():
        return int(value)
    if kind == "boolean" and value in ("true", "false"):
        return value == "true"
    if table.is_decimal(name) and name in table.readers:
        return table.writers[name](value)
    return value
