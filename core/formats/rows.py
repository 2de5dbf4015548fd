"""Plain rows from any producer: one JSON object a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from core.change import Change, Event, Operation, Position, Rare, Skip
from core.documents.keys import kinds
from core.errors import DecodeError, quote
from core.formats.arrival import arrival
from core.formats.bare_keys import bare_key
from core.formats.debezium.columns import NOTHING_KNOWN, Columns
from core.formats.debezium.doubt import refuse_doubtful
from core.formats.debezium.envelope import columns_of
from core.formats.debezium.format import DebeziumFormat
from core.formats.debezium.unwrapped import decimals, is_unwrapped
from core.formats.debezium.values import Reader
from core.formats.json_values import numbers_of, storable, storable_row, unwrapped
from core.formats.tables import ITSELF, Tables
from core.formats.timestamps import nanoseconds

PositionType = Literal["integer", "timestamp", "text"]

_HALF = 2**63
_BEFORE_YEAR_1 = 10**20
_LONGEST_TEXT = 64
_DEBEZIUM = DebeziumFormat()
_LONGEST_NAME = 200


@dataclass(frozen=True)
class RowsFormat:
    """Where a producer's messages say what and when.

    table            the table that the rows are of, where they don't say it themselves
    table_field      the field that names it; it goes before `table`
    position_field   the field that orders the rows of one key; empty: the order in which the broker has them
    position_type    integer: whole numbers of 64 bits, as JSON numbers or digits; timestamp: ISO 8601, to nanoseconds,
                     UTC where it names no offset; text: printable ASCII without blanks, always of the same length:
                     a row whose last position had another one is refused (`core.documents.keys.refuse_other_width`)
    operation_field  the field that tells deletions; empty: null messages delete
    deletes          its values that mean a deletion, in lower case; all others are insertions or updates
    keys             table to the columns of its key: of one column, a message's key may be that column's bare value
    tables           which tables' rows are another's documents
    debezium         what is known of columns whose rows Debezium has unwrapped: `types`, `used`

    Raises ValueError where there is neither `table` nor `table_field`, or a position type is none of the three.
    """

    table: str = ""
    table_field: str = ""
    position_field: str = ""
    position_type: PositionType = "integer"
    operation_field: str = ""
    deletes: frozenset[str] = frozenset({"d", "delete", "remove", "true", "1"})
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tables: Tables = ITSELF
    debezium: DebeziumFormat = _DEBEZIUM

    def __post_init__(self) -> None:
        if not (self.table or self.table_field):
            raise ValueError("neither table nor table_field is set: nothing says which table the rows are of")
        if self.position_type not in get_args(PositionType):
            allowed = ", ".join(get_args(PositionType))
            raise ValueError(f"position_type is {self.position_type!r}, must be one of {allowed}")


def decode(event: Event, format: RowsFormat) -> tuple[Change | Skip]:  # noqa: A002 (as agreed)
    """What a message does to a row: it is the row, whole; or deletes it, by its operation field or by being null.

    Fields stay the JSON values that they are. Where Kafka Connect's JSON converter has wrapped them in {schema,
    payload}, they are what that schema says: decimals, dates and times as people write them (Debezium's "New Record
    State Extraction" makes such rows), else what `debezium.types` says: without either, values of columns that
    documents use are refused where a row that shows that Debezium wrote it has one that could be two things.
    The key is the message's key where that is a JSON object; else the row has it, in the columns of
    `documents.TABLE.key`; else it is the bare value of a key of one column (`bare_key`).
    A value that is Debezium's default placeholder for one that did not travel is unavailable, as in its own events.
    A null message, or an empty one, is skipped where it has no key, or where an operation field tells deletions.

    Position: the position field, in a fixed width that compares as the values do, a dot, then `arrival`: of two rows
    with the same position the one that came later counts. Without a position field, `arrival` alone: right while a
    key's rows are sent in order and stay in one partition or shard, so as long as partitions aren't added. A null
    message has no position field: where there is one, null messages are refused.

    Raises DecodeError for what isn't such a row.
    """
    row, schema = unwrapped(event.value, "value") if event.value else (None, None)
    if row is None:
        return (_tombstone(event, format),)
    if not isinstance(row, dict):
        raise DecodeError(f"the event's value is {quote(row)}, must be a JSON object")
    table = format.tables.of(_table(row, format))
    names = format.keys.get(table, ())
    types = format.debezium.columns.get(table, NOTHING_KNOWN)
    key_object = _object_key(event, types)
    key, position = _key(key_object, event, names, row), _position(row, event, format)
    columns = types if schema is None else columns_of(schema, None, types)
    try:
        values = _values(row, columns, table)
        operation = _operation(row, format)
        if schema is None and operation is Operation.UPSERT and is_unwrapped(event, row):
            values |= decimals(values, columns)
            untyped = format.debezium.untyped.get(table, ())
            refuse_doubtful(row, [name for name in untyped if name not in (names or key)], table)
    except DecodeError as error:
        known = _values({name: row[name] for name in names if name in row}, columns, table)
        of_kinds = _kinds(key_object, known, names)
        refused = Change(table, key, Operation.REFUSED, position, known, rare=_rare(of_kinds))
        raise DecodeError(str(error), (refused,)) from None
    rare = _rare(_kinds(key_object, values, names), columns.numbers | (numbers_of(row) - columns.readers.keys()))
    return (Change(table, key, operation, position, values, _DEBEZIUM.marked(row), rare=rare),)


def _rare(of_kinds: str, numbers: frozenset[str] = frozenset()) -> Rare | None:
    return Rare(key_kinds=of_kinds, numbers=numbers) if of_kinds or numbers else None


def _values(row: dict[str, Any], columns: Columns, table: str) -> dict[str, Any]:
    values = storable_row(row)
    for name, read in columns.readers.items():
        if row.get(name) is not None:
            values[name] = storable(_read(read, row[name], f"{table}.{name}"))
    return values


def _read(read: Reader, value: Any, column: str) -> Any:
    try:
        return read(value)
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise DecodeError(f"{column[:_LONGEST_NAME]} is {quote(value)}, which {error}") from None


def _kinds(key: Mapping[str, Any] | None, row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Of what kinds the key's values are, where anything but a bare key tells."""
    found = {name: row.get(name, None if key is None else key.get(name)) for name in names} or key
    return "" if not found or None in found.values() else kinds(found)


def _tombstone(event: Event, settings: RowsFormat) -> Change | Skip:
    if event.key is None or settings.operation_field:
        return Skip.TOMBSTONE
    if settings.position_field:
        raise DecodeError(
            f"the event is null and so has no {settings.position_field} to order it: "
            "send deletions as rows with an operation field, or leave position_field out"
        )
    if not settings.table:
        raise DecodeError(
            f"the event is null and so has no {settings.table_field} to name its table: "
            "send deletions as rows with an operation field, or set table"
        )
    table = settings.tables.of(settings.table)
    names = settings.keys.get(table, ())
    key = _object_key(event, settings.debezium.columns.get(table, NOTHING_KNOWN))
    found = _key(key, event, names, {})
    return Change(table, found, Operation.DELETE, Position(arrival(event)), rare=_rare(_kinds(key, {}, names)))


def _object_key(event: Event, types: Columns) -> dict[str, Any] | None:
    """The message's key where that is a JSON object."""
    if not event.key:
        return None
    try:
        value, schema = unwrapped(event.key, "key")
    except DecodeError:
        return None
    if not isinstance(value, dict):
        return None
    return _values(value, types if schema is None else columns_of(schema, None, types), "key")


def _key(
    found: Mapping[str, Any] | None, event: Event, names: tuple[str, ...], row: Mapping[str, Any]
) -> dict[str, Any]:
    """The key; a bare one is read only where the row has no such column."""
    if found is not None:
        return dict(found)
    return {names[0]: bare_key(event.key, names[0])} if event.key and len(names) == 1 and names[0] not in row else {}


def _table(row: Mapping[str, Any], settings: RowsFormat) -> str:
    if not settings.table_field:
        return settings.table
    table = row.get(settings.table_field)
    if table is None and settings.table:
        return settings.table
    if type(table) is not str or not table:
        raise DecodeError(f"{settings.table_field} is {quote(table)}, must be text that names the row's table")
    return table


def _operation(row: Mapping[str, Any], settings: RowsFormat) -> Operation:
    said = row.get(settings.operation_field) if settings.operation_field else None
    if said is None:
        return Operation.UPSERT
    if not isinstance(said, str | bool | int):
        raise DecodeError(f"{settings.operation_field} is {quote(said)}, must be text, true, false or a whole number")
    text = said if isinstance(said, str) else str(storable(said))
    return Operation.DELETE if text.casefold() in settings.deletes else Operation.UPSERT


def _position(row: Mapping[str, Any], event: Event, settings: RowsFormat) -> Position:
    came = arrival(event)
    if not settings.position_field:
        return Position(came)
    return Position(f"{encoded(row.get(settings.position_field), settings)}.{came}")


def encoded(value: Any, settings: RowsFormat) -> str:
    """A position field's value in a fixed width, printable ASCII without blanks, that compares as the values do.

    integer: the value plus 2^63, as 20 digits. timestamp: nanoseconds since 1970 plus 10^20, as 21. text: itself.
    Raises DecodeError where it isn't of the position type.
    """
    if settings.position_type == "text":
        if isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT and all("!" <= each <= "~" for each in value):
            return value
        wanted = f"must be 1 to {_LONGEST_TEXT} printable ASCII characters without blanks"
    elif settings.position_type == "timestamp":
        try:
            return f"{nanoseconds(value) + _BEFORE_YEAR_1:021d}"
        except ValueError:
            wanted = "must be an ISO 8601 timestamp, as in 2024-02-29T21:59:59.1Z"
    else:
        number = _whole(value)
        if number is not None and -_HALF <= number < _HALF:
            return f"{number + _HALF:020d}"
        wanted = "must be a whole number of up to 64 bits"
    raise DecodeError(f"{settings.position_field} is {quote(value)}, which orders nothing: it {wanted}")


def _whole(value: Any) -> int | None:
    if type(value) is int:
        return value
    if isinstance(value, str) and len(value) <= 20 and value.isascii() and value.removeprefix("-").isdecimal():
        return int(value)
    return None
