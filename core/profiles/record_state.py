"""What is remembered of a table's row, whose record says something of persons, and how Flink keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from core.change import BEGINNING, Change, Operation, Position
from core.documents.halves import is_elders
from core.documents.standing import Holes
from core.documents.tenants import Tenants
from core.documents.unsettled import shared

_STATE_VERSION = b"\x02"
_WITHOUT_HOLES = b"\x01"


@dataclass(frozen=True, slots=True)
class RowState:
    """The last change of one row: its position, and the values that stand when a later change leaves them out.

    forget_ms  of a row that was deleted: when it may be forgotten, in ms since 1970
    holes      which of the values don't stand, where changes were refused
    half       where the last change is half of a key change: its key, and what it shares with the other half
    elder      where the last change brought a row to a key that another one has: the transaction, in which one leaves,
               and what is known of that one
    since      when the row became known, in ms since 1970: by that it is looked at whether its table was emptied
               (`core.documents.forgetting.next_look`). 0: of an earlier release, and never looked at yet
    tenants    as of a document: rows that had the key at one place in the log
    """

    position: Position = BEGINNING
    row: Mapping[str, Any] = field(default_factory=dict)
    forget_ms: int = 0
    holes: Holes | None = None
    half: tuple[Mapping[str, Any], str] | None = None
    elder: tuple[str, Mapping[str, Any]] | None = None
    since: int = 0
    tenants: Tenants | None = None

    def is_forgotten(self, now_ms: int) -> bool:
        """Whether it was deleted, for the last time, long ago."""
        return not self.row and self.holes is None and 0 < self.forget_ms <= now_ms


def half_of(change: Change) -> tuple[Mapping[str, Any], str] | None:
    """What a state keeps of a change that is half of a key change."""
    return (change.key, shared(change)) if change.moves else None


def is_other_half(before: RowState, change: Change) -> bool:
    """Whether the state's last change is the other half of this one, both being one record's.

    So it is where `key:` names none of the columns that have changed. Their positions say nothing of their order where
    each has its own, as MySQL's do. Of a state of the last release it is known only of a deletion.
    """
    if not change.moves:
        return False
    if before.half is not None:
        return before.half[1] == shared(change) and before.half[0] != change.key
    is_gone = not before.row and before.holes is None
    return is_gone and before.position == change.position and change.operation is Operation.UPSERT


def elder_leaves(before: RowState, change: Change) -> bool:
    """Whether a deletion is that of the row which was there when another one came to its key."""
    return change.moves and is_elders(before.elder, before.row, change)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(RowState).decode


def row_to_bytes(state: RowState) -> bytes:
    """The state as Flink keeps it: a version byte, then MessagePack."""
    return _STATE_VERSION + _encode(state)


def row_from_bytes(raw: bytes) -> RowState:
    """The state that `row_to_bytes` of this or an earlier release wrote.

    Raises ValueError for a version this release doesn't know.
    """
    if raw[:1] not in (_STATE_VERSION, _WITHOUT_HOLES):
        seen = raw[:1].hex() or "none"
        raise ValueError(f"row state has version {seen}, this release reads 01 and 02")
    return _decode(raw[1:])
