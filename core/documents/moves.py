"""Changes that their own key's state can't settle: key changes, and values that another key or the source knows.

A key change is two events, the old key's deletion and the new key's row, perhaps in two partitions. They share one
position (Debezium's documentation, "Primary key updates"), or what `Change.pair` says, by which they find each other
here. Whichever comes first waits. Then the new row is emitted before the old one is removed, so that a store can hand
its vectors on; and what the new row lacks, an unchanged TOAST column, is taken from the old one.

All of a table's unsettled changes meet under one key, so that rows that move on and on are followed.
"""

from __future__ import annotations

from dataclasses import replace

from msgspec import structs

from core.change import BEGINNING, Operation, Position
from core.documents.keys import id_of
from core.documents.lineage import Late, arrived, came_to, forget_ways, left, note_last, passed_on, tell_late
from core.documents.memory import ASKED, Memory, Origin, behind, wait, waiting_for
from core.documents.memory import Kept as Kept
from core.documents.memory import decode_kept as decode_kept
from core.documents.memory import elder as elder_of
from core.documents.memory import encode_kept as encode_kept
from core.documents.memory import values as values_of
from core.documents.unsettled import Answer, Refused, Unsettled, answer, filled_in, shared
from core.documents.unsettled import Settled as Settled
from core.documents.unsettled import Unknown as Unknown


def settle(memory: Memory, new: Unsettled | Refused) -> list[Answer]:
    """What can be settled now that `new` is here, in the order in which a store must hear of it.

    Takes the changes of one key in the order of their positions, those of different keys in any. A refused one settles
    nothing: what was learned of its key's values stands no more.
    """
    if isinstance(new, Refused):
        new = Unsettled(new.name, new.change)
    waiting = memory.get(behind(new.document_id))
    if waiting is not None and not _is_awaited(memory, new) and not _is_of_one_that_left(waiting, new):
        # Its key's values are still to come: whatever happens to the key happens after that.
        memory[behind(new.document_id)] = Kept(behind=(*waiting.behind, new))
        return []
    if new.change.moves:
        return _half_came(memory, new)
    if new.change.operation is Operation.DELETE:
        memory.pop(values_of(new.document_id), None)
        return []
    if new.onward:
        late = Late(new.change.row, new.change.unavailable, new.change.position)
        return tell_late(memory, new.document_id, new.onward, late)
    known = memory.get(values_of(new.document_id))
    if new.change.operation is Operation.REFUSED:
        memory.pop(elder_of(new.document_id), None)
        _forget(memory, new, known)
        return []
    note_last(memory, new, known)
    whole = filled_in(new, known.values if known else {})
    return [] if new.late and whole.change.unavailable else [answer(whole)]


def _is_awaited(memory: Memory, new: Unsettled) -> bool:
    """Whether the other half of a key change waits for this one, both being the same document."""
    if not new.change.moves:
        return False
    halves = (kept.half for kept in waiting_for(memory, pair_of(new)) if kept.half)
    operation = new.change.operation
    return any(half.document_id == new.document_id and half.change.operation is not operation for half in halves)


def _is_of_one_that_left(waiting: Kept, new: Unsettled) -> bool:
    """Whether a change is of a row that has left the key, and whose departure doesn't wait there too."""
    return new.onward != "" and not any(
        each.change.operation is Operation.DELETE and pair_of(each) == new.onward for each in waiting.behind
    )


def _forget(memory: Memory, new: Unsettled, known: Kept | None) -> None:
    if known is not None:
        _keep(memory, new.document_id, known, new.change.unavailable)


def _keep(memory: Memory, document_id: str, known: Kept, names: frozenset[str]) -> None:
    """Of what was learned of a document's values, these columns alone."""
    values = {name: value for name, value in known.values.items() if name in names}
    if values:
        origin = known.origin or Origin()
        since = {name: at for name, at in origin.since.items() if name in values}
        memory[values_of(document_id)] = Kept(values=values, origin=replace(origin, since=since))
    else:
        del memory[values_of(document_id)]


def learn(memory: Memory, known: Unsettled, missing: frozenset[str]) -> None:
    """Keep the values of `missing` columns, as the source was asked for them: the state of the document's own key
    doesn't have them.
    """
    before = memory.get(values_of(known.document_id)) or Kept()
    origin = before.origin or Origin()
    asked = replace(origin, since={**origin.since, **dict.fromkeys(missing, ASKED)})
    values = {**before.values, **{name: known.change.row[name] for name in missing}}
    memory[values_of(known.document_id)] = Kept(values=values, origin=asked)


def tell_early(memory: Memory, pair: str) -> list[Answer]:
    """The new rows that wait for their `pair`, if they came whole: they lack nothing but the vectors of the old one."""
    waiting = waiting_for(memory, pair)
    early = [kept for kept in waiting if kept.half and not kept.answered and not kept.half.late and is_whole(kept.half)]
    if early:
        wait(memory, pair, [structs.replace(kept, answered=True) if kept in early else kept for kept in waiting])
    return [Settled(kept.half) for kept in early if kept.half]


def give_up(memory: Memory, pair: str, mark: Position = BEGINNING) -> list[Answer]:
    """What follows where the halves that wait for their `pair` wait no longer. `mark`: below which the stores have
    cleared the table.
    """
    waiting = waiting_for(memory, pair)
    wait(memory, pair, [])
    answers = forget_ways(memory, pair, mark)
    for kept in waiting:
        if kept.half is not None and not kept.answered and (not kept.half.late or kept.half.change.unavailable):
            answers += _arrived(memory, kept.half, None, "")
    return answers


def pair_of(half: Unsettled) -> str:
    """What a half has in common with the other one, without blanks."""
    return shared(half.change)


def is_waiting(kept: Kept) -> bool:
    """Whether a half waits there that was not answered."""
    return any(each.half is not None and not each.answered for each in (kept, *kept.others))


def is_whole(half: Unsettled) -> bool:
    """Whether a half is the new key's row, with all its values."""
    return half.change.operation is Operation.UPSERT and not half.change.unavailable


def _half_came(memory: Memory, new: Unsettled) -> list[Answer]:
    arrives = new.change.operation is Operation.UPSERT
    if arrives and not new.late:
        came_to(memory, pair_of(new), new.document_id)
    elif not arrives:
        elder = memory.pop(elder_of(new.document_id), None)
        known = elder if new.late else memory.pop(values_of(new.document_id), None)
        new = left(memory, known, new)
    elif not new.onward and (known := memory.get(values_of(new.document_id))):
        # what it lacks is another row's, as far as it is known
        _keep(memory, new.document_id, known, frozenset(known.values.keys() - new.change.unavailable))
    waiting, operation = waiting_for(memory, pair_of(new)), new.change.operation
    others = [at for at, kept in enumerate(waiting) if kept.half and kept.half.change.operation is not operation]
    if not others:
        same = [kept for kept in waiting if kept.half and kept.half.document_id != new.document_id]
        wait(memory, pair_of(new), [*same, Kept(half=new)])
        if arrives and new.change.unavailable and not new.onward:
            memory[behind(new.document_id)] = Kept()
        return []
    other = waiting.pop(others[0])
    wait(memory, pair_of(new), waiting)
    assert other.half is not None, "found by it"
    arrival, departure = (new, other.half) if arrives else (other.half, new)
    is_other = departure.document_id != arrival.document_id
    # another row has come to the old key, or the key's columns aren't those that changed: nothing is to be removed
    leaves = not departure.late and (is_other or _left_again(arrival, departure))
    gone: list[Answer] = [Settled(departure)] if leaves else []
    if other.answered:
        return gone
    moved_from = departure.document_id if is_other else ""
    return [*_arrived(memory, arrival, departure, moved_from), *gone]


def _left_again(arrival: Unsettled, departure: Unsettled) -> bool:
    """Whether a row came to a key and left it later, by two key changes of one compressed transaction of MySQL.

    Where `key:` names other columns, halves of one document are those of one row, which is there in the end.
    """
    key = departure.change.key
    if key != arrival.change.key or departure.change.position <= arrival.change.position or None in key.values():
        return False
    return departure.document_id.partition("/")[2] == id_of("", key).partition("/")[2]


def _arrived(memory: Memory, half: Unsettled, departure: Unsettled | None, moved_from: str) -> list[Answer]:
    """What follows where the other half of a half has come, or never comes."""
    lacks, known = half.change.unavailable, departure.change.row if departure else {}
    if half.change.operation is Operation.DELETE:
        return [Settled(half)]
    if half.onward:
        return passed_on(memory, half, known, departure.document_id if departure else "")
    if lacks and departure and not half.change.partial:
        arrived(memory, half, departure)
    answers = [] if half.late else [answer(filled_in(half, known), moved_from)]
    # what waits behind a key waits for the row that lacked values, and no other one that came to the key
    waits = memory.pop(behind(half.document_id), None) if lacks else None
    for each in waits.behind if waits else ():
        answers += settle(memory, each)
    return answers
