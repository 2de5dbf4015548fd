"""JSON from feeds, as stores and states can hold it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from core.errors import DecodeError, quote
from core.formats.wrapping import is_wrapped, unwrapper

LARGEST_INTEGER = 2**63 - 1
JSON_CONVERTER = "org.apache.kafka.connect.json.JsonConverter"
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_NOT_NUMBERS = (b"NaN", b"Infinity")
_PLAIN = frozenset({str, float, bool, type(None)})
_DEEPEST = 32


class Digits(str):
    """A number of JSON that no float holds, as the text that it is. `storable` makes plain text of it."""

    __slots__ = ()


def exact_float(text: str) -> float | Digits:
    """A decimal number as a float where that keeps its value, as the text it is where it doesn't."""
    number = float(text)
    shown = repr(number)
    try:
        return number if shown == text or Decimal(shown) == Decimal(text) else Digits(text)
    except ArithmeticError:  # an exponent beyond those of Decimal
        return Digits(text)


def numbers_of(row: Mapping[str, Any]) -> frozenset[str]:
    """The columns whose values become text, in `storable`, and are numbers all the same: stores keep them as such.

    So is a list, where it has numbers alone. What is within an object of JSON stays text.
    """
    return frozenset([name for name, value in row.items() if type(value) not in _PLAIN and _is_number(value)])


def _is_number(value: Any) -> bool:
    kind = type(value)
    if kind is list:
        return any(map(_is_number, value)) and all(each is None or type(each) in _NUMBERS for each in value)
    return kind is Digits or kind is Decimal or (kind is int and abs(value) > LARGEST_INTEGER)


_NUMBERS = frozenset({int, float, Decimal, Digits})
_json = msgspec.json.Decoder(float_hook=exact_float).decode
_unwrapped = unwrapper(exact_float)


def json_object(raw: bytes, what: str) -> dict[str, Any]:
    """The JSON object in `raw`; fractions that no float holds exactly are text. Raises DecodeError for anything else.

    what  names the bytes in errors: `value` or `key`
    """
    value = json_value(raw, what)
    if not isinstance(value, dict):
        raise DecodeError(f"the event's {what} is {quote(value)}, must be a JSON object")
    return value


def json_value(raw: bytes, what: str) -> Any:
    """As `json_object`, for JSON of any kind.

    A byte order mark before it is no part of it. NaN and infinities, which JSON doesn't have and Python's and
    JavaScript's libraries write, are the texts `NaN`, `Infinity` and `-Infinity`, as Debezium writes them.
    """
    try:
        return _json(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if raw.startswith(_BOM):
            return json_value(raw[len(_BOM) :], what)
        if any(each in raw for each in _NOT_NUMBERS):
            return _with_constants(raw, what)
        raise not_json(raw, what, error) from None


def unwrapped(raw: bytes, what: str) -> tuple[Any, bytes | None]:
    """As `json_value`, with the schema as JSON where Kafka Connect's converter has wrapped it in {schema, payload}.

    A row that has columns of these two names alone, the one a Connect schema and the other an object, would be taken
    for a wrapped one.
    """
    value = json_value(raw, what)
    if is_wrapped(value) and _is_connect_schema(value["schema"], value["payload"]):
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _unwrapped(raw)
    return value, None


def _is_connect_schema(schema: Any, payload: Any) -> bool:
    kind = schema.get("type") if schema else None
    if isinstance(payload, dict):
        return kind == "struct"
    return isinstance(kind, str) or (schema is None and payload is None)


def _with_constants(raw: bytes, what: str) -> Any:
    try:
        value = json.loads(raw.decode(), parse_float=exact_float, parse_constant=str)
        _encode(value)  # this library lets half a surrogate pair pass, which no store does
    except (ValueError, RecursionError, msgspec.EncodeError) as error:
        raise not_json(raw, what, error) from None
    return value


def not_json(raw: bytes, what: str, error: Exception) -> DecodeError:
    """The error for bytes that aren't JSON; it names a schema registry where they were written for one.

    Sources: Confluent's documentation, "Wire format" (a zero byte, four of the schema's id); AWS Glue Schema Registry's
    serializer, `AWSSchemaRegistryConstants` (3, a byte of the compression, sixteen of the schema version's UUID).
    """
    remedy = f"Freshet reads plain JSON: give the connector {JSON_CONVERTER} as its {what}.converter"
    if raw[:1] == b"\x00" and len(raw) > 5:
        number = int.from_bytes(raw[1:5], "big")
        return DecodeError(
            f"the event's {what} was written for Confluent's schema registry (its schema there is {number}): {remedy}"
        )
    if raw[:1] == b"\x03" and len(raw) > 18 and raw[1] in (0, 5):
        return DecodeError(
            f"the event's {what} was written for AWS Glue's schema registry (schema version {UUID(bytes=raw[2:18])}): "
            f"{remedy}"
        )
    if raw[:2] in _UTF_16 or b"\x00" in raw[:4]:
        return DecodeError(f"the event's {what} is not JSON in UTF-8, it looks like UTF-16 or binary data: {remedy}")
    return DecodeError(f"the event's {what} is not JSON: {error}")


_encode = msgspec.json.Encoder(enc_hook=str).encode


def storable_row(row: dict[str, Any]) -> dict[str, Any]:
    """The row with integers beyond 64 bits, and fractions beyond a float, as text: MessagePack and most stores end
    there.

    Raises DecodeError where a value is nested more than 32 levels deep.
    """
    return {name: value if type(value) in _PLAIN else storable(value) for name, value in row.items()}


def storable(value: Any, deeper: int = _DEEPEST) -> Any:
    """As `storable_row`, for one value."""
    if type(value) is int:
        return value if abs(value) <= LARGEST_INTEGER else str(value)
    if type(value) is Digits:
        return str(value)
    if not deeper:
        raise DecodeError(f"a value is nested more than {_DEEPEST} levels deep")
    if isinstance(value, list):
        return [item if type(item) in _PLAIN else storable(item, deeper - 1) for item in value]
    if isinstance(value, dict):
        return {name: item if type(item) in _PLAIN else storable(item, deeper - 1) for name, item in value.items()}
    return value
