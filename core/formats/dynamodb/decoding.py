"""DynamoDB's changes: records of DynamoDB Streams, and of Kinesis Data Streams for DynamoDB.

Sources of the rules: DynamoDB's API reference, "Record", "StreamRecord" and "Identity"; its developer guide, "Change
data capture for DynamoDB Streams", "Using Kinesis Data Streams to capture changes to DynamoDB" and "Working with
expired items and TTL"; API reference, "EnableKinesisStreamingConfiguration" (precision of the creation time).
How attributes are read: `dynamodb_values`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from core.change import Change, Event, Operation, Position, Rare, Skip
from core.errors import DecodeError, quote
from core.formats.arrival import arrival
from core.formats.dynamodb.values import item, numbers_of_item
from core.formats.json_values import json_object
from core.formats.timestamps import nanoseconds

_OPERATIONS = {"INSERT": Operation.UPSERT, "MODIFY": Operation.UPSERT, "REMOVE": Operation.DELETE}
_LONGEST_SEQUENCE = 40
_MICROSECONDS = {None: 1000, "MILLISECOND": 1000, "MICROSECOND": 1}
_LATEST = 10**17
_LATEST_SECOND = 10**11


def decode(event: Event, table: str = "") -> tuple[Change | Skip]:
    """What a record does to an item.

    The value is the record as JSON: of DynamoDB Streams as GetRecords gives it, with binaries as base64 text; of
    Kinesis as DynamoDB wrote it. The table is the record's `tableName`, else the one in `eventSourceARN`, else `table`.
    The key has its attributes in the order of their names, as a record doesn't tell which is the partition key:
    where another order is wanted, `documents.TABLE.key` gives it. TTL's deletions are deletions.
    A removal's row is OldImage, where the view type has it.

    Position. DynamoDB Streams: SequenceNumber, as 40 digits; it rises within an item.
    Kinesis: ApproximateCreationDateTime in microseconds, as 17 digits, a dot, then `arrival`. Records of one item may
    come twice or swapped: the time alone orders them. Of two that have the same time, the one that arrived later
    counts as later; that is wrong where they were swapped, or where the first is sent again after the second. With
    times in milliseconds, the service's default, an item written twice within one can meet that; with
    ApproximateCreationDateTimePrecision MICROSECOND hardly any does.
    The positions of the two don't compare: a pipeline reads one or the other.

    Raises DecodeError for what isn't such a record, and for an insertion or a modification without NewImage.
    """
    if not event.value:
        return (Skip.TOMBSTONE,)
    record = json_object(event.value, "value")
    change = record.get("dynamodb")
    name = record.get("eventName")
    operation = _OPERATIONS.get(name) if isinstance(name, str) else None
    if not isinstance(change, dict):
        raise DecodeError(f"not a DynamoDB record: dynamodb is {quote(change)}, must be the change")
    if operation is None:
        raise DecodeError(f"eventName is {quote(name)}, must be INSERT, MODIFY or REMOVE")
    found = _table(record, table)
    key = item(_attributes(change, "Keys"), "Keys")
    if not key:
        raise DecodeError(f"dynamodb.Keys of a record of {found} is empty, must hold the item's key")
    key = dict(sorted(key.items()))
    position, committed_ms = _streams(change) if "SequenceNumber" in change else _kinesis(change, event)
    try:
        row = _row(change, operation, f"{name} of {found}"[:200])
    except DecodeError as error:
        raise DecodeError(str(error), (Change(found, key, Operation.REFUSED, position),)) from None
    numbers = numbers_of_item(change["NewImage"]) if operation is Operation.UPSERT else None
    rare = Rare(numbers=numbers) if numbers else None
    return (Change(found, key, operation, position, row, committed_ms=committed_ms, rare=rare),)


def _table(record: Mapping[str, Any], table: str) -> str:
    name = record.get("tableName")
    if type(name) is str and name:
        return name
    arn = record.get("eventSourceARN")
    resource = arn.split(":", 5)[-1].split("/") if isinstance(arn, str) and arn.startswith("arn:") else []
    found = resource[1] if len(resource) > 1 and resource[0] == "table" else table
    if not found:
        raise DecodeError(
            f"tableName is {quote(name)} and eventSourceARN is {quote(arn)}: the record names no table, "
            "so the source must: set its table in the pipeline file"
        )
    return found


def _row(change: Mapping[str, Any], operation: Operation, what: str) -> dict[str, Any]:
    if operation is Operation.DELETE:
        return item(_attributes(change, "OldImage"), "OldImage") if change.get("OldImage") is not None else {}
    if change.get("NewImage") is None:
        raise DecodeError(
            f"{what} has no NewImage, its StreamViewType is {quote(change.get('StreamViewType'))}: "
            "the table's stream must have the view type NEW_IMAGE or NEW_AND_OLD_IMAGES"
        )
    return item(_attributes(change, "NewImage"), "NewImage")


def _attributes(change: Mapping[str, Any], image: str) -> dict[str, Any]:
    attributes = change.get(image)
    if not isinstance(attributes, dict):
        raise DecodeError(f"dynamodb.{image} is {quote(attributes)}, must be an object of attributes")
    return attributes


def _streams(change: Mapping[str, Any]) -> tuple[Position, int | None]:
    """Position, and when it was committed in milliseconds: a time in seconds, as a number or as ISO 8601."""
    sequence = change["SequenceNumber"]
    if not (isinstance(sequence, str) and sequence.isascii() and sequence.isdecimal()) or (
        len(sequence) > _LONGEST_SEQUENCE
    ):
        raise DecodeError(
            f"dynamodb.SequenceNumber is {quote(sequence)}, must be text of up to {_LONGEST_SEQUENCE} digits"
        )
    created = change.get("ApproximateCreationDateTime")
    committed_ms = None
    if isinstance(created, int | float) and abs(created) < _LATEST_SECOND:
        committed_ms = int(created * 1000)
    with suppress(ValueError):
        committed_ms = nanoseconds(created) // 1_000_000
    return Position(sequence.zfill(_LONGEST_SEQUENCE)), committed_ms


def _kinesis(change: Mapping[str, Any], event: Event) -> tuple[Position, int]:
    created, precision = (change.get(f"ApproximateCreationDateTime{name}") for name in ("", "Precision"))
    factor = _MICROSECONDS.get(precision) if precision is None or isinstance(precision, str) else None
    if factor is None:
        raise DecodeError(
            f"dynamodb.ApproximateCreationDateTimePrecision is {quote(precision)}, must be MILLISECOND or MICROSECOND"
        )
    if type(created) is not int or not 0 <= created * factor < _LATEST:
        raise DecodeError(
            f"dynamodb.ApproximateCreationDateTime is {quote(created)}, must be a time since 1970 in "
            f"{(precision or 'MILLISECOND').lower()}s: nothing else orders the changes of an item, "
            "and there is no SequenceNumber"
        )
    micros = created * factor
    return Position(f"{micros:017d}.{arrival(event)}"), micros // 1000
