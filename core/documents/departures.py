"""Rows that left a key for another one, as the state of the key's document remembers them.

A topic that was given more partitions has a key's later changes in another one than its earlier ones, and the later may
be read first. So a row may have left before all that was told of it is read. What comes late then belongs to a row that
is under another key: `core.documents.lineage` knows where it went, and is told here what the row took along too old.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from core.change import BEGINNING, Change, Position
from core.documents.unsettled import Unsettled, shared

MOST_DEPARTURES = 16
"""How many a state keeps: all but the first behind a backlog are of rows that came in the later partition too."""


@dataclass(frozen=True, slots=True)
class Departure:
    """A row that went to another key.

    position  of its departure
    pair      what that has in common with the other half of the key's change
    since     when the values were told that it took along, or became unknown, but for those that `told` names
    told      column to when
    """

    position: Position
    pair: str
    since: Position = BEGINNING
    told: Mapping[str, Position] = field(default_factory=dict)


def departed(
    earlier: tuple[Departure, ...], last: Position, change: Change, told: Mapping[str, Position]
) -> tuple[Departure, ...]:
    """The departures with that of a row whose last change was at `last`; `told` says of each column when it was."""
    some = {name: at for name, at in told.items() if at != last}
    return (*earlier, Departure(change.position, shared(change), last, some))[-MOST_DEPARTURES:]


def left_behind(departures: tuple[Departure, ...], at: Position) -> Departure | None:
    """The first departure behind a position: a change there is of the row that left by it."""
    return next((each for each in departures if each.position > at), None)


def caught_up(
    left: Departure, change: Change, names: Iterable[str], document_id: str
) -> tuple[Departure, list[Unsettled]]:
    """What a late change says of a row that has left since; and the departure, as if it had come in time.

    An arrival is itself told as late, and lacks what only its own old key can say: its `onward` says of which row.
    """
    newer = [name for name in names if left.told.get(name, left.since) < change.position]
    unsaid = change.unavailable | change.doubtful
    news = {name: change.row[name] for name in newer if name in change.row and name not in unsaid}
    # an arrival takes nothing from the row that was at its key before; an update leaves what it left out as it was
    stays = frozenset() if change.moves else change.unavailable
    lost = frozenset(name for name in newer if name not in news and name not in stays and _is_unsaid(change, name))
    told: list[Unsettled] = []
    if change.moves:
        half = replace(change, row={}, unavailable=lost, doubtful=frozenset())
        told.append(Unsettled(document_id, half, late=True, onward=left.pair if lost else ""))
        lost = frozenset()
    if news or lost:
        late = replace(change, row=news, unavailable=lost, doubtful=frozenset(), moves=False)
        told.append(Unsettled(document_id, late, late=True, onward=left.pair))
    at = dict.fromkeys((*news, *(told[0].change.unavailable if told else ())), change.position)
    return replace(left, told={**left.told, **at}), told


def _is_unsaid(change: Change, name: str) -> bool:
    return change.partial or name in change.unavailable or name in change.doubtful


def with_caught_up(departures: tuple[Departure, ...], left: Departure) -> tuple[Departure, ...]:
    """The departures, with one as it is by now."""
    return tuple(left if each.position == left.position else each for each in departures)
