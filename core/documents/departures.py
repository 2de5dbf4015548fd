"""Rows that left a key for another one, as the state of the key's document remembers them.

A topic that was given more partitions has a key's later changes in another one than its earlier ones, and the later may
be read first. So a row may have left before all of its changes are read. What comes late then belongs to a row that is
under another key: `core.documents.lineage` knows where it went, and gets from here which values it took along too old.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec
from msgspec import structs

from core.change import BEGINNING, Change, Position
from core.documents.unsettled import Unsettled, shared

MOST_DEPARTURES = 16
"""How many a state keeps: all but the first behind a backlog are of rows that came in the later partition too."""


class Departure(msgspec.Struct, frozen=True):
    """A row that went to another key.

    position    of its departure
    pair        what that has in common with the other half of the key's change
    since       the position at which the values that it took along were last brought, or became unknown
    brought_at  column to that position, where it isn't `since`
    came_ms     its event's time, in milliseconds since 1970; 0: not noted yet
    forget_at   when it may be forgotten, by the machine's clock; 0: a partition seems to be before it still
    """

    position: Position
    pair: str
    since: Position = BEGINNING
    brought_at: Mapping[str, Position] = msgspec.field(default_factory=dict, name="told")  # its key in savepoints
    came_ms: int = 0
    forget_at: int = 0


Departures = tuple[Departure, ...]


def departed(earlier: Departures, last: Position, change: Change, brought_at: Mapping[str, Position]) -> Departures:
    """The departures with that of a row whose last change was at `last`; `brought_at` is of all its columns."""
    some = {name: at for name, at in brought_at.items() if at != last}
    return (*earlier, Departure(change.position, shared(change), last, some))[-MOST_DEPARTURES:]


def left_behind(departures: Departures, at: Position) -> Departure | None:
    """The first departure behind a position: a change there is of the row that left by it."""
    return next((each for each in departures if each.position > at), None)


def caught_up(
    left: Departure, change: Change, names: Iterable[str], document_id: str
) -> tuple[Departure, list[Unsettled]]:
    """What a late change says of a row that has left since; and the departure, as if it had come in time.

    An arrival is itself passed on as late, and lacks what only its own old key can say: its `onward` says of which row.
    """
    newer = [name for name in names if left.brought_at.get(name, left.since) < change.position]
    unsaid = change.unavailable | change.doubtful
    news = {name: change.row[name] for name in newer if name in change.row and name not in unsaid}
    # an arrival takes nothing from the row that was at its key before; an update leaves what it left out as it was
    stays = frozenset() if change.moves else change.unavailable
    lost = frozenset(name for name in newer if name not in news and name not in stays and _is_unsaid(change, name))
    emitted: list[Unsettled] = []
    if change.moves:
        half = replace(change, row={}, unavailable=lost, doubtful=frozenset())
        emitted.append(Unsettled(document_id, half, late=True, onward=left.pair if lost else ""))
        lost = frozenset()
    if news or lost:
        late = replace(change, row=news, unavailable=lost, doubtful=frozenset(), moves=False)
        emitted.append(Unsettled(document_id, late, late=True, onward=left.pair))
    at = dict.fromkeys((*news, *(emitted[0].change.unavailable if emitted else ())), change.position)
    return structs.replace(left, brought_at={**left.brought_at, **at}), emitted


def _is_unsaid(change: Change, name: str) -> bool:
    return change.partial or name in change.unavailable or name in change.doubtful


def with_caught_up(departures: Departures, left: Departure) -> Departures:
    """The departures, with one of them replaced by what is known of it now."""
    return tuple(left if each.position == left.position else each for each in departures)


def noted(departures: Departures, came_ms: int) -> Departures:
    """The departures, those that are new with their event's time."""
    return tuple(each if each.came_ms else structs.replace(each, came_ms=came_ms) for each in departures)


def awaited(departures: Departures, passed_ms: int, now_ms: int, patience_ms: int) -> Departures:
    """Those of which changes may come late still. Whoever follows their rows has forgotten the others' ways as well.

    passed_ms    the event time that every partition seems to have passed: nothing older is to come
    now_ms       by the machine's clock
    patience_ms  how long a partition whose broker is away may seem to have passed
    """
    due = now_ms + patience_ms
    known = (
        structs.replace(each, forget_at=due) if not each.forget_at and each.came_ms <= passed_ms else each
        for each in departures
    )
    return tuple(each for each in known if not each.forget_at or each.forget_at > now_ms)
