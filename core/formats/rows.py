"""Plain rows from any producer: one JSON object a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from core.change import Change, Event, Operation, Position, Skip
from core.errors import DecodeError
from core.formats.arrival import arrival
from core.formats.json_values import json_object, json_value, storable, storable_row
from core.formats.quoting import quote
from core.formats.timestamps import nanoseconds

PositionType = Literal["integer", "timestamp", "text"]

_HALF = 2**63
_BEFORE_YEAR_1 = 10**20
_LONGEST_TEXT = 64


@dataclass(frozen=True)
class RowsFormat:
    """Where a producer's messages say what and when.

    table            the table that the rows are of, where they don't say it themselves
    table_field      the field that names it; it goes before `table`
    position_field   the field that orders the rows of one key; empty: the order in which the broker has them
    position_type    integer: whole numbers of 64 bits, as JSON numbers or digits; timestamp: ISO 8601, to nanoseconds,
                     UTC where it names no offset; text: printable ASCII without blanks, always of the same length
    operation_field  the field that tells deletions; empty: null messages delete
    deletes          its values that mean a deletion, in lower case; all others are insertions or updates
    keys             table to the columns of its key: of one column, a message's key may be that column's bare value

    Raises ValueError where there is neither `table` nor `table_field`, or a position type is none of the three.
    """

    table: str = ""
    table_field: str = ""
    position_field: str = ""
    position_type: PositionType = "integer"
    operation_field: str = ""
    deletes: frozenset[str] = frozenset({"d", "delete", "remove", "true", "1"})
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (self.table or self.table_field):
            raise ValueError("neither table nor table_field is set: nothing says which table the rows are of")
        if self.position_type not in get_args(PositionType):
            allowed = ", ".join(get_args(PositionType))
            raise ValueError(f"position_type is {self.position_type!r}, must be one of {allowed}")


def decode(event: Event, format: RowsFormat) -> tuple[Change | Skip]:  # noqa: A002 (as agreed)
    """What a message does to a row: it is the row, whole; or deletes it, by its operation field or by being null.

    Fields stay the JSON values that they are. The key is the message's key where that is a JSON object, or the bare
    value of a key of one column; else the row alone has it, in the columns of `documents.TABLE.key`.
    A null message is skipped where it has no key, or where an operation field tells deletions.

    Position: the position field, in a fixed width that compares as the values do, a dot, then `arrival`: of two rows
    with the same position the one that came later counts. Without a position field, `arrival` alone: right while a
    key's rows are sent in order and stay in one partition or shard, so as long as partitions aren't added. A null
    message has no position field: where there is one, null messages are refused.

    Raises DecodeError for what isn't such a row.
    """
    key_object, bare = _message_key(event)
    if event.value is None:
        return (_tombstone(event, format, key_object, bare),)
    row = json_object(event.value, "value")
    table = _table(row, format)
    names = format.keys.get(table, ())
    key, position = _key(key_object, bare, names), _position(row, event, format)
    try:
        return (Change(table, key, _operation(row, format), position, storable_row(row)),)
    except DecodeError as error:
        known = storable_row({name: row[name] for name in names if name in row})
        raise DecodeError(str(error), (Change(table, key, Operation.REFUSED, position, known),)) from None


def _tombstone(event: Event, settings: RowsFormat, key: Mapping[str, Any] | None, bare: str | None) -> Change | Skip:
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
    found = _key(key, bare, settings.keys.get(settings.table, ()))
    return Change(settings.table, found, Operation.DELETE, Position(arrival(event)))


def _message_key(event: Event) -> tuple[dict[str, Any] | None, str | None]:
    """An object, or else what stands there as text: JSON's strings without their quotes."""
    if not event.key:
        return None, None
    try:
        value = json_value(event.key, "key")
    except DecodeError:
        value = None
    if isinstance(value, dict):
        return storable_row(value), None
    return None, value if isinstance(value, str) else event.key.decode("utf-8", "replace")


def _key(key: Mapping[str, Any] | None, bare: str | None, names: tuple[str, ...]) -> dict[str, Any]:
    if key is not None:
        return dict(key)
    return {names[0]: bare} if bare is not None and len(names) == 1 else {}


def _table(row: Mapping[str, Any], settings: RowsFormat) -> str:
    if not settings.table_field:
        return settings.table
    table = row.get(settings.table_field)
    if table is None and settings.table:
        return settings.table
    if not (isinstance(table, str) and table):
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
