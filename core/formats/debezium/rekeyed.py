"""Updates that change a column which `documents.TABLE.key` names and the primary key hasn't: another document by that.

Debezium tells such a change as a plain update, as the row's own key stays. Source of the rules: Debezium's
documentation, "Debezium connector for PostgreSQL: Replica identity" (what `before` holds).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import msgspec

from core.change import Change, Event, Operation, Rare, Skip, Truncate
from core.errors import DecodeError
from core.formats.debezium.decoding import decode
from core.formats.debezium.format import DebeziumFormat
from core.formats.debezium.position import turn
from core.formats.wrapping import bare

_json = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

C = TypeVar("C", bound=Change | Truncate | Skip)

Keys = Mapping[str, tuple[str, ...]]
"""Table to the columns that identify its documents."""


def decode_by(event: Event, settings: DebeziumFormat, keys: Keys) -> tuple[Change | Truncate | Skip, ...]:
    """`decode`; an update that changes a column of `keys` is two changes, the old document's end and the new one.

    Changes whose documents go by other columns than the event's key say their turn, where positions don't tell.
    Raises DecodeError as `decode` does, and for an update that may be such a one, where `before` lacks the column. Not
    where the event has no key, or one that is no object: the columns may be the primary key's, and Debezium sends
    changes of that as such.
    """
    try:
        return tuple([_in_turn(each, event.key, keys) for each in _decoded(event, settings, keys)])
    except DecodeError as error:
        error.refused = tuple([_in_turn(each, event.key, keys) for each in error.refused])
        raise


def _in_turn(change: C, key: bytes | None, keys: Keys) -> C:
    if not isinstance(change, Change) or not key:
        return change
    named = keys.get(change.table, ())
    if all(name in change.key for name in named) and not (named and _is_bare(key)):
        return change
    its = turn(change.position, key)
    if its is None:
        return change
    rare = replace(change.rare or Rare(), turn=its)
    # two partitions have the same offsets; halves of a changed primary key have nothing that is theirs alone in common,
    # and each is whole
    rare = replace(rare, pair="" if rare.pair or not change.moves else f"{change.position}.{its.row}")
    return replace(change, moves=rare.pair != "", rare=rare)


def _decoded(event: Event, settings: DebeziumFormat, keys: Keys) -> tuple[Change | Truncate | Skip, ...]:
    change = decode(event, settings)
    if not isinstance(change, Change) or change.operation is not Operation.UPSERT or change.moves:
        return (change,)
    table = change.table
    named = keys.get(table, ())
    # of a key that is no object nobody knows which columns it has
    is_bare = bool(named) and _is_bare(event.key)
    names = [name for name in named if is_bare or name not in change.key]
    if not names:
        return (change,)
    value = _json(event.value or b"")
    envelope = value["payload"] if "op" not in value else value
    if envelope["op"] != "u":
        return (change,)
    before = envelope.get("before")
    if not isinstance(before, dict) or any(before.get(name) is None for name in names):
        if is_bare or not change.key:
            return (change,)
        raise DecodeError(
            f"{table}: key names {', '.join(names)}, which isn't in the primary key, and this change says nothing "
            f"of what it was before, or that it was null: the document may be another now. Set REPLICA IDENTITY FULL "
            f"on {table}, or let documents.{table}.key name columns of the primary key that are never null",
            (replace(change, operation=Operation.REFUSED, moves=True),),
        )
    # the old row, read as a deletion's is
    envelope |= {"op": "d", "after": None}
    gone = decode(replace(event, value=_encode(value)), settings)
    assert isinstance(gone, Change)
    if any(change.row.get(name) is None and name not in change.unavailable for name in names):
        return gone, change  # no document of this row is left; that its key is refused is said of it alone
    if all(gone.row.get(name) == change.row.get(name) for name in names):
        return (change,)
    return replace(gone, moves=True), replace(change, moves=True, rare=Rare(commit=gone.commit, numbers=change.numbers))


def _is_bare(key: bytes | None) -> bool:
    try:
        return key is not None and not isinstance(bare(key), dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True
