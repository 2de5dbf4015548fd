"""Notifications about objects in S3: the bucket's own, EventBridge's, and either in an envelope of SNS.

Sources of the rules: Amazon S3's user guide, "Event message structure" (`sequencer`, encoded keys, versions of the
structure), "Event notification types and destinations: Supported event types", "EventBridge event message structure"
(raw keys, `reason`, `deletion-type`), "Deleting object versions"; Amazon SNS's developer guide, "Message formats".
MinIO and Ceph write the first of the shapes too, MinIO with `s3:` before the event's name.

What an event means for the documents:

    created (put, post, copy, multipart), removed and expired (a version, or by a delete marker)   look at the key
    restored from an archive, lost by reduced redundancy                                        look at the key
    restore asked for or run out, tags, ACL, replication, storage classes, tests                  nothing: skipped
    created, of a marker of a folder or a job (`core.formats.markers`)                                 nothing: skipped
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote_plus, unquote_plus

import msgspec

from core.change import BEGINNING, Event, Position, Skip
from core.documents.objects import ObjectChange
from core.errors import DecodeError, brief, quote
from core.formats.markers import is_marker

BACKFILL = "freshet:backfill"
"""`eventSource` of the notifications that Freshet writes itself."""

_WIDTH = 64
_MOST_BYTES = 2**63 - 1
_SEQUENCER = re.compile(r"[0-9a-fA-F]{1,64}", re.ASCII)
_CHANGES = ("ObjectCreated", "ObjectRemoved", "LifecycleExpiration", "ReducedRedundancyLostObject")
_REMOVALS = ("ObjectRemoved", "LifecycleExpiration", "ReducedRedundancyLostObject")
_RESTORED = "ObjectRestore:Completed"
_ON_THE_BUS = {"Object Created": False, "Object Deleted": True, "Object Restore Completed": False}


class _Bucket(msgspec.Struct):
    name: str


class _Object(msgspec.Struct):
    key: str
    size: Annotated[int, msgspec.Meta(ge=0, le=_MOST_BYTES)] | None = None
    etag: str | None = None
    e_tag: str | None = msgspec.field(name="eTag", default=None)
    version_id: str | None = msgspec.field(name="versionId", default=None)
    version_on_bus: str | None = msgspec.field(name="version-id", default=None)
    sequencer: str | None = None


class _Entity(msgspec.Struct):
    bucket: _Bucket
    object: _Object | None = None


class _Record(msgspec.Struct):
    eventName: str  # noqa: N815
    eventVersion: str = "2.0"  # noqa: N815
    eventSource: str = ""  # noqa: N815
    eventTime: str | None = None  # noqa: N815
    s3: _Entity | None = None


class _Message(msgspec.Struct):
    """The shapes' fields together: which are there tells the shape."""

    Records: list[_Record] | None = None
    Event: str | None = None
    detail_type: str | None = msgspec.field(name="detail-type", default=None)
    detail: msgspec.Raw = msgspec.Raw()
    time: str | None = None
    Type: str | None = None
    Message: str | None = None


_message = msgspec.json.Decoder(_Message).decode
_entity = msgspec.json.Decoder(_Entity).decode


def decode(event: Event) -> tuple[ObjectChange | Skip, ...]:
    """What a message says of objects, in its order, or why it says nothing of them.

    Positions are the sequencers: 64 digits, compare within one object only. A sequencer is digits to be padded on the
    right; one byte of zeros before them is left out, because the same event has it or not by the way that it came.
    A notification without a sequencer has no position: events that S3 gives none, other makers' servers, and backfills.

    Raises DecodeError for anything that is no notification of S3's, or is one that can't be understood.
    """
    if event.value is None:
        return (Skip.TOMBSTONE,)
    return _decode(event.value, in_envelope=False)


def _decode(value: bytes | str, in_envelope: bool) -> tuple[ObjectChange | Skip, ...]:
    message = _parsed(value, _message)
    if message.Records is not None:
        return tuple(map(_record, message.Records)) or (Skip.NOTIFICATION,)
    if message.detail_type is not None:
        return (_on_the_bus(message.detail_type, message),)
    if message.Type is not None and not in_envelope:
        if message.Type != "Notification":
            return (Skip.NOTIFICATION,)
        if message.Message is None:
            raise DecodeError("an SNS notification has no Message")
        return _decode(message.Message, in_envelope=True)
    if message.Event == "s3:TestEvent":
        return (Skip.NOTIFICATION,)
    raise DecodeError(
        "not a notification of S3's: it has neither Records, nor detail-type, nor SNS's Type and Message; "
        "correct the topic, or its format in the pipeline file"
    )


def _parsed(value: bytes | str, parse: Any) -> Any:
    try:
        return parse(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise DecodeError(f"not a notification of S3's: {brief(error, 200)}") from error


def _record(record: _Record) -> ObjectChange | Skip:
    if not record.eventVersion.startswith("2."):
        raise DecodeError(f"eventVersion is {quote(record.eventVersion)}, must be 2.something: this release reads 2")
    name = record.eventName.removeprefix("s3:")
    family = name.partition(":")[0]
    if family not in _CHANGES and name != _RESTORED:
        return Skip.NOTIFICATION
    if record.s3 is None or record.s3.object is None:
        raise DecodeError(f"the record of an {quote(name)} has no s3.object")
    listed = record.eventSource == BACKFILL
    change = _change(
        record.s3.bucket.name,
        record.s3.object,
        key=_unquoted(record.s3.object.key),
        gone=family in _REMOVALS,
        time=None if listed else record.eventTime,
    )
    return change if listed else _unless_marker(change)


def _unless_marker(change: ObjectChange) -> ObjectChange | Skip:
    """A removal is looked at, and so is whatever a backfill lists: an earlier release made documents of markers."""
    return Skip.MARKER if not change.gone and is_marker(change.key, change.size) else change


def _on_the_bus(kind: str, message: _Message) -> ObjectChange | Skip:
    if kind not in _ON_THE_BUS:
        return Skip.NOTIFICATION
    entity = _parsed(bytes(message.detail), _entity)
    if entity.object is None:
        raise DecodeError(f"an {quote(kind)} has no detail.object")
    return _unless_marker(
        _change(entity.bucket.name, entity.object, entity.object.key, _ON_THE_BUS[kind], message.time)
    )


def _change(bucket: str, found: _Object, key: str, gone: bool, time: str | None) -> ObjectChange:
    if not key or not bucket:
        raise DecodeError(f"a notification names the object {quote(key)} in the bucket {quote(bucket)}")
    return ObjectChange(
        bucket=bucket,
        key=key,
        position=position(found.sequencer),
        gone=gone,
        version_id=found.version_id or found.version_on_bus,
        etag=found.e_tag or found.etag,
        size=found.size,
        committed_ms=_milliseconds(time),
    )


def position(sequencer: str | None) -> Position:
    """A sequencer as 64 digits that compare as text; BEGINNING for none. Raises DecodeError for what is none."""
    if not sequencer:
        return BEGINNING
    if not _SEQUENCER.fullmatch(sequencer):
        raise DecodeError(f"sequencer is {quote(sequencer)}, must be 1 to {_WIDTH} hexadecimal digits")
    # S3's own examples have 0055AED6DCD90281E5 in a bucket's notification and 617f08299329d189 on EventBridge
    return Position(sequencer.lower().removeprefix("00").ljust(_WIDTH, "0"))


def _unquoted(key: str) -> str:
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError as error:
        raise DecodeError(f"key {quote(key)} is not UTF-8 in URL encoding") from error


def _milliseconds(time: str | None) -> int | None:
    if time is None:
        return None
    try:
        return int(datetime.fromisoformat(time).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise DecodeError(f"the event's time is {quote(time)}, must be like 1970-01-01T00:00:00.000Z") from error


def notification(
    bucket: str,
    key: str,
    size: int | None = None,
    etag: str | None = None,
    version_id: str | None = None,
    gone: bool = False,
) -> bytes:
    """A notification to look at an object, in the shape of the bucket's own, for a backfill or a watched folder.

    It has no sequencer and so no place in the order of S3's own notifications. It needs none: whoever gets it
    looks at the key in any case, and what a look finds is never older than what an earlier one found. So a second
    backfill mends what a first one saw, and one that overlaps live notifications does no harm.
    """
    found = {"key": quote_plus(key, safe="/"), "size": size, "eTag": etag, "versionId": version_id}
    record = {
        "eventVersion": "2.1",
        "eventSource": BACKFILL,
        "eventName": "ObjectRemoved:Delete" if gone else "ObjectCreated:Put",
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": bucket},
            "object": {name: value for name, value in found.items() if value is not None},
        },
    }
    return msgspec.json.encode({"Records": [record]})
