"""Records of a staged stream. Of documents they are those of a topic; what a topic says by tombstones, headers and a
second topic is JSON here: `docs/staged-stream.schema.json` has all three.

A record has data in any case (Kinesis Data Streams API reference, "PutRecord"), and nothing beside it but its partition
key: so a key that orders is all that this is, and every record says itself what it is of.
"""

from __future__ import annotations

from typing import Any

import msgspec

from connectors.staged.log import OfDocument, OfLedger, Sent
from core.change import Position
from core.errors import DecodeError
from core.shards.log import Record
from core.stores.contract import Stood
from core.stores.staged import VERSION, Place, document_of, key_of

LEDGER = "freshet-ledger"
"""The partition key of the ledger's records."""

_LONGEST_KEY = 128  # characters, half of what Kinesis takes: one beyond the basic plane may count as two


class _Part(msgspec.Struct, frozen=True):
    number: int = 0


class _Envelope(msgspec.Struct, frozen=True):
    """As much of a record as says what it is of: what it hasn't is empty."""

    version: int
    id: str = ""
    part: _Part = _Part()
    deleted: bool = False
    position: str | None = None
    committed_ms: int | None = None
    ledger: str = ""
    said: str | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Envelope).decode


def partition_key(document_id: str) -> str:
    """Of a document's records: what is in one shard is in order."""
    return document_id[:_LONGEST_KEY]


def data_of(sent: Sent) -> bytes:
    """The data of a record of a document."""
    key, value, by = sent
    if value is not None:
        return value
    document_id, number = document_of(key)
    said: dict[str, Any] = {"version": VERSION, "id": document_id, "part": {"number": number}, "deleted": True}
    stood: dict[str, Any] = {"position": None, "committed_ms": None}
    if by is not None:
        stood = {"position": by.position, "committed_ms": by.committed_ms}
    return _encode(said | stood)


def noted(key: bytes, value: bytes | None) -> bytes:
    """The data of a record of the ledger."""
    said = None if value is None else value.decode()
    return _encode({"version": VERSION, "ledger": key.decode(), "said": said})


def read(record: Record, place: Place) -> OfDocument | OfLedger:
    """What a record is. Raises DecodeError where it is none of ours."""
    try:
        found = _decode(record.value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DecodeError(f"a record of {len(record.value):,} bytes is none of a staged stream: {error}") from error
    if found.version != VERSION or bool(found.id) == bool(found.ledger) or record.sub is not None:
        raise DecodeError(f"a record of version {found.version} is none of a staged stream of version {VERSION}")
    if found.ledger:
        return OfLedger(found.ledger.encode(), None if found.said is None else found.said.encode())
    key = key_of(found.id, found.part.number)
    if not found.deleted:
        return OfDocument(key, record.value, None, place)
    deleted = None if found.position is None else Stood(Position(found.position), found.committed_ms)
    return OfDocument(key, None, deleted, place)
