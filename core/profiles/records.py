"""From a table's changes to what its records say of persons: identifiers, attributes and events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from core.change import Change, Operation, Position
from core.documents.halves import elder_of
from core.documents.standing import Said, closed, filled, is_last, is_open, known, lacks, marked, may_tell, passed, read
from core.documents.step import DocumentSpec, document_id, used_columns
from core.documents.templates import column_of, columns, render, value_of
from core.documents.tenants import take
from core.documents.unsettled import Refused, unknown
from core.errors import ChangeError, ProfileError
from core.formats.timestamps import nanoseconds
from core.identity.identifiers import Identifier, Normalizer, identifiers
from core.identity.linking import RecordChange
from core.profiles.merging import Fact, Facts, Kind, Place, decimal, facts_to_bytes
from core.profiles.record_state import RowState as RowState
from core.profiles.record_state import elder_leaves, half_of, is_other_half
from core.profiles.record_state import row_from_bytes as row_from_bytes
from core.profiles.record_state import row_to_bytes as row_to_bytes

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


def record_id(spec: RecordSpec, change: Change) -> str:
    """`schema.table/key`, as `document_id` writes it. Raises ProfileError where the row has no key."""
    key = {name: change.row.get(name, change.key.get(name)) for name in spec.key} or change.key
    lacking = [name for name in spec.key if key[name] is None or name in change.unavailable]
    if lacking:
        raise ProfileError(f"profiles.records.{spec.table}.key names {lacking[0]}, which this {change.operation} lacks")
    if not key:
        raise ProfileError(f"{spec.table} has no primary key: give it one, or set profiles.records.{spec.table}.key")
    return document_id(DocumentSpec(spec.table, ""), replace(change, key=key))


def step(
    state: RowState | None,
    change: Change,
    spec: RecordSpec,
    reading: Reading,
    arrival_ms: int,
    replayed: bool = False,
    backfilled: bool = False,
) -> tuple[RowState | None, RecordChange | Refused | None]:
    """The row's next state, and what its record says now; None where the change is late or repeated.

    arrival_ms  when the change came, in milliseconds since 1970: the event time where nothing else says one, and the
                measure of clocks that are ahead
    Refused is a record that can't be used, or one with an event time further ahead than `reading` lets it be. The state
    knows of it as that of a document does: see `core.documents.step.step`, also for `replayed` and `backfilled`.
    Raises ProfileError where the row has no key; the state then stands as it was.
    """
    before = state or RowState()
    taken = take(before.tenants, known(before.row, before.holes), before.position, change, spec.key)
    after, said = _stepped(state, taken.change, spec, reading, arrival_ms, replayed, backfilled)
    if after is not None and taken.tenants is not None:
        after = replace(after, tenants=taken.tenants)
    return after, said


def _stepped(
    state: RowState | None,
    change: Change,
    spec: RecordSpec,
    reading: Reading,
    arrival_ms: int,
    replayed: bool,
    backfilled: bool,
) -> tuple[RowState | None, RecordChange | Refused | None]:
    before = state or RowState()
    other = is_other_half(before, change)
    if other and change.operation is Operation.DELETE:
        return state, None
    if elder_leaves(before, change):
        return replace(before, position=max(before.position, change.position), elder=None), None
    arrives = other and change.operation is Operation.UPSERT
    if arrives and change.position < before.position:
        change = replace(change, position=before.position)  # who links refuses what is older
    late = change.position < before.position
    again = change.position == before.position and not arrives
    fills_hole = late and not (replayed or backfilled) and may_tell(before.holes, change)
    is_known = late or (again and not (replayed or backfilled))
    if is_known and not is_open(before.holes, change.position) and not fills_hole:
        return state, None
    record = record_id(spec, change)
    if change.operation is Operation.REFUSED:
        return (state if late or again else _unread(before, change, spec)), None
    if late:
        return _caught_up(before, change, spec, reading, arrival_ms, record)
    if replayed and not again:
        after, result = _next(RowState(), change, spec, reading, arrival_ms, record)
        return RowState(change.position, holes=after.holes, half=after.half), result
    if again and before.holes is not None:
        before = replace(before, holes=closed(before.holes, change.position))
    now, said = _next(before, change, spec, reading, arrival_ms, record)
    return (replace(now, elder=before.elder) if backfilled and before.elder is not None else now), said


def _next(
    before: RowState, change: Change, spec: RecordSpec, reading: Reading, arrival_ms: int, record: str
) -> tuple[RowState, RecordChange | Refused]:
    if change.operation is Operation.DELETE:
        at, time = change.position, min(change.committed_ms or arrival_ms, arrival_ms)
        return RowState(at, half=half_of(change)), RecordChange(record, spec.table, at, time, deleted=True)
    earlier = known(before.row, before.holes)
    said = read({} if change.moves else earlier, change, columns_of(spec, change.row))
    older = elder_of(bool(before.row), earlier, change)
    after = RowState(change.position, half=half_of(change), elder=older)
    if said.lacking:
        row, holes = marked(before.row, before.holes, change, said)
        return replace(after, row=row, holes=holes), Refused(record, unknown(change), _lacks(change, spec, said))
    row, left = passed(before.row, before.holes, change, said, before.position)
    after = replace(after, row=row, holes=left)
    if said.missing:
        return after, Refused(record, unknown(change), _misses(spec, said))
    try:
        return after, _said(record, row, change, spec, reading, arrival_ms)
    except ChangeError as error:
        return after, Refused(record, unknown(change), error)


def _unread(before: RowState, change: Change, spec: RecordSpec) -> RowState:
    """The state behind a change that couldn't be read: of its columns those that it carries, if any, are known."""
    carried = dict.fromkeys((*change.row, *change.unavailable))
    used = dict.fromkeys(column_of(name, carried) for name in columns("".join(columns_read(spec))))
    names = [name for name in used if name in carried]
    earlier = known(before.row, before.holes)
    row, holes = marked(before.row, before.holes, change, read(earlier, change, names))
    older = elder_of(bool(before.row), earlier, change)
    return RowState(change.position, row, holes=holes, half=half_of(change), elder=older)


def _caught_up(
    before: RowState, change: Change, spec: RecordSpec, reading: Reading, arrival_ms: int, record: str
) -> tuple[RowState, RecordChange | Refused | None]:
    """A refused change comes again, behind later ones, or one that has what they left out comes late. Where one of
    those was refused too, the record is returned as it stood at this one; else as it stands now.
    """
    holes, at = closed(before.holes, change.position), change.position
    earlier = known(before.row, holes, at)
    gone = change.operation is Operation.DELETE
    was_refused = is_open(before.holes, at)
    own = change.moves or not was_refused  # it is asked for what it says itself
    said = Said({}) if gone else read({} if own else earlier, change, columns_of(spec, change.row))
    if said.lacking:
        row, left = marked(before.row, before.holes, change, said)
        return RowState(before.position, row, holes=left), Refused(record, unknown(change), _lacks(change, spec, said))
    row, left = filled(before.row, holes, change, said)
    if gone or not is_last(left, at):
        result = _next(RowState(row=earlier), change, spec, reading, arrival_ms, record)[1]
        return RowState(before.position, row, holes=left if left.open else None), result
    assert before.holes is not None
    stands, used = known(row, left), columns_of(spec, dict.fromkeys(before.holes.used))
    now = replace(
        change,
        position=before.position,
        row={name: stands.get(name) for name in used},
        unavailable=frozenset(name for name in used if name not in stands),
        doubtful=frozenset(),
        partial=False,
        moves=False,
        committed_ms=before.holes.committed_ms,
    )
    if was_refused:
        return _next(RowState(row=row, holes=left), now, spec, reading, arrival_ms, record)
    still = replace(before, row=row, holes=left)
    if now.unavailable and not change.moves:
        return still, None  # what is still missing has a dead letter already
    result = _next(RowState(row=row, holes=left), now, spec, reading, arrival_ms, record)[1]
    return still, replace(result, anew=True) if isinstance(result, RecordChange) else result


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
    time = _milliseconds(record, spec.time, row.get(spec.time)) if spec.time else None
    if time is not None:
        return time
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
            wanted = "it must be an ISO 8601 timestamp, or milliseconds since 1970"
            raise ProfileError(f"record {record}: {column} is {repr(value)[:40]}; {wanted}") from None
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
    return tuple(place if "{" in place else "{" + place + "}" for place in (*places, spec.time) if place)


def _misses(spec: RecordSpec, said: Said) -> ProfileError:
    return ProfileError(
        f"profiles.records.{spec.table} uses {min(said.missing)}, whose value didn't travel and isn't known: replay "
        "what was refused before it, or have the feed send whole rows (PostgreSQL: REPLICA IDENTITY FULL)"
    )


def _lacks(change: Change, spec: RecordSpec, said: Said) -> ProfileError:
    return ProfileError(lacks(f"profiles.records.{spec.table}", change, said))


def read_as(spec: RecordSpec) -> DocumentSpec:
    """The spec by which `core.stores.source` knows what columns to read of a record's row."""
    return DocumentSpec(spec.table, "".join(columns_read(spec)), (), spec.key)
