"""From a table's changes to what its records say of persons: identifiers, attributes and events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from core.change import BEGINNING, Change, Operation, Position
from core.documents import SHORTEST_OUT_OF_LINE, DocumentSpec, document_id, used_columns
from core.errors import ProfileError
from core.formats.timestamps import nanoseconds
from core.identifiers import Identifier, Normalizer, identifiers
from core.identity import RecordChange
from core.profiles import Fact, Facts, Kind, Place, decimal, facts_to_bytes
from core.templates import render, value_of

_STATE_VERSION = b"\x01"
_LATEST_MS = 253_402_300_800_000  # the year 10000
_EARLIEST_MS = -62_135_596_800_000  # the year 1


@dataclass(frozen=True, slots=True)
class Event:
    """What each record of a table adds to a value of the profile.

    column  the value, for `sum`, `latest` and `last`: a column's name, or a template of some
    by      the column that says when; "" is the record's event time
    most    of `last`, how many
    """

    kind: Kind
    column: str = ""
    by: str = ""
    most: int = 1


@dataclass(frozen=True, slots=True)
class RecordSpec:
    """What one table's records say of persons. Values are columns' names, or templates as in `"{given} {surname}"`.

    identifiers  type to where its values are
    attributes   the profile's name of it to the value; `kinds` says which of them are by trust
    time         the column of the event time; "": when the change was committed
    key          columns that identify a row; empty: those of the event's key
    """

    table: str
    identifiers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    events: Mapping[str, Event] = field(default_factory=dict)
    trusted: frozenset[str] = frozenset()
    trust: int = 0
    time: str = ""
    key: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """How identifiers are read, and times judged.

    normalizers  by type
    ahead_ms     how far an event time may be ahead of the arrival
    keep_alone   whether a record without identifiers is taken
    """

    normalizers: Mapping[str, Normalizer]
    blocked: Callable[[str], bool]
    ahead_ms: int
    keep_alone: bool = True


@dataclass(frozen=True, slots=True)
class RowState:
    """The last change of one row: its position, and the values that stand when a later change leaves them out.

    forget_ms  of a row that was deleted: when it may be forgotten, in ms since 1970
    """

    position: Position = BEGINNING
    row: Mapping[str, Any] = field(default_factory=dict)
    forget_ms: int = 0

    def is_forgotten(self, now_ms: int) -> bool:
        """Whether it was deleted, for the last time, long ago."""
        return not self.row and self.forget_ms <= now_ms


def record_id(spec: RecordSpec, change: Change) -> str:
    """`schema.table/key`, as `core.documents.document_id` writes it. Raises ProfileError where the row has no key."""
    key = {name: change.row.get(name, change.key.get(name)) for name in spec.key} or change.key
    lacking = [name for name in spec.key if key[name] is None or name in change.unavailable]
    if lacking:
        raise ProfileError(f"profiles.records.{spec.table}.key names {lacking[0]}, which this {change.operation} lacks")
    if not key:
        raise ProfileError(f"{spec.table} has no primary key: give it one, or set profiles.records.{spec.table}.key")
    return document_id(DocumentSpec(spec.table, ""), replace(change, key=key))


def step(
    state: RowState | None, change: Change, spec: RecordSpec, reading: Reading, arrival_ms: int, replayed: bool = False
) -> tuple[RowState | None, RecordChange | None]:
    """The row's next state, and what its record says now; None where the change is late or repeated.

    arrival_ms  when the change came, in milliseconds since 1970: the event time where nothing else says one, and the
                measure of clocks that are ahead
    Raises ProfileError where the record can't be used, and for an event time further ahead than `reading` lets it be;
    the state then stands as it was.
    """
    before = state or RowState()
    if change.position < before.position or (change.position == before.position and not replayed):
        return state, None
    record = record_id(spec, change)
    if change.operation is Operation.DELETE:
        time = min(change.committed_ms or arrival_ms, arrival_ms)
        return RowState(change.position), RecordChange(record, spec.table, change.position, time, deleted=True)
    row = _standing(before, change, spec)
    said = _said(record, row, change, spec, reading, arrival_ms)
    return RowState(change.position, row), said


def _said(
    record: str, row: Mapping[str, Any], change: Change, spec: RecordSpec, reading: Reading, arrival_ms: int
) -> RecordChange:
    found: list[Identifier] = []
    for kind, places in spec.identifiers.items():
        values = [value for place in places for value in (_value(place, row),) if value is not None]
        found += identifiers(kind, values, reading.normalizers[kind], reading.blocked)
    if not found and not reading.keep_alone:
        names = ", ".join(spec.identifiers)
        raise ProfileError(f"record {record} has no identifier ({names}), and without_identifier is dead_letter")
    time = _time(record, row, change, spec, arrival_ms)
    if time > arrival_ms + reading.ahead_ms:
        hours = (time - arrival_ms) // 3_600_000
        raise ProfileError(f"record {record} has an event time {hours} h ahead of its arrival; a clock is wrong")
    facts = _facts(record, row, time, change.position, spec)
    try:
        raw = facts_to_bytes(facts) if facts else b""
        record.encode()
    except UnicodeEncodeError:
        raise ProfileError(
            f"record {record!a} has half a surrogate pair in a text, which no database can hold"
        ) from None
    return RecordChange(record, spec.table, change.position, time, tuple(dict.fromkeys(found)), raw)


def _facts(record: str, row: Mapping[str, Any], time: int, position: Position, spec: RecordSpec) -> Facts:
    facts: Facts = {}
    for name, column in spec.attributes.items():
        value = _value(column, row)
        if value is not None:
            facts[name] = Fact((spec.trust if name in spec.trusted else 0, time, position, record), value)
    for name, event in spec.events.items():
        value = True if event.kind == "count" else _value(event.column, row)
        when = _milliseconds(record, event.by, row.get(event.by)) if event.by else 0
        if value is None or when is None:
            continue
        place: Place = (when, time, position, record)
        facts[name] = Fact(place, decimal(name, value) if event.kind == "sum" else value)
    return facts


def _template(place: str) -> str:
    return place if "{" in place else "{" + place + "}"


def _value(place: str, row: Mapping[str, Any]) -> Any:
    """A column's value, or a template's text where each column has one; None for null and blank."""
    if "{" not in place:
        value = value_of(place, row)
        if not isinstance(value, str):
            return value
        return value.replace("\x00", "\ufffd") if value.strip() else None
    used = used_columns(DocumentSpec("", place), row)
    if any(row.get(name) is None or not str(row[name]).strip() for name in used):
        return None
    return render(place, row)


def _time(record: str, row: Mapping[str, Any], change: Change, spec: RecordSpec, arrival_ms: int) -> int:
    told = _milliseconds(record, spec.time, row.get(spec.time)) if spec.time else None
    if told is not None:
        return told
    return arrival_ms if change.committed_ms is None else change.committed_ms


def _milliseconds(record: str, column: str, value: Any) -> int | None:
    """An ISO 8601 timestamp, or milliseconds since 1970; None for null."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        time = value
    else:
        try:
            time = nanoseconds(value) // 1_000_000
        except ValueError:
            shown = repr(value)[:40]
            raise ProfileError(
                f"record {record}: {column} is {shown}; it must be an ISO 8601 timestamp, or milliseconds since 1970"
            ) from None
    if not _EARLIEST_MS <= time < _LATEST_MS:
        raise ProfileError(f"record {record}: {column} is {time} ms since 1970, which is in no year from 1 to 9999")
    return time


def columns_of(spec: RecordSpec, row: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns that a record's facts are made of; of alternatives in a template, the first that the row has."""
    return used_columns(DocumentSpec(spec.table, "".join(columns_read(spec))), row)


def columns_read(spec: RecordSpec) -> tuple[str, ...]:
    """All that a record's facts are made of, as templates."""
    events = (each for event in spec.events.values() for each in (event.column, event.by))
    places = (*(each for many in spec.identifiers.values() for each in many), *spec.attributes.values(), *events)
    return tuple(_template(place) for place in (*places, spec.time) if place)


def _standing(before: RowState, change: Change, spec: RecordSpec) -> dict[str, Any]:
    standing: dict[str, Any] = {}
    earlier = {} if change.moves else before.row
    for name in columns_of(spec, change.row):
        left_out = name in change.unavailable or (name not in change.row and change.partial)
        if left_out or (name in change.doubtful and len(str(earlier.get(name, ""))) >= SHORTEST_OUT_OF_LINE):
            if name not in earlier:
                raise ProfileError(
                    f"profiles.records.{spec.table} uses {name}, whose value didn't travel and isn't known: "
                    "have the feed send whole rows (PostgreSQL: REPLICA IDENTITY FULL)"
                )
            standing[name] = earlier[name]
        elif name in change.row:
            standing[name] = change.row[name]
        else:
            there = ", ".join(change.row)
            raise ProfileError(
                f"profiles.records.{spec.table} uses column {name!r}, which the row lacks; it has: {there}. "
                f"Where it was renamed, name both, '{{old|new}}'; where it may be missing, write '{{{name}|}}'"
            )
    return standing


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(RowState).decode


def row_to_bytes(state: RowState) -> bytes:
    """The state as Flink keeps it: a version byte, then MessagePack."""
    return _STATE_VERSION + _encode(state)


def row_from_bytes(raw: bytes) -> RowState:
    """The state that `row_to_bytes` wrote. Raises ValueError for a version this release doesn't know."""
    if raw[:1] != _STATE_VERSION:
        raise ValueError(f"row state has version {raw[:1].hex() or 'none'}, this release reads {_STATE_VERSION.hex()}")
    return _decode(raw[1:])
