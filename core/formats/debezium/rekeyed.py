"""Updates that change a column which `documents.TABLE.key` names and the primary key hasn't: another document by that.

Debezium tells such a change as a plain update, as the row's own key stays. Source of the rules: Debezium's
documentation, "Debezium connector for PostgreSQL: Replica identity" (what `before` holds).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from core.change import Change, Event, Operation, Rare, Skip, Truncate
from core.errors import DecodeError
from core.formats.debezium.decoding import decode
from core.formats.debezium.format import DebeziumFormat
from core.formats.wrapping import bare

_json = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

Keys = Mapping[str, tuple[str, ...]]
"""Table to the columns that identify its documents."""


def decode_by(event: Event, settings: DebeziumFormat, keys: Keys) -> tuple[Change | Truncate | Skip, ...]:
    """`decode`; an update that changes a column of `keys` is two changes, the old document's end and the new one.

    Raises DecodeError as `decode` does, and for an update that can't be told from such a one, as `before` lacks the
    column; where the event has no key, or one that is no object, they may be the primary key's, whose changes Debezium
    tells as such.
    """
    told = decode(event, settings)
    if not isinstance(told, Change) or told.operation is not Operation.UPSERT or told.moves:
        return (told,)
    named = keys.get(told.table, ())
    # of a key that is no object nobody knows which columns it has
    is_bare = bool(named) and _is_bare(event.key)
    names = [name for name in named if is_bare or name not in told.key]
    if not names:
        return (told,)
    value = _json(event.value or b"")
    envelope = value["payload"] if "op" not in value else value
    if envelope["op"] != "u":
        return (told,)
    before = envelope.get("before")
    if not isinstance(before, dict) or any(before.get(name) is None for name in names):
        if is_bare or not told.key:
            return (told,)
        raise DecodeError(
            f"{told.table}: key names {', '.join(names)}, which isn't in the primary key, and this change says nothing "
            f"of what it was before, or that it was null: the document may be another now. Set REPLICA IDENTITY FULL "
            f"on {told.table}, or let documents.{told.table}.key name columns of the primary key that are never null",
            (replace(told, operation=Operation.REFUSED, moves=True),),
        )
    # the old row, read as a deletion's is
    envelope |= {"op": "d", "after": None}
    gone = decode(replace(event, value=_encode(value)), settings)
    assert isinstance(gone, Change)
    if any(told.row.get(name) is None and name not in told.unavailable for name in names):
        return gone, told  # no document of this row is left; that its key is refused is said of it alone
    if all(gone.row.get(name) == told.row.get(name) for name in names):
        return (told,)
    return replace(gone, moves=True), replace(told, moves=True, rare=Rare(commit=gone.commit, numbers=told.numbers))


def _is_bare(key: bytes | None) -> bool:
    try:
        return key is not None and not isinstance(bare(key), dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True
