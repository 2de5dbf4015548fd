"""Events like the connector's own incremental snapshot, of rows that somebody else has read in the database.

Sources of the rules: Debezium's documentation, "Debezium connector for PostgreSQL: Data change events" and "Incremental
snapshots" (op `r`; such rows have no LSN of their own, but the sequence that they were read after).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import msgspec

from core.change import Position
from core.formats.debezium.format import DebeziumFormat
from core.formats.debezium.schema import is_read_alike, key_schema, value_schema
from core.formats.debezium.source import OURS, table_of
from core.formats.wrapping import unwrapper

_json = msgspec.json.Encoder(enc_hook=str).encode
_take_apart = unwrapper()


class _Wrapped(msgspec.Struct):
    schema: msgspec.Raw
    payload: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Pattern:
    """How a table's events are written.

    key                  columns of an event's key; without, events have none, as those of a table without primary key
    columns              of its row; the connector may leave some of the table's out
    key_schema, schema   of key and value where the converter adds them, as they are in JSON
    source               its source block
    """

    topic: str
    key: tuple[str, ...]
    columns: frozenset[str]
    key_schema: bytes | None = None
    schema: bytes | None = None
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        """Whether Freshet made the event that it was taken from."""
        return self.source.get("name") in OURS


def pattern_of(topic: str, key: bytes | None, value: bytes | None, table: str) -> Pattern | None:
    """How a message is written; None where it is no event of the table's, of PostgreSQL's connector."""
    try:
        envelope, schema = _unwrapped(value)
        of_key, of_key_schema = _unwrapped(key)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    source = envelope.get("source")
    image = envelope.get("after") or envelope.get("before")
    if not isinstance(source, dict) or not isinstance(image, dict) or (key and not of_key):
        return None
    if table_of(source) != table or source.get("connector") != "postgresql":
        return None
    return Pattern(topic, tuple(of_key), frozenset(image), of_key_schema, schema, source)


def best(patterns: Collection[Pattern]) -> Pattern | None:
    """Of those of one table, the one to go by: the connector's before ours, then the one with the most columns."""
    return max(patterns, key=lambda each: (not each.is_ours, len(each.columns)), default=None)


def made(topic: str, table: str, types: Mapping[str, str], key: tuple[str, ...], settings: DebeziumFormat) -> Pattern:
    """How events of a table are written of which none is there: with schemas, so that nothing of a value is in doubt.

    types  SQL types of the columns to tell, those of the key among them
    """
    schema, _, name = table.partition(".")
    source = {"connector": "postgresql", "name": "", "schema": schema, "table": name, "ts_ms": 0}
    known = key_schema(topic, types, key, settings)
    return _with_schema(Pattern(topic, key, frozenset(types), known, None, source), types, settings)


def fitted(
    pattern: Pattern,
    types: Mapping[str, str],
    key: tuple[str, ...],
    used: Collection[str],
    settings: DebeziumFormat,
) -> Pattern:
    """The pattern, for rows that are written by these types and modes.

    types  of the table's columns, as they are now
    key    columns for the key, where events have one whose columns aren't there any more
    used   columns that rows carry although events have none of them yet, as one that was added since

    An event's schema that says otherwise, say of a column whose scale was changed, gives way to one of ours.
    """
    if not types.keys() >= {*pattern.key}:
        known = None if pattern.key_schema is None else key_schema(pattern.topic, types, key, settings)
        pattern = replace(pattern, key=key, key_schema=known)
    carried = {name: kind for name, kind in types.items() if name in pattern.columns or name in used}
    pattern = replace(pattern, columns=frozenset(carried))
    if pattern.schema is None or _is_alike(pattern.schema, carried, settings):
        return pattern
    return _with_schema(pattern, carried, settings)


def _is_alike(schema: bytes, types: Mapping[str, str], settings: DebeziumFormat) -> bool:
    try:
        return is_read_alike(schema, "after", types, settings)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _with_schema(pattern: Pattern, types: Mapping[str, str], settings: DebeziumFormat) -> Pattern:
    source = _source(pattern, Position("0.0"), OURS[0], 0)
    return replace(pattern, schema=value_schema(pattern.topic, types, source, settings))


@dataclass(frozen=True)
class Telling:
    """What the events of one batch have in common: how they are written, where they stand, and who says so, and when.

    name    the source block's: one of OURS
    now_ns  nanoseconds since 1970
    """

    pattern: Pattern
    position: Position
    name: str
    now_ns: int

    @cached_property
    def _source(self) -> msgspec.Raw:
        return msgspec.Raw(_json(_source(self.pattern, self.position, self.name, self.now_ns)))

    def row(self, raw: Mapping[str, Any]) -> tuple[bytes | None, bytes]:
        """Key and value of the event of a row, in Debezium's JSON: as it is now (op `r`)."""
        key = {name: raw[name] for name in self.pattern.key}
        after = {name: value for name, value in raw.items() if name in self.pattern.columns}
        return self.key(key), _wrapped(self.pattern.schema, self._event("r", None, after))

    def gone(self, key: Mapping[str, Any]) -> tuple[bytes | None, bytes]:
        """Key and value of the event that the row of a key, in Debezium's JSON, is gone (op `d`)."""
        # its image is no whole row, so no schema fits it
        schema = None if self.pattern.schema is None else b"null"
        return self.key(key), _wrapped(schema, self._event("d", key, None))

    def key(self, key: Mapping[str, Any]) -> bytes | None:
        """An event's key."""
        return _wrapped(self.pattern.key_schema, key) if self.pattern.key else None

    def _event(
        self, operation: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        envelope = {"before": before, "after": after, "source": self._source, "transaction": None, "op": operation}
        return {**envelope, **_times(self.now_ns)}


def _source(pattern: Pattern, position: Position, name: str, now_ns: int) -> dict[str, Any]:
    commit, lsn = (int(part, 16) for part in position.split("."))
    ours = {
        "name": name,
        "snapshot": "incremental",
        "sequence": f'["{commit}","{lsn}"]',
        "lsn": None,
        "txId": None,
        "xmin": None,
    }
    times = {each: at for each, at in _times(now_ns).items() if each in pattern.source}
    return {**pattern.source, **ours, **times}


def _times(now_ns: int) -> dict[str, int]:
    return {"ts_ms": now_ns // 1_000_000, "ts_us": now_ns // 1000, "ts_ns": now_ns}


def _unwrapped(raw: bytes | None) -> tuple[dict[str, Any], bytes | None]:
    if raw is None:
        return {}, None
    schema: bytes | None = None
    try:
        found, schema = _take_apart(raw)
    except msgspec.ValidationError:
        found = msgspec.json.decode(raw)
    return (found if isinstance(found, dict) else {}), schema


def _wrapped(schema: bytes | None, payload: Mapping[str, Any]) -> bytes:
    if schema is None:
        return _json(payload)
    return _json(_Wrapped(msgspec.Raw(schema), msgspec.Raw(_json(payload))))
