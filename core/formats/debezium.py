"""Debezium's change events, as its JSON converter writes them.

Sources of the rules: Debezium 3's documentation, "Debezium connector for PostgreSQL: Data change events" (envelope,
`op`, `source`, tombstones, truncate and message events), "… Primary key updates", "… Toasted values", "… Transaction
metadata", "… Snapshots"; "Debezium connector for MySQL: Schema change topic"; "Debezium notifications".
How values are read: `debezium_values`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from core.change import Change, Event, Operation, Skip, Truncate
from core.errors import DecodeError
from core.formats.arrival import arrival
from core.formats.debezium_columns import NOTHING_KNOWN, Columns, columns_of_schema
from core.formats.debezium_doubt import refuse_doubtful
from core.formats.debezium_format import UNAVAILABLE, DebeziumFormat
from core.formats.debezium_position import pair, position
from core.formats.debezium_values import Reader, document, variable_scale_decimal
from core.formats.json_values import not_json
from core.formats.quoting import quote
from core.formats.tables import ITSELF
from core.formats.wrapping import is_wrapped, unwrapper

__all__ = ["UNAVAILABLE", "DebeziumFormat", "decode", "position"]

_PLAIN = frozenset({str, float, bool, type(None)})
_LARGEST_INTEGER = 2**63 - 1
_DEEPEST = 32
_LONGEST_NAME = 200  # of schema, table and column, with 63 bytes each
_LASTS = ("last", "last_in_data_collection")
_OLD_KEY, _NEW_KEY = "__debezium.oldkey", "__debezium.newkey"
_ALWAYS_THERE = "__debezium.context.connectorName"
_NO_MARKERS = ("mysql", "mariadb")
_UNREAD = ("mongodb", "sqlserver", "oracle", "db2", "cassandra", "vitess", "spanner", "informix", "ibmi", "cockroachdb")
_PLACE_OF_COMMIT = 16  # digits of the first half of PostgreSQL's positions
_NONE: frozenset[str] = frozenset()

_DEFAULT = DebeziumFormat()
_json = msgspec.json.Decoder().decode


_unwrapped = unwrapper()


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
    Where neither a schema nor `types` tells what a column is, its value is what came. In the columns of `format.used`,
    those of the key excepted, a value that could be two things is refused: `debezium_doubt`.
    `before` is taken for a full image where it has the values of the row's key: without REPLICA IDENTITY FULL, an
    update's `before` is there only where a replica identity index changed, and has that index's columns alone.

    Raises DecodeError for anything that is not a Debezium event, or is one that can't be understood.
    """
    if not event.value:
        return Skip.TOMBSTONE
    envelope, schema = _object(event.value, "value")
    if envelope is None:
        return Skip.TOMBSTONE
    if type(envelope) is not dict:
        raise DecodeError(f"the event's value is {quote(envelope)}, must be a JSON object")
    source = envelope.get("source")
    operation = envelope.get("op")
    if not isinstance(source, dict) or (operation is None and "ddl" in envelope):
        return _rowless(envelope)
    if operation == "m":
        return Skip.MESSAGE
    if source.get("connector") != "postgresql":
        _readable(source.get("connector"))
    if operation == "t":
        return _truncate(event, format, source)
    if operation not in ("c", "u", "r", "d"):
        raise DecodeError(f"op is {quote(operation)}, must be one of c, u, r, d, t or m")
    return _change(event, format, envelope, schema, source, operation)


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
    told = _table(source)
    table = told if settings.tables is ITSELF else settings.tables.of(told)
    types = settings.columns.get(table, NOTHING_KNOWN)
    columns = types if schema is None else _columns(schema, image, types)
    key, raw_key = _key(event, table, types, settings.keys.get(table, ()), raw)
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
    if schema is None and settings.used and operation != "d" and table in settings.untold:
        refuse_doubtful(
            raw, (each for each in settings.untold[table] if each not in (unavailable | raw_key.keys())), table
        )
    snapshot = operation == "r"
    at = position(source, snapshot, arrival(event) if "file" in source else "")
    gone = operation == "d"
    return Change(
        table=table,
        key=key,
        operation=Operation.DELETE if gone else Operation.UPSERT,
        position=at,
        row=row,
        unavailable=unavailable,
        committed_ms=_milliseconds(source),
        moves=moves,
        # each of several tables ends by itself: what the others have still to show isn't gone
        ends_snapshot=snapshot and (source.get("snapshot") in _LASTS if told == table else False),
        doubtful=doubtful,
        pair=pair(source, at) if moves else "",
        commit=at[:_PLACE_OF_COMMIT] if (moves or gone) and "sequence" in source else "",
        numbers=columns.numbers,
    )


def _readable(connector: Any) -> None:
    if type(connector) is str and connector in _UNREAD:
        raise DecodeError(
            f"source.connector is {connector!r}: Freshet reads Debezium's for PostgreSQL, MySQL and MariaDB; "
            "have what reads this one write rows, and read them with format: rows"
        )


def _truncate(event: Event, settings: DebeziumFormat, source: Mapping[str, Any]) -> Truncate:
    table = _table(source)
    settings.tables.refuse_truncation(table)
    at = position(source, snapshot=False, came=arrival(event) if "file" in source else "")
    return Truncate(table, at, _milliseconds(source))


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
    return known if types is NOTHING_KNOWN else known.or_else(types)


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


def _key(
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
        raw, schema = _object(event.key, "key")
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
    key = {name: value if type(value) in _PLAIN else _storable(value) for name, value in raw.items()}
    readers = (types if schema is None else _columns(schema, None, types)).readers
    if readers:
        # JSON stays the text that it is in a key: so documents' ids stay what they are
        _read(key, raw, {name: readers[name] for name in raw if readers.get(name, document) is not document}, table)
    return key, raw


def _object(raw: bytes, what: str) -> tuple[Any, bytes | None]:
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
