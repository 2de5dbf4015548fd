"""Rows of KPIs as JSON, as every place has them that holds no columns of its own: a topic, a stream, an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import msgspec

from core.stores.kpis import ColumnType, KpiChange, KpiTable, Value

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class JsonRow:
    """A row's key and the whole row, each an object by its columns' names, in their order."""

    key: bytes
    row: bytes


def json_row(table: KpiTable, change: KpiChange) -> JsonRow:
    """The row of a change. Times are of ISO 8601, a DECIMAL is a number of all its digits; NaN and infinity are null.

    Raises ValueError where JSON has no such value, or the key would be null.
    """
    names = list(table.columns)
    key = {names[at]: _as_json(table.columns[names[at]], change.values[at]) for at in table.key_places}
    if gone := [name for name, value in key.items() if _encode(value) == b"null"]:
        raise ValueError(f"the key's column {gone[0]} has no value that JSON has")
    return JsonRow(_encode(key), _encode(_row(table, change.values)))


def _row(table: KpiTable, values: Sequence[Value]) -> dict[str, Value | msgspec.Raw]:
    return {name: _as_json(kind, value) for (name, kind), value in zip(table.columns.items(), values, strict=True)}


def _as_json(kind: ColumnType, value: Value) -> Value | msgspec.Raw:
    if not isinstance(value, str):
        return value
    if kind is ColumnType.TIMESTAMP:
        return f"{value.replace(' ', 'T')}Z"
    return _number(value) if kind is ColumnType.DECIMAL else value


def _number(text: str) -> msgspec.Raw:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is no number") from None
    return msgspec.Raw(format(number, "f").encode() if number.is_finite() else b"null")
