"""Debezium's change events, as its JSON converter writes them.

Sources of the rules: Debezium 3's documentation, "Debezium connector for PostgreSQL: Data change events" (envelope,
`op`, `source`, tombstones, truncate and message events), "… Primary key updates", "… Toasted values", "… Transaction
metadata", "… Snapshots"; "Debezium connector for MySQL: Schema change topic"; "Debezium notifications"; "Sending
signals to a Debezium connector". How values are read: `debezium_values`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from core.change import Change, Event, Operation, Skip, Truncate
from core.errors import DecodeError
from core.formats.debezium_columns import NOTHING_KNOWN, Columns, columns_of_schema
from core.formats.debezium_format import UNAVAILABLE, DebeziumFormat
from core.formats.debezium_position import position
from core.formats.debezium_source import source_name
from core.formats.debezium_values import Reader, variable_scale_decimal
from core.formats.quoting import quote

__all__ = ["UNAVAILABLE", "DebeziumFormat", "decode", "position"]

_PLAIN = frozenset({str, float, bool, type(None)})
_LARGEST_INTEGER = 2**63 - 1
_DEEPEST = 32
_LONGEST_NAME = 200  # of schema, table and column, with 63 bytes each
_LASTS = ("last", "last_in_data_collection")
_OLD_KEY, _NEW_KEY = "__debezium.oldkey", "__debezium.newkey"
_ALWAYS_THERE = "__debezium.context.connectorName"
_SIGNAL_COLUMNS = {"id", "type", "data"}
_SIGNALS = (
    *(f"snapshot-window-{edge}" for edge in ("open", "close")),
    *(f"{verb}-snapshot" for verb in ("execute", "stop", "pause", "resume")),
)
_NO_MARKERS = ("mysql", "mariadb")
_NONE: frozenset[str] = frozenset()

_DEFAULT = DebeziumFormat()
_json = msgspec.json.Decoder().decode


class _Wrapped(msgspec.Struct, forbid_unknown_fields=True):
    schema: msgspec.Raw
    payload: dict[str, Any] | None


_wrapped = msgspec.json.Decoder(_Wrapped).decode


def decode(event: Event, format: DebeziumFormat = _DEFAULT) -> Change | Truncate | Skip:  # noqa: A002 (as agreed)
    """What an event does to a row or a table, or why it does nothing to either.

    Rows and keys hold what people write where the column's type is known, from the event's own schema or
    `format.types`; {scale, value} decimals are known by their shape.

    Unavailable is a column whose value is the connector's placeholder, in the form of any type, and only where a value
    can stay behind: in an update, or in the creation that is half of a key's change. Inserts and snapshot reads have
    all their values (an insert is told by Debezium's context headers, seen with every data event of 3.7; without
    them a placeholder in a creation counts as unavailable). Rows with a full `before` image (REPLICA IDENTITY FULL)
    have theirs too, and so do MySQL's.
    Doubtful are nulls in columns that PostgreSQL may have left out and that Debezium, which has no placeholder for
    their type, then sends as null: pgvector's and PostGIS's types, numerics of more than 32 or of any number of digits,
    arrays of other than text, bytes, whole numbers, dates and UUIDs; where the type is known, and in the same events.
    `before` is taken for a full image where it has the values of the row's key: without REPLICA IDENTITY FULL, an
    update's `before` is there only where a replica identity index changed, and has that index's columns alone.

    Raises DecodeError for anything that is not a Debezium event, or is one that can't be understood.
    """
    if event.value is None:
        return Skip.TOMBSTONE
    envelope, schema = _object(event.value, "value")
    if envelope is None:
        return Skip.TOMBSTONE
    source = envelope.get("source")
    operation = envelope.get("op")
    if not isinstance(source, dict) or (operation is None and "ddl" in envelope):
        return _rowless(envelope)
    if operation == "m":
        return Skip.MESSAGE
    if operation == "t":
        return Truncate(_table(source), position(source, snapshot=False), _milliseconds(source), source_name(source))
    try:
        if operation not in ("c", "u", "r", "d"):
            raise DecodeError(f"op is {quote(operation)}, must be one of c, u, r, d, t or m")
        return _change(event, format, envelope, schema, source, operation)
    except DecodeError as error:
        raise DecodeError(str(error), _refused(event, format, envelope, schema, source)) from None


def _refused(
    event: Event, settings: DebeziumFormat, envelope: dict[str, Any], schema: bytes | None, source: dict[str, Any]
) -> tuple[Change, ...]:
    """What can be told of a change that can't be read: of its row the columns that nothing converts.

    Nothing where its table, key or position can't be told.
    """
    row: dict[str, Any] = {}
    left_out = _NONE
    try:
        table = _table(source)
        at = position(source, snapshot=envelope.get("op") == "r")
        types = settings.columns.get(table, NOTHING_KNOWN)
        key, raw_key = _key(event, table, types)
    except DecodeError:
        return ()
    moves = _OLD_KEY in event.headers or _NEW_KEY in event.headers
    raw = envelope.get("after")
    with suppress(DecodeError):
        if envelope.get("op") in ("c", "u", "r") and isinstance(raw, dict):
            columns = types if schema is None else _columns(schema, "after", types)
            marked = frozenset(name for name, value in raw.items() if value in settings.markers)
            if envelope["op"] == "u":
                left_out = _left_out(marked, _full_image(envelope, raw_key), source)
            unsure = columns.readers.keys() | columns.doubtful | marked
            row = {name: value for name, value in raw.items() if _is_plain(value) and name not in unsure}
    return (Change(table, key, Operation.REFUSED, at, row, left_out, moves=moves, source=source_name(source)),)


def _change(
    event: Event,
    settings: DebeziumFormat,
    envelope: dict[str, Any],
    schema: bytes | None,
    source: dict[str, Any],
    operation: str,
) -> Change | Skip:
    image = "before" if operation == "d" else "after"
    raw = _image(envelope, image)
    if len(raw) == 3 and raw.keys() == _SIGNAL_COLUMNS and raw["type"] in _SIGNALS:
        return Skip.NOTIFICATION
    table = _table(source)
    types = settings.columns.get(table, NOTHING_KNOWN)
    columns = types if schema is None else _columns(schema, image, types)
    key, raw_key = _key(event, table, types)
    moves = (_NEW_KEY if operation == "d" else _OLD_KEY) in event.headers
    row = {name: value if type(value) in _PLAIN else _storable(value) for name, value in raw.items()}
    unavailable = doubtful = _NONE
    if operation == "u" or (operation == "c" and (moves or _ALWAYS_THERE not in event.headers)):
        markers = settings.markers
        unavailable = frozenset([name for name, value in raw.items() if value in markers])
        if unavailable or columns.doubtful:
            before = _full_image(envelope, raw_key) if operation == "u" else None
            unavailable = _left_out(unavailable, before, source)
            if before is None and (operation == "u" or moves):
                doubtful = frozenset(name for name in columns.doubtful if raw.get(name, "") is None)
    if columns.readers:
        _read(row, raw, columns.readers, table, unavailable)
    return Change(
        table=table,
        key=key,
        operation=Operation.DELETE if operation == "d" else Operation.UPSERT,
        position=position(source, snapshot=operation == "r"),
        row=row,
        unavailable=unavailable,
        committed_ms=_milliseconds(source),
        moves=moves,
        ends_snapshot=operation == "r" and source.get("snapshot") in _LASTS,
        doubtful=doubtful,
        source=source_name(source),
        snapshot=operation == "r",
    )


def _is_plain(value: Any) -> bool:
    return type(value) in _PLAIN or (type(value) is int and abs(value) <= _LARGEST_INTEGER)


def _rowless(envelope: Mapping[str, Any]) -> Skip:
    if envelope.get("status") in ("BEGIN", "END"):
        return Skip.TRANSACTION
    if "ddl" in envelope and "op" not in envelope:
        return Skip.SCHEMA_CHANGE
    if "aggregate_type" in envelope and "type" in envelope:
        return Skip.NOTIFICATION
    if set(envelope) <= {"ts_ms", "ts_us", "ts_ns"} and envelope:
        return Skip.HEARTBEAT
    raise DecodeError(f"not a Debezium envelope: no source among its fields ({quote(', '.join(map(str, envelope)))})")


def _table(source: Mapping[str, Any]) -> str:
    schema, table = source.get("schema") or source.get("db"), source.get("table")
    if not (isinstance(schema, str) and isinstance(table, str) and table):
        raise DecodeError(f"source names the table {quote(table)} in schema {quote(schema)}; both must be text")
    return f"{schema}.{table}"


def _milliseconds(source: Mapping[str, Any]) -> int | None:
    committed = source.get("ts_ms")
    return committed if type(committed) is int and abs(committed) <= _LARGEST_INTEGER else None


def _image(envelope: Mapping[str, Any], image: str) -> dict[str, Any]:
    row = envelope.get(image)
    if row is None and image == "before":
        return {}
    if not isinstance(row, dict):
        raise DecodeError(f"op is {quote(envelope.get('op'))} but {image!r} is {quote(row)}, must be the row")
    return row


def _full_image(envelope: Mapping[str, Any], key: Mapping[str, Any]) -> dict[str, Any] | None:
    before = envelope.get("before")
    if isinstance(before, dict) and key and all(name in before and before[name] == key[name] for name in key):
        return before
    return None


def _left_out(marked: frozenset[str], before: Mapping[str, Any] | None, source: Mapping[str, Any]) -> frozenset[str]:
    if source.get("connector") in _NO_MARKERS:
        return _NONE
    # A null or empty value before may also be what an image that isn't full has.
    return frozenset(name for name in marked if before is None or before.get(name) in (None, ""))


def _columns(schema: bytes, image: str | None, types: Columns) -> Columns:
    try:
        known = columns_of_schema(schema, image)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"the event's schema is not JSON: {error}") from None
    if types is NOTHING_KNOWN:
        return known
    return Columns({**types.readers, **known.readers}, types.doubtful | known.doubtful)


def _read(
    row: dict[str, Any],
    raw: Mapping[str, Any],
    readers: Mapping[str, Reader],
    table: str,
    unavailable: frozenset[str] = _NONE,
) -> None:
    for name, read in readers.items():
        value = raw.get(name)
        if value is None or name in unavailable:
            continue
        try:
            row[name] = read(value)
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            column = f"{table}.{name}"[:_LONGEST_NAME]
            raise DecodeError(
                f"{column} is {quote(value)}, which {error}: check the column's type and the connector's modes"
            ) from None


def _storable(value: Any, deeper: int = _DEEPEST) -> Any:
    """Integers beyond 64 bits as text, as MessagePack and most stores end there; {scale, value} as its decimal."""
    if isinstance(value, int):
        return str(value) if abs(value) > _LARGEST_INTEGER else value
    if not deeper:
        raise DecodeError(f"a value is nested more than {_DEEPEST} levels deep")
    if isinstance(value, list):
        return [item if type(item) in _PLAIN else _storable(item, deeper - 1) for item in value]
    if isinstance(value, dict):
        return variable_scale_decimal(value) or {
            name: item if type(item) in _PLAIN else _storable(item, deeper - 1) for name, item in value.items()
        }
    return value


def _key(event: Event, table: str, types: Columns) -> tuple[dict[str, Any], dict[str, Any]]:
    """The key as people write it, and as it came."""
    if event.key is None:
        return {}, {}
    raw, schema = _object(event.key, "key")
    if raw is None:
        return {}, {}
    key = {name: value if type(value) in _PLAIN else _storable(value) for name, value in raw.items()}
    readers = (types if schema is None else _columns(schema, None, types)).readers
    if readers:
        _read(key, raw, {name: readers[name] for name in raw if name in readers}, table)
    return key, raw


def _object(raw: bytes, what: str) -> tuple[dict[str, Any] | None, bytes | None]:
    """The bare object, and its schema where the JSON converter wrapped it in {schema, payload} (`schemas.enable`).

    Both None where the payload is null. A bare key may have columns of those two names: their values are never objects.
    """
    try:
        if raw.startswith(b'{"schema"'):
            with suppress(msgspec.ValidationError):
                return _unwrapped(raw)
        value = _json(raw)
        if type(value) is dict and len(value) == 2 and "payload" in value and _is_schema(value.get("schema", "")):
            return _unwrapped(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"the event's {what} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise DecodeError(f"the event's {what} is {quote(value)}, must be a JSON object")
    return value, None


def _unwrapped(raw: bytes) -> tuple[dict[str, Any] | None, bytes]:
    wrapped = _wrapped(raw)
    schema = bytes(wrapped.schema)
    if schema[:1] not in (b"{", b"n"):
        raise msgspec.ValidationError("schema is no object")
    return wrapped.payload, schema


def _is_schema(value: Any) -> bool:
    return value is None or isinstance(value, dict)
