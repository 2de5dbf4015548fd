"""JSON from feeds, as stores and states can hold it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from core.errors import DecodeError
from core.formats.quoting import quote

LARGEST_INTEGER = 2**63 - 1
_PLAIN = frozenset({str, float, bool, type(None)})
_DEEPEST = 32


def exact_float(text: str) -> float | str:
    """A decimal number as a float where that keeps its value, as the text it is where it doesn't."""
    number = float(text)
    shown = repr(number)
    try:
        return number if shown == text or Decimal(shown) == Decimal(text) else text
    except ArithmeticError:  # an exponent beyond those of Decimal
        return text


_json = msgspec.json.Decoder(float_hook=exact_float).decode


def json_object(raw: bytes, what: str) -> dict[str, Any]:
    """The JSON object in `raw`; fractions that no float holds exactly are text. Raises DecodeError for anything else.

    what  names the bytes in errors: `value` or `key`
    """
    value = json_value(raw, what)
    if not isinstance(value, dict):
        raise DecodeError(f"the event's {what} is {quote(value)}, must be a JSON object")
    return value


def json_value(raw: bytes, what: str) -> Any:
    """As `json_object`, for JSON of any kind."""
    try:
        return _json(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"the event's {what} is not JSON: {error}") from None


def storable_row(row: dict[str, Any]) -> dict[str, Any]:
    """The row with integers beyond 64 bits as text: MessagePack and most stores end there.

    Raises DecodeError where a value is nested more than 32 levels deep.
    """
    return {name: value if type(value) in _PLAIN else storable(value) for name, value in row.items()}


def storable(value: Any, deeper: int = _DEEPEST) -> Any:
    """As `storable_row`, for one value."""
    if type(value) is int:
        return value if abs(value) <= LARGEST_INTEGER else str(value)
    if not deeper:
        raise DecodeError(f"a value is nested more than {_DEEPEST} levels deep")
    if isinstance(value, list):
        return [item if type(item) in _PLAIN else storable(item, deeper - 1) for item in value]
    if isinstance(value, dict):
        return {name: item if type(item) in _PLAIN else storable(item, deeper - 1) for name, item in value.items()}
    return value
