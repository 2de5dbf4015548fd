"""Where rows went whose key has changed, for what comes of them late.

A topic that was given more partitions has a key's later changes in another one than its earlier ones. So a row's
departure may be read before its last changes, and the document under its new key gets values that are too old. For as
long as changes of the old key may come late, the way of what went along is known, from key to key; `give_up` of the key
change ends that. What comes late goes to the last document of the way, where its last change left it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from msgspec import structs

from core.change import BEGINNING, Operation, Position
from core.documents.memory import ASKED, Kept, Memory, Origin, Way, elder, values, wait, waiting_for, ways
from core.documents.unsettled import Answer, Settled, Unknown, Unsettled, filled_in, shared


@dataclass(frozen=True, slots=True)
class Late:
    """A message about a row that had left its key: values, columns that became unknown, and the position of that."""

    values: Mapping[str, Any]
    lost: frozenset[str]
    at: Position


def arrived(memory: Memory, arrival: Unsettled, departure: Unsettled) -> None:
    """A row has come to a key, and lacks what is known of it under its old one."""
    lacks, known = arrival.change.unavailable, departure.change.row
    since = {name: departure.brought_at.get(name, BEGINNING) for name in lacks}
    found = {name: known[name] for name in lacks if name in known}
    pair = shared(arrival.change)
    origin = Origin(since, pair, again=True) if arrival.late else Origin(since, pair, last=arrival)
    memory[values(arrival.document_id)] = Kept(values=found, origin=origin)
    _set_way(memory, pair, departure.document_id, Way(arrival.document_id, arrival.change.position))


def came_to(memory: Memory, pair: str, document_id: str) -> None:
    """A row has come to a key by the key change of `pair`. What was learned of one that is there still is that one's,
    which leaves the key before the transaction ends, where it is deferrable; or was there no more.
    """
    memory.pop(elder(document_id), None)
    known = memory.pop(values(document_id), None)
    if known is not None:
        memory[elder(document_id)] = structs.replace(known, newcomer=pair)
        kept = memory.get(ways(pair)) or Kept()
        memory[ways(pair)] = structs.replace(kept, elders=(*kept.elders, document_id))


def passed_on(memory: Memory, arrival: Unsettled, known: Mapping[str, Any], old: str) -> list[Answer]:
    """A row had come to a key and left it again, before it is read that it came; its `old` key knows of it `known`."""
    change = arrival.change
    way = Way(arrival.document_id, change.position, arrival.onward, tuple(change.unavailable))
    if old:
        _set_way(memory, shared(change), old, way)
    return _follow(memory, way, Late(known, change.unavailable - known.keys(), change.position))


def left(memory: Memory, known: Kept | None, departure: Unsettled) -> Unsettled:
    """The departure, with what was learned of its row's values, whose way goes on by it.

    What the source was asked for stays: it said what is under the key now, which may be another row by then.
    """
    if known is None:
        return departure
    origin, row = known.origin or Origin(), departure.change.row
    learned = {name: value for name, value in known.values.items() if origin.since.get(name) != ASKED}
    lacked = tuple(name for name in origin.since if name not in row)
    for document, way in _ways(memory, origin.pair).items():
        if way.to == departure.document_id and not way.onward:
            onward = replace(way, onward=shared(departure.change), columns=lacked)
            _set_way(memory, origin.pair, document, onward)
    return structs.replace(departure, change=replace(departure.change, row={**learned, **row}))


def note_last(memory: Memory, new: Unsettled, known: Kept | None) -> None:
    """A change of a document lacks values of which others may come late."""
    if known is not None and known.origin is not None and known.origin.pair:
        memory[values(new.document_id)] = structs.replace(known, origin=replace(known.origin, last=new))


def tell_late(memory: Memory, document_id: str, pair: str, late: Late) -> list[Answer]:
    """What follows from a message about a row that left `document_id` by the key change of `pair`."""
    waiting = waiting_for(memory, pair)
    for at, kept in enumerate(waiting):
        half = kept.half
        if half and half.document_id == document_id and half.change.operation is Operation.DELETE:
            waiting[at] = structs.replace(kept, half=_taking_along(half, late))
            wait(memory, pair, waiting)
            return []
    way = _ways(memory, pair).get(document_id)
    if way is None:
        return []
    return _follow(memory, way, late) if way.onward else _last_anew(memory, way.to, pair, late)


def forget_ways(memory: Memory, pair: str, mark: Position) -> list[Answer]:
    """Forget where the row of the key change `pair` went: nothing comes late of it any more.

    What was learned for a row that came to be before `mark` goes: its key's state was forgotten, perhaps before that.
    """
    kept = memory.pop(ways(pair), None) or Kept()
    answers: list[Answer] = []
    for document_id in kept.elders:
        stayed = memory.get(elder(document_id))
        if stayed is not None and stayed.newcomer == pair:
            del memory[elder(document_id)]
    for way in kept.ways.values():
        known = memory.get(values(way.to))
        if known is None or known.origin is None or known.origin.pair != pair:
            continue
        if known.origin.again and known.origin.last is not None:
            last = filled_in(known.origin.last, known.values)
            answers += [] if last.change.unavailable else [Settled(last)]
        asked = {name: at for name, at in known.origin.since.items() if at == ASKED}
        if known.values and way.at >= mark:
            memory[values(way.to)] = Kept(values=known.values, origin=Origin(asked) if asked else None)
        else:
            del memory[values(way.to)]
    return answers


def _follow(memory: Memory, way: Way, late: Late) -> list[Answer]:
    some = {name: value for name, value in late.values.items() if name in way.columns}
    return tell_late(memory, way.to, way.onward, Late(some, late.lost.intersection(way.columns), way.at))


def _taking_along(departure: Unsettled, late: Late) -> Unsettled:
    fresh = [name for name in (*late.values, *late.lost) if departure.brought_at.get(name, BEGINNING) <= late.at]
    row = _with(departure.change.row, late, fresh)
    brought_at = {**departure.brought_at, **dict.fromkeys(fresh, late.at)}
    return structs.replace(departure, change=replace(departure.change, row=row), brought_at=brought_at)


def _last_anew(memory: Memory, document_id: str, pair: str, late: Late) -> list[Answer]:
    known = memory.get(values(document_id))
    if known is None or known.origin is None or known.origin.pair != pair:
        return []
    origin = known.origin
    fresh = [name for name in (*late.values, *late.lost) if origin.since.get(name, ASKED) <= late.at]
    origin = replace(origin, since={**origin.since, **dict.fromkeys(fresh, late.at)})
    now = Kept(values=_with(known.values, late, fresh), origin=origin)
    memory[values(document_id)] = now
    if origin.last is None or origin.last.change.unavailable.isdisjoint(fresh):
        return []
    last = filled_in(origin.last, now.values)
    if last.change.unavailable.isdisjoint(late.lost):  # what else is missing was asked for
        return [] if last.change.unavailable else [Settled(last)]
    return [Unknown(last)]


def _with(known: Mapping[str, Any], late: Late, fresh: list[str]) -> dict[str, Any]:
    rest = {name: value for name, value in known.items() if name not in fresh}
    return rest | {name: late.values[name] for name in fresh if name in late.values}


def _ways(memory: Memory, pair: str) -> dict[str, Way]:
    kept = memory.get(ways(pair))
    return {} if kept is None else kept.ways


def _set_way(memory: Memory, pair: str, document_id: str, way: Way) -> None:
    kept = memory.get(ways(pair)) or Kept()
    memory[ways(pair)] = structs.replace(kept, ways={**kept.ways, document_id: way})
