"""Changes that their own key's state can't settle: key changes, and values that another key or the source knows.

A key change is two events, the old key's deletion and the new key's row, perhaps in two partitions. They share one
position (Debezium's documentation, "Primary key updates"), or what `Change.pair` says, by which they find each other
here. Whichever comes first waits. Then the new row is told before the old one is removed, so that a store can hand its
vectors on; and what the new row lacks, an unchanged TOAST column, is taken from the old one.

All of a table's unsettled changes meet under one key, so that rows that move on and on are followed.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from core.change import Operation
from core.keys import id_of
from core.unsettled import Refused, Unsettled, shared


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept under a name: a half that waits, changes that wait behind it, or values.

    told    the half was told without the other, which is expected all the same
    others  further halves that wait for the same: several key changes of one compressed transaction of MySQL share all
            that there is to share. Which of them is whose is not told, and only decides whose vectors are looked at
    """

    half: Unsettled | None = None
    told: bool = False
    behind: tuple[Unsettled, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)
    others: tuple[Kept, ...] = ()


Memory = MutableMapping[str, Kept]
"""One table's. Names are those of `_half`, `_behind`, `_values` and `_elder`."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A change whose every value is known; `moved_from` is the document it was before, if that is known."""

    what: Unsettled
    moved_from: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A change with values that nothing here knows: the source must be asked."""

    what: Unsettled


Answer = Settled | Unknown


def settle(memory: Memory, new: Unsettled | Refused) -> list[Answer]:
    """What can be settled now that `new` is here, in the order in which a store must hear of it.

    Takes the changes of one key in the order of their positions, those of different keys in any. A refused one settles
    nothing: what was learned of its key's values stands no more.
    """
    if isinstance(new, Refused):
        new = Unsettled(new.name, new.change)
    waiting = memory.get(_behind(new.document_id))
    if waiting is not None and not _is_awaited(memory, new):
        # Its key's values are still to come: whatever happens to the key happens after that.
        memory[_behind(new.document_id)] = Kept(behind=(*waiting.behind, new))
        return []
    if new.change.moves:
        return _half_came(memory, new)
    if new.change.operation is Operation.DELETE:
        memory.pop(_values(new.document_id), None)
        return []
    known = memory.get(_values(new.document_id))
    if new.change.operation is Operation.REFUSED:
        memory.pop(_elder(new.document_id), None)
        _forget(memory, new, known)
        return []
    return [_answer(_filled(new, known.values if known else {}))]


def _is_awaited(memory: Memory, new: Unsettled) -> bool:
    """Whether the other half of a key change waits for this one, both being the same document."""
    if not new.change.moves:
        return False
    halves = (kept.half for kept in _waiting(memory, pair_of(new)) if kept.half)
    operation = new.change.operation
    return any(half.document_id == new.document_id and half.change.operation is not operation for half in halves)


def _forget(memory: Memory, new: Unsettled, known: Kept | None) -> None:
    spared = {name: value for name, value in (known or Kept()).values.items() if name in new.change.unavailable}
    if spared:
        memory[_values(new.document_id)] = Kept(values=spared)
    elif known is not None:
        del memory[_values(new.document_id)]


def learn(memory: Memory, known: Unsettled, missing: frozenset[str]) -> None:
    """Keep the values of `missing` columns: the state of the document's own key doesn't have them."""
    memory[_values(known.document_id)] = Kept(values={name: known.change.row[name] for name in missing})


def tell_early(memory: Memory, pair: str) -> list[Answer]:
    """The new rows that wait for their `pair`, if they came whole: they lack nothing but the vectors of the old one."""
    waiting = _waiting(memory, pair)
    early = [kept for kept in waiting if kept.half and not kept.told and not kept.half.late and is_whole(kept.half)]
    if early:
        _wait(memory, pair, [replace(kept, told=True) if kept in early else kept for kept in waiting])
    return [Settled(kept.half) for kept in early if kept.half]


def give_up(memory: Memory, pair: str) -> list[Answer]:
    """What follows where the halves that wait for their `pair` wait no longer."""
    waiting = _waiting(memory, pair)
    _wait(memory, pair, [])
    told: list[Answer] = []
    for kept in waiting:
        if kept.half is not None and not kept.told and not kept.half.late:
            told += _arrived(memory, kept.half, {}, "")
    return told


def pair_of(half: Unsettled) -> str:
    """What a half has in common with the other one, without blanks."""
    return shared(half.change)


def is_waiting(kept: Kept) -> bool:
    """Whether a half waits there that was not told."""
    return any(each.half is not None and not each.told for each in (kept, *kept.others))


def is_whole(half: Unsettled) -> bool:
    """Whether a half is the new key's row, with all its values."""
    return half.change.operation is Operation.UPSERT and not half.change.unavailable


def _half_came(memory: Memory, new: Unsettled) -> list[Answer]:
    arrives = new.change.operation is Operation.UPSERT
    if arrives and not new.late:
        # of a row that is there still, where a key is deferrable: it leaves with what is known of it
        elder = memory.pop(_values(new.document_id), None)
        memory.pop(_elder(new.document_id), None)
        if elder is not None:
            memory[_elder(new.document_id)] = elder
    elif not arrives:
        elder = memory.pop(_elder(new.document_id), None)
        known = elder if new.late else memory.pop(_values(new.document_id), None)
        new = replace(new, change=replace(new.change, row={**(known.values if known else {}), **new.change.row}))
    waiting, operation = _waiting(memory, pair_of(new)), new.change.operation
    others = [at for at, kept in enumerate(waiting) if kept.half and kept.half.change.operation is not operation]
    if not others:
        same = [kept for kept in waiting if kept.half and kept.half.document_id != new.document_id]
        _wait(memory, pair_of(new), [*same, Kept(half=new)])
        if arrives and new.change.unavailable:
            memory[_behind(new.document_id)] = Kept()
        return []
    other = waiting.pop(others[0])
    _wait(memory, pair_of(new), waiting)
    assert other.half is not None, "found by it"
    arrival, departure = (new, other.half) if arrives else (other.half, new)
    is_other = departure.document_id != arrival.document_id
    # another row has come to the old key, or the key's columns aren't those that changed: nothing is to be removed
    leaves = not departure.late and (is_other or _left_again(arrival, departure))
    gone: list[Answer] = [Settled(departure)] if leaves else []
    if other.told or arrival.late:
        return gone
    moved_from = departure.document_id if is_other else ""
    return [*_arrived(memory, arrival, departure.change.row, moved_from), *gone]


def _left_again(arrival: Unsettled, departure: Unsettled) -> bool:
    """Whether a row came to a key and left it later, by two key changes of one compressed transaction of MySQL.

    Where `key:` names other columns, halves of one document are those of one row, which is there in the end.
    """
    key = departure.change.key
    if key != arrival.change.key or departure.change.position <= arrival.change.position or None in key.values():
        return False
    return departure.document_id.partition("/")[2] == id_of("", key).partition("/")[2]


def _waiting(memory: Memory, pair: str) -> list[Kept]:
    kept = memory.get(_half(pair))
    return [] if kept is None else [replace(kept, others=()), *kept.others]


def _wait(memory: Memory, pair: str, waiting: list[Kept]) -> None:
    if waiting:
        memory[_half(pair)] = replace(waiting[0], others=tuple(waiting[1:]))
    else:
        memory.pop(_half(pair), None)


def _arrived(memory: Memory, half: Unsettled, values: dict[str, Any] | Any, moved_from: str) -> list[Answer]:
    if half.change.operation is Operation.DELETE:
        return [Settled(half)]
    whole = _filled(half, values)
    if half.change.unavailable and not whole.change.unavailable:
        learn(memory, whole, half.change.unavailable)
    # what waits behind a key waits for the row that lacked values, and no other one that came to the key
    behind = memory.pop(_behind(half.document_id), None) if half.change.unavailable else None
    told = [_answer(whole, moved_from)]
    for each in behind.behind if behind else ():
        told += settle(memory, each)
    return told


def _answer(what: Unsettled, moved_from: str = "") -> Answer:
    return Unknown(what) if what.change.unavailable else Settled(what, moved_from)


def _filled(what: Unsettled, values: dict[str, Any]) -> Unsettled:
    if what.change.partial:  # a value known from before may be null by now
        return what
    found = {name: values[name] for name in what.change.unavailable if name in values}
    change = replace(what.change, row={**what.change.row, **found}, unavailable=what.change.unavailable - found.keys())
    return replace(what, change=change)


def _half(pair: str) -> str:
    return f"half {pair}"


def _behind(document_id: str) -> str:
    return f"behind {document_id}"


def _elder(document_id: str) -> str:
    return f"elder {document_id}"


def _values(document_id: str) -> str:
    return f"values {document_id}"


encode_unsettled = msgspec.msgpack.Encoder().encode
decode_unsettled = msgspec.msgpack.Decoder(Unsettled).decode
decode_kept = msgspec.msgpack.Decoder(Kept).decode
encode_kept = encode_unsettled
