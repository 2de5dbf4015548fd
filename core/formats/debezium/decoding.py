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

from core.change import Change, Event, Operation, Position, Rare, Skip, Truncate
from core.errors import DecodeError, quote
from core.formats.arrival import arrival
from core.formats.debezium.columns import NOTHING_KNOWN
from core.formats.debezium.doubt import has_fraction, may_be, refuse_doubtful, with_all_digits
from core.formats.debezium.envelope import (
    PLAIN,
    columns_of,
    full_image,
    is_whole,
    key_of,
    left_out,
    read,
    storable,
    unwrapped,
)
from core.formats.debezium.format import UNAVAILABLE, DebeziumFormat
from core.formats.debezium.places import heartbeat
from core.formats.debezium.position import pair, position
from core.formats.debezium.source import source_name
from core.formats.json_values import numbers_of, storable_row
from core.formats.tables import ITSELF

__all__ = ["UNAVAILABLE", "DebeziumFormat", "decode", "position"]

_LARGEST_INTEGER = 2**63 - 1
_LASTS = ("last", "last_in_data_collection")
_OLD_KEY, _NEW_KEY = "__debezium.oldkey", "__debezium.newkey"
_ALWAYS_THERE = "__debezium.context.connectorName"
_UNREAD = ("mongodb", "sqlserver", "oracle", "db2", "cassandra", "vitess", "spanner", "informix", "ibmi", "cockroachdb")
_PLACE_OF_COMMIT = 16  # digits of the first half of PostgreSQL's positions
_NONE: frozenset[str] = frozenset()

_DEFAULT = DebeziumFormat()


def decode(event: Event, format: DebeziumFormat = _DEFAULT) -> Change | Truncate | Skip:  # noqa: A002 (as agreed)
    """What an event does to a row or a table, or why it does nothing to either.

    Rows and keys hold what people write where the column's type is known, from the event's own schema or
    `format.types`; {scale, value} decimals are known by their shape.

    Unavailable is a column whose value is the connector's placeholder, in the form of any type, and only where a value
    can stay behind: in an update, or in the creation that is half of a key's change. Inserts and snapshot reads have
    all their values (an insert is recognised by Debezium's context headers, seen with every data event of 3.7; without
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
    envelope, schema = unwrapped(event.value, "value")
    if envelope is None:
        return Skip.TOMBSTONE
    if type(envelope) is not dict:
        raise DecodeError(f"the event's value is {quote(envelope)}, must be a JSON object")
    source = envelope.get("source")
    operation = envelope.get("op")
    if not isinstance(source, dict) or (operation is None and "ddl" in envelope):
        return _rowless(envelope)
    if operation == "m":
        return Skip.MESSAGE if heartbeat(event) is None else Skip.PLACE
    if source.get("connector") != "postgresql":
        _readable(source.get("connector"))
    if operation == "t":
        return _truncate(event, format, source)
    try:
        if operation not in ("c", "u", "r", "d"):
            raise DecodeError(f"op is {quote(operation)}, must be one of c, u, r, d, t or m")
        return _change(event, format, envelope, schema, source, operation)
    except DecodeError as error:
        raise DecodeError(str(error), _refused(event, format, envelope, schema, source)) from None


def _refused(
    event: Event, settings: DebeziumFormat, envelope: dict[str, Any], schema: bytes | None, source: dict[str, Any]
) -> tuple[Change, ...]:
    """What is known of a change that can't be read: of its row the columns that nothing converts.

    Nothing where its table, position or key isn't known; the last row of a snapshot needs no key.
    """
    row: dict[str, Any] = {}
    unchanged = _NONE
    raw, operation = envelope.get("after"), envelope.get("op")
    image = envelope.get("before") if operation == "d" else raw
    try:
        table = settings.tables.of(_table(source))
        at = _position(event, source, operation)
        ends = operation == "r" and _ends_snapshot(source, table)
    except DecodeError:
        return ()
    try:
        types = settings.columns.get(table, NOTHING_KNOWN)
        key, raw_key = key_of(event, table, types, settings.keys.get(table, ()), image if type(image) is dict else {})
    except DecodeError:
        nobody = Change(table, {}, Operation.REFUSED, at, source=source_name(source), ends_snapshot=ends)
        return (nobody,) if ends else ()
    moves = _OLD_KEY in event.headers or _NEW_KEY in event.headers
    with suppress(DecodeError):
        if operation in ("c", "u", "r") and isinstance(raw, dict):
            columns = types if schema is None else columns_of(schema, "after", types)
            marked = settings.marked(raw)
            if operation == "u":
                unchanged = left_out(marked, full_image(envelope, raw_key), source)
            unsure = columns.readers.keys() | columns.doubtful | marked
            if schema is None:
                unsure |= {name for name in settings.untyped.get(table, ()) if may_be(raw.get(name))}
            row = {name: value for name, value in raw.items() if _is_plain(value) and name not in unsure}
    return (
        Change(
            table,
            key,
            Operation.REFUSED,
            at,
            row,
            unchanged,
            moves=moves,
            source=source_name(source),
            ends_snapshot=ends,
            rare=_rare(source, at, moves, operation != "d" or is_whole(image, raw_key))
            if moves or operation == "d"
            else None,
        ),
    )


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
    written = _table(source)
    table = written if settings.tables is ITSELF else settings.tables.of(written)
    types = settings.columns.get(table, NOTHING_KNOWN)
    columns = types if schema is None else columns_of(schema, image, types)
    key, raw_key = key_of(event, table, types, settings.keys.get(table, ()), raw)
    moves = (_NEW_KEY if operation == "d" else _OLD_KEY) in event.headers
    row = {name: value if type(value) in PLAIN else storable(value) for name, value in raw.items()}
    unavailable = doubtful = _NONE
    if operation == "u" or (operation == "c" and (moves or _ALWAYS_THERE not in event.headers)):
        unavailable = settings.marked(raw)
        if unavailable or columns.doubtful:
            before = full_image(envelope, raw_key) if operation == "u" else None
            unavailable = left_out(unavailable, before, source)
            if before is None and (operation == "u" or moves):
                doubtful = frozenset(name for name in columns.doubtful if raw.get(name, "") is None)
    if columns.readers:
        read(row, raw, columns.readers, table, unavailable)
    numbers = columns.numbers
    if schema is None and settings.used and operation != "d" and table in settings.untyped:
        untyped = [each for each in settings.untyped[table] if each not in raw_key and each not in unavailable]
        refuse_doubtful(raw, untyped, table)
        exact = with_all_digits(event.value, [name for name in untyped if has_fraction(raw.get(name))])
        row |= storable_row(exact)
        numbers |= numbers_of(exact)
    snapshot = operation == "r"
    at = _position(event, source, operation)
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
        ends_snapshot=snapshot and _ends_snapshot(source, table),
        doubtful=doubtful,
        source=source_name(source),
        snapshot=snapshot,
        rare=_rare(source, at, moves, is_whole(raw, raw_key) if gone else moves, numbers)
        if moves or gone or numbers
        else None,
    )


def _ends_snapshot(source: Mapping[str, Any], table: str) -> bool:
    """Each of several tables ends by itself: what the others have still to show isn't gone."""
    return source.get("snapshot") in _LASTS and _table(source) == table


def _position(event: Event, source: Mapping[str, Any], operation: Any) -> Position:
    return position(source, operation == "r", arrival(event) if "file" in source else "")


def _rare(
    source: Mapping[str, Any], at: Position, moves: bool, says_commit: bool, numbers: frozenset[str] = _NONE
) -> Rare:
    commit = at[:_PLACE_OF_COMMIT] if says_commit and source.get("sequence") else ""
    return Rare(pair(source, at) if moves else "", commit, numbers=numbers)


def _is_plain(value: Any) -> bool:
    return type(value) in PLAIN or (type(value) is int and abs(value) <= _LARGEST_INTEGER)


def _readable(connector: Any) -> None:
    if type(connector) is str and connector in _UNREAD:
        raise DecodeError(
            f"source.connector is {connector!r}: Freshet reads Debezium's for PostgreSQL, MySQL and MariaDB; "
            "have what reads this one write rows, and read them with format: rows"
        )


def _truncate(event: Event, settings: DebeziumFormat, source: Mapping[str, Any]) -> Truncate:
    table = _table(source)
    settings.tables.refuse_truncation(table)
    return Truncate(table, _position(event, source, "t"), _milliseconds(source), source_name(source))


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
