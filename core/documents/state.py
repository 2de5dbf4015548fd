"""What is remembered of a document, and how Flink keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from core.change import BEGINNING, Position
from core.documents.departures import Departures
from core.documents.standing import Holes
from core.documents.tenants import Tenants

_STATE_VERSION = b"\x03"
_WITHOUT_HOLES = b"\x02"
_FIRST_STATE_VERSION = b"\x01"


@dataclass(frozen=True, slots=True)
class DocumentState:
    """The last change of one document. A deleted document keeps its position: late changes stay refused.

    made_by    model, chunker and template that the chunks come from; "" where the last change made none
    row        the columns used: the values that stand when a later change leaves them out
    ranges     where the text was cut
    forget_at  when a deleted document may be forgotten, in milliseconds since 1970; 0 for one that is alive
    holes      which of the row's values don't stand, where changes were refused
    kinds      of feeds whose keys have no types: of which kinds this one's values are (`Change.key_kinds`)
    elder      a row that was there when another one came to its key, and the transaction in which it did: one of the
               two leaves the key before that ends (PostgreSQL's deferrable keys)
    left       where the last change is the old key's half of a key change: what it shares with the other half
    ahead      values of the row were read in the source, where the key may have another row than the changes that are
               still to come begin with: a change of that row tells its own, but none leaves the key with them
    departures  rows that left the key for another one, of which changes may come late
    since      when the document became known, in milliseconds since 1970: by that it is looked at whether its table was
               cleared (`core.documents.forgetting`). 0: of an earlier release, and never looked at yet
    tenants    rows that had the key at the last change's place in the log, where their changes have no order
    """

    position: Position = BEGINNING
    made_by: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)
    ranges: tuple[tuple[int, int], ...] = ()
    forget_at: int = 0
    holes: Holes | None = None
    kinds: str = ""
    elder: tuple[str, Mapping[str, Any]] | None = None
    left: str = ""
    ahead: bool = False
    departures: Departures = ()
    since: int = 0
    tenants: Tenants | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DocumentState).decode


def state_to_bytes(state: DocumentState) -> bytes:
    """The state as Flink keeps it: a version byte, then MessagePack."""
    return _STATE_VERSION + _encode(state)


def state_from_bytes(raw: bytes) -> DocumentState:
    """The state that `state_to_bytes` of this or an earlier release wrote.

    Raises ValueError for a version this release doesn't know.
    """
    version = raw[:1]
    if version in (_STATE_VERSION, _WITHOUT_HOLES):
        return _decode(raw[1:])
    if version == _FIRST_STATE_VERSION:
        # The first release kept chunk ids where this one keeps ranges: without `made_by` the text is cut anew.
        return replace(_decode(raw[1:]), made_by="", ranges=())
    seen = version.hex() or "none"
    raise ValueError(f"document state has version {seen}, this release reads 01, 02 and {_STATE_VERSION.hex()}")
