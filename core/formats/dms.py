"""AWS DMS's messages, as its targets Kafka and Kinesis get them (MessageFormat json or json-unformatted).

Sources of the rules: AWS DMS's user guide, "Using Apache Kafka as a target" and "Using Amazon Kinesis Data Streams as a
target" (message format, endpoint settings, before images) and "High-level view of AWS DMS" (full load, then the changes
cached meanwhile, then ongoing changes, table by table).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from core.change import Change, Event, Operation, Position, Rare, Skip, Truncate
from core.errors import DecodeError, quote
from core.formats.arrival import arrival
from core.formats.json_values import json_object, numbers_of, storable_row
from core.formats.tables import ITSELF, Tables
from core.formats.timestamps import nanoseconds

_OPERATIONS = {
    "load": Operation.UPSERT,
    "insert": Operation.UPSERT,
    "update": Operation.UPSERT,
    "delete": Operation.DELETE,
}
_TRUNCATES = ("truncate-table", "TruncateTable")
_LOADED_ANEW = "drop-table"
_LATEST = 10**17


@dataclass(frozen=True)
class DmsFormat:
    """How the DMS task and its endpoint are set, and what a pipeline must know of it.

    include_null_and_empty  the endpoint's IncludeNullAndEmpty. Without it a message has no columns that are null or
                            empty, and nothing tells these from columns that weren't sent, such as LOBs left out
    before_image            the task's BeforeImageSettings.FieldName
    before_prefix           the column-prefix of an add-before-image-columns rule, where there is one instead; DMS's own
                            default is BI_. Empty: none
    keys                    table to the columns of its key, which no message names
    tables                  which tables' rows are another's documents
    """

    include_null_and_empty: bool = False
    before_image: str = "before-image"
    before_prefix: str = ""
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tables: Tables = ITSELF


_DEFAULT = DmsFormat()


def decode(event: Event, format: DmsFormat = _DEFAULT) -> tuple[Change | Truncate | Skip, ...]:  # noqa: A002
    """What a message does to a row or a table, or why it does nothing to either.

    The table is `schema-name.table-name`. The key has the columns that `format.keys` names. An update whose before
    image has another key is two changes, the old key's deletion and the new key's row; without before images (the
    task's BeforeImageSettings, ColumnFilter pk-only) nothing tells of it, and the old row's document stays.
    Rows are `partial` unless IncludeNullAndEmpty is set. Control messages are skipped, but that of a truncation, and
    that of a table which is loaded anew or dropped: rows that were deleted since the task last followed have no message
    of their own, and nothing tells when a load ends.

    Position: when DMS wrote the message (`metadata.timestamp`), in microseconds as 17 digits, a dot, then `arrival`.
    DMS writes a table's loaded rows first, then the changes made meanwhile, then those that follow, so this order holds
    between a load and its changes, and for a table that is loaded again. It needs one task a table.
    `commit-timestamp`, `transaction-id` and `stream-position` don't order. Loaded rows have none, and are read before
    their messages are written: a change committed in between is newer. A MySQL binlog has its times in seconds, and
    they are those at which statements began. Transactions' ids don't rise in the order of commits.
    What that costs: after a task has resumed from an earlier place, the messages sent again count as new, and a row
    goes back and then forth again until DMS has caught up. It ends right.

    Raises DecodeError for what isn't a DMS message.
    """
    if not event.value:
        return (Skip.TOMBSTONE,)
    message = json_object(event.value, "value")
    metadata = message.get("metadata")
    if not isinstance(metadata, dict):
        raise DecodeError(f"not a DMS message: metadata is {quote(metadata)}, must be an object")
    kind, operation = metadata.get("record-type"), metadata.get("operation")
    if kind == "control":
        if operation == _LOADED_ANEW:
            _refuse_unknown_deletions(format.tables.of(_table(metadata)), format)
        if operation not in _TRUNCATES:
            return (Skip.SCHEMA_CHANGE,)
        table = _table(metadata)
        format.tables.refuse_truncation(table)
        return (Truncate(table, _position(metadata, event), _committed_ms(metadata)),)
    if kind != "data":
        raise DecodeError(f"metadata.record-type is {quote(kind)}, must be data or control")
    does = _OPERATIONS.get(operation) if isinstance(operation, str) else None
    if does is None:
        raise DecodeError(f"metadata.operation is {quote(operation)}, must be one of {', '.join(_OPERATIONS)}")
    data = message.get("data")
    if not isinstance(data, dict):
        raise DecodeError(f"operation is {quote(operation)} but data is {quote(data)}, must be the row")
    try:
        return _changes(event, format, message, metadata, does, data)
    except DecodeError as error:
        raise DecodeError(str(error), _refused(event, format, metadata, data)) from None


def _refused(
    event: Event, settings: DmsFormat, metadata: Mapping[str, Any], data: Mapping[str, Any]
) -> tuple[Change, ...]:
    """The row that a message which can't be used is of; nothing where table or position can't be read."""
    try:
        table, at = settings.tables.of(_table(metadata)), _position(metadata, event)
        key = storable_row({name: data[name] for name in settings.keys.get(table, ()) if name in data})
    except DecodeError:
        return ()
    return (Change(table, key, Operation.REFUSED, at),)


def _changes(
    event: Event,
    settings: DmsFormat,
    message: Mapping[str, Any],
    metadata: Mapping[str, Any],
    operation: Operation,
    data: dict[str, Any],
) -> tuple[Change, ...]:
    row, numbers = storable_row(data), numbers_of(data)
    rare = Rare(numbers=numbers) if numbers else None
    table = settings.tables.of(_table(metadata))
    names = settings.keys.get(table, ())
    key = {name: row[name] for name in names if name in row}
    position, committed_ms = _position(metadata, event), _committed_ms(metadata)
    partial = not settings.include_null_and_empty
    if operation is Operation.DELETE:
        return (Change(table, key, operation, position, row, committed_ms=committed_ms),)
    before = _before(message, row, settings)
    old_key = key | {name: before[name] for name in names if before.get(name) is not None}
    if metadata["operation"] != "update" or old_key == key:
        return (Change(table, key, operation, position, row, partial=partial, committed_ms=committed_ms, rare=rare),)
    gone = Change(table, old_key, Operation.DELETE, position, before | old_key, moves=True, committed_ms=committed_ms)
    new = Change(table, key, operation, position, row, partial=partial, committed_ms=committed_ms, rare=rare)
    return gone, replace(new, moves=True)


def _refuse_unknown_deletions(table: str, settings: DmsFormat) -> None:
    """Raises DecodeError where documents are of the table."""
    if table in settings.keys:
        raise DecodeError(
            f"DMS begins to load {table} anew, or it was dropped (drop-table): of rows that were deleted while the "
            "task didn't follow it tells nothing, and their documents stay. Where this is the table's first load, "
            "nothing is to be done; else find them with freshet verify, or fill an empty table: --without-state"
        )


def _before(message: Mapping[str, Any], row: Mapping[str, Any], settings: DmsFormat) -> dict[str, Any]:
    before = message.get(settings.before_image)
    if before is not None and not isinstance(before, dict):
        raise DecodeError(f"{settings.before_image} is {quote(before)}, must be an object of the columns before")
    found = storable_row(before or {})
    if settings.before_prefix:
        prefix = settings.before_prefix
        found |= {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}
    return found


def _table(metadata: Mapping[str, Any]) -> str:
    schema, table = metadata.get("schema-name"), metadata.get("table-name")
    if type(schema) is not str or type(table) is not str or not table:
        raise DecodeError(f"metadata names the table {quote(table)} in schema {quote(schema)}; both must be text")
    return f"{schema}.{table}" if schema else table


def _position(metadata: Mapping[str, Any], event: Event) -> Position:
    written = metadata.get("timestamp")
    try:
        micros = nanoseconds(written) // 1000
    except ValueError:
        micros = -1
    if not 0 <= micros < _LATEST:
        raise DecodeError(
            f"metadata.timestamp is {quote(written)}, must be an ISO 8601 timestamp since 1970: it orders the changes"
        )
    return Position(f"{micros:017d}.{arrival(event)}")


def _committed_ms(metadata: Mapping[str, Any]) -> int | None:
    try:
        return nanoseconds(metadata.get("commit-timestamp")) // 1_000_000
    except ValueError:
        return None
