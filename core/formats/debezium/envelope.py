"""What stands in Debezium's envelopes: keys and rows, their schemas, and what an image leaves out.

Sources of the rules: as in `debezium`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from core.change import Event
from core.errors import DecodeError, quote
from core.formats.debezium.columns import NOTHING_KNOWN, Columns, columns_of_schema
from core.formats.debezium.values import Reader, document, variable_scale_decimal
from core.formats.json_values import not_json
from core.formats.wrapping import is_wrapped, unwrapper

PLAIN = frozenset({str, float, bool, type(None)})
"""Types of the values that are stored as they come."""

_LARGEST_INTEGER = 2**63 - 1
_DEEPEST = 32
_LONGEST_NAME = 200  # of schema, table and column, with 63 bytes each
_NO_MARKERS = ("mysql", "mariadb")
_NONE: frozenset[str] = frozenset()
_json = msgspec.json.Decoder().decode
_unwrapped = unwrapper()


def full_image(envelope: Mapping[str, Any], key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row before the change, where `before` has the values of the row's key: else it may lack columns."""
    before = envelope.get("before")
    if isinstance(before, dict) and key and all(name in before and before[name] == key[name] for name in key):
        return before
    return None


def is_whole(before: Any, key: Mapping[str, Any]) -> bool:
    """Whether a deletion's image has more than the key: with REPLICA IDENTITY DEFAULT all else is null."""
    return isinstance(before, dict) and any(value is not None for name, value in before.items() if name not in key)


def left_out(marked: frozenset[str], before: Mapping[str, Any] | None, source: Mapping[str, Any]) -> frozenset[str]:
    """Of the columns that hold a placeholder those whose value did not travel."""
    if source.get("connector") in _NO_MARKERS:
        return _NONE
    # A null or empty value before may also be what an image that isn't full has.
    return frozenset(name for name in marked if before is None or before.get(name) in (None, ""))


def columns_of(schema: bytes, image: str | None, types: Columns) -> Columns:
    """What the event's schema says of columns, and `types` of those that it lacks.

    Raises DecodeError where the schema isn't JSON.
    """
    try:
        known = columns_of_schema(schema, image)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"the event's schema is not JSON: {error}") from None
    return known if types is NOTHING_KNOWN else known.or_else(types)


def read(
    row: dict[str, Any],
    raw: Mapping[str, Any],
    readers: Mapping[str, Reader],
    table: str,
    unavailable: frozenset[str] = _NONE,
) -> None:
    """Put what people write into `row`, for each column of `readers` that has a value in `raw`.

    Raises DecodeError for a value that is none of its type.
    """
    for name, reader in readers.items():
        value = raw.get(name)
        if value is None or name in unavailable:
            continue
        try:
            row[name] = reader(value)
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            column = f"{table}.{name}"[:_LONGEST_NAME]
            raise DecodeError(
                f"{column} is {quote(value)}, which {error}: check the column's type and the connector's modes"
            ) from None


def storable(value: Any, deeper: int = _DEEPEST) -> Any:
    """Integers beyond 64 bits as text, as MessagePack and most stores end there; {scale, value} as its decimal."""
    if isinstance(value, int):
        return str(value) if abs(value) > _LARGEST_INTEGER else value
    if not deeper:
        raise DecodeError(f"a value is nested more than {_DEEPEST} levels deep")
    if isinstance(value, list):
        return [item if type(item) in PLAIN else storable(item, deeper - 1) for item in value]
    if isinstance(value, dict):
        return variable_scale_decimal(value) or {
            name: item if type(item) in PLAIN else storable(item, deeper - 1) for name, item in value.items()
        }
    return value


def key_of(
    event: Event, table: str, types: Columns, named: tuple[str, ...], row: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The key as people write it, and as it came.

    Where the pipeline names the key's columns, one that is no object (`ExtractField`, `StringConverter`) isn't needed.
    """
    if not event.key:
        return {}, {}
    raw: Any = {}
    schema: bytes | None = None
    wrong = ""
    try:
        raw, schema = unwrapped(event.key, "key")
    except DecodeError as error:
        wrong = str(error)
    if raw is None:
        return {}, {}
    if type(raw) is not dict:
        wrong = f"the event's key is {quote(raw)}, must be a JSON object"
    if wrong or not raw:
        if not named and wrong:
            raise DecodeError(f"{wrong}. Or name the key's columns in the pipeline file, as key of {table}")
        raw, schema = {name: row[name] for name in named if row.get(name) is not None}, None
    key = {name: value if type(value) in PLAIN else storable(value) for name, value in raw.items()}
    readers = (types if schema is None else columns_of(schema, None, types)).readers
    if readers:
        # JSON stays the text that it is in a key: so documents' ids stay what they are
        read(key, raw, {name: readers[name] for name in raw if readers.get(name, document) is not document}, table)
    return key, raw


def unwrapped(raw: bytes, what: str) -> tuple[Any, bytes | None]:
    """The bare value, and its schema where the JSON converter wrapped it in {schema, payload} (`schemas.enable`).

    None where it is null. A bare key may have columns of those two names: their values are never objects.
    """
    try:
        if raw.startswith(b'{"schema"'):
            with suppress(msgspec.ValidationError):
                return _unwrapped(raw)
        value = _json(raw)
        if type(value) is dict and len(value) == 2 and is_wrapped(value):
            return _unwrapped(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise not_json(raw, what, error) from None
    return value, None
