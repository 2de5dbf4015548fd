"""What is known of a row some of whose changes were refused.

A refused change happened all the same. Each value that it may have touched is unknown from then on, until something
brings it: a later change that carries it, or the refused one, replayed. So a state keeps, while there are such holes,
with every value the position at which a change last brought it. A value stands where no hole lies behind that position,
but for those that are known to have left the column as it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from core.change import BEGINNING, Change, Operation, Position

SHORTEST_OUT_OF_LINE = 128
"""Bytes of the shortest value that PostgreSQL may store apart (its documentation, "TOAST": toast_tuple_target)."""
MOST_HOLES = 16
"""How many a state keeps. What older ones may have touched stays unknown, replayed or not, until a change brings it."""

Row = Mapping[str, Any]
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Hole:
    """A refused change that nothing has filled. `spared`: columns that it is known to have left as they were."""

    position: Position
    spared: tuple[str, ...] = ()


class Holes(msgspec.Struct, frozen=True):
    """Which values of a row stand, where changes were refused.

    open          the holes, by position
    brought_at    column to the position at which it was last brought, or became unknown; one that isn't here was
                  brought before the first hole. Of a row without holes an earlier change than the last brought some
    doubted       column to the position of the last null that may have meant that its value is unchanged
    used          the columns that the last change uses
    committed_ms  when that was committed
    """

    open: tuple[Hole, ...] = ()
    brought_at: Mapping[str, Position] = msgspec.field(default_factory=dict, name="told")  # its key in savepoints
    doubted: Mapping[str, Position] = msgspec.field(default_factory=dict)
    used: tuple[str, ...] = ()
    committed_ms: int | None = None


class Said(NamedTuple):
    """What a change says of columns.

    standing  those that are known by it: their values
    missing   those whose value did not travel, where none stands from before
    lacking   those that its row should have and has not
    carried   of those that stand, whose value did not travel
    """

    standing: dict[str, Any]
    missing: frozenset[str] = frozenset()
    lacking: tuple[str, ...] = ()
    carried: frozenset[str] = frozenset()


def read(earlier: Row, change: Change, names: Sequence[str]) -> Said:
    """What a change says of the columns `names`, where `earlier` holds the values known before it."""
    row = change.row
    if not (change.unavailable or change.doubtful) and all(map(row.__contains__, names)):
        return Said({name: row[name] for name in names})  # as most changes are
    standing: dict[str, Any] = {}
    missing, carried = set(), set()
    lacking = []
    for name in names:
        if name in change.unavailable or (name in change.doubtful and _may_stand(earlier, name)):
            if name in earlier:
                standing[name] = earlier[name]
                carried.add(name)
            else:
                missing.add(name)
        elif name in row:
            standing[name] = row[name]
        elif change.partial:
            missing.add(name)
        else:
            lacking.append(name)
    return Said(standing, frozenset(missing), tuple(lacking), frozenset(carried))


def _may_stand(earlier: Row, name: str) -> bool:
    """Whether a null may stand for an unchanged value."""
    return name not in earlier or _is_long(earlier[name])


def _is_long(value: Any) -> bool:
    """Whether PostgreSQL may have moved the value out of line, and so left it out."""
    return len(value if isinstance(value, str) else _to_json(value)) >= SHORTEST_OUT_OF_LINE


def lacks(where: str, change: Change, said: Said) -> str:
    """What is wrong with a row that lacks a column, `where` being the setting that names it."""
    name, there = said.lacking[0], ", ".join(change.row)
    return (
        f"{where} uses column {name!r}, which the row lacks; it has: {there}. "
        f"Where it was renamed, name both, {{old|new}}; where it may be missing, write {{{name}|}}; where "
        "PostgreSQL generates it, or it is of a composite type, Debezium's changes lack it: name other columns"
    )


def known(row: Row, holes: Holes | None, at: Position | None = None) -> Row:
    """The values that stand: now, or `at` a position that has passed."""
    if holes is None:
        return row
    found = {name: value for name, value in row.items() if _stands(name, holes, at)}
    for name, doubted in holes.doubted.items():
        if name in found and doubted > holes.brought_at.get(name, BEGINNING):
            if at is not None and doubted > at:
                del found[name]  # there may have been other nulls before
            elif not _is_long(found[name]):
                found[name] = None
    return found


def _stands(name: str, holes: Holes, at: Position | None) -> bool:
    brought_at = holes.brought_at.get(name, BEGINNING)
    if at is not None and brought_at > at:
        return False
    return not any(
        brought_at < hole.position and (at is None or hole.position <= at) and name not in hole.spared
        for hole in holes.open
    )


def is_open(holes: Holes | None, at: Position) -> bool:
    """Whether the change at this position was refused, and nothing has filled it."""
    return holes is not None and any(hole.position == at for hole in holes.open)


def last_brought(holes: Holes | None, name: str, last: Position) -> Position:
    """The position at which a column was last brought, or became unknown, where the row's last change was at `last`."""
    if holes is None:
        return last
    brought_at = holes.brought_at.get(name, holes.open[0].position if holes.open else last)
    return max(brought_at, *(hole.position for hole in holes.open if name not in hole.spared), BEGINNING)


def may_tell(holes: Holes | None, change: Change) -> bool:
    """Whether a late change tells what is newer than what stands, of a column that later ones left out.

    So it is where a key's changes came by two partitions, as when a topic was given more of them. A row that came from
    another key tells, of what it leaves out, that what stands is another row's.
    """
    if holes is None or change.operation is not Operation.UPSERT:
        return False
    said = change.row.keys() | change.unavailable if change.moves else change.row.keys() - change.unavailable
    return any(at < change.position and (change.partial or name in said) for name, at in holes.brought_at.items())


def is_last(holes: Holes | None, at: Position) -> bool:
    """Whether no hole is behind this position."""
    return holes is None or all(hole.position <= at for hole in holes.open)


def closed(holes: Holes | None, at: Position) -> Holes:
    """The holes without the one at this position, which may leave none."""
    before = holes or Holes()
    return replace(before, open=tuple(hole for hole in before.open if hole.position != at))


def marked(row: Row, holes: Holes | None, change: Change, said: Said) -> tuple[Row, Holes]:
    """Row and holes behind a change that is refused, the one at its position replaced: what it says is known all the
    same, and what it may have touched beside that isn't.
    """
    values, before = _begun(row, holes, change)
    values, before = filled(values, closed(before, change.position), change, said)
    hole = Hole(change.position, tuple(sorted(said.missing & change.unavailable)))
    return _bounded(values, replace(before, open=tuple(sorted((*before.open, hole), key=lambda each: each.position))))


def passed(
    row: Row, holes: Holes | None, change: Change, said: Said, since: Position = BEGINNING
) -> tuple[Row, Holes | None]:
    """Row and holes behind a change that is the latest and wasn't refused.

    since  the position of the change before: it brought the values of which `holes` says nothing
    """
    if not (said.missing or said.carried):
        return said.standing, None
    used = (*said.standing, *sorted(said.missing))
    if change.moves:
        return said.standing, Holes(
            brought_at=dict.fromkeys(used, change.position), used=used, committed_ms=change.committed_ms
        )
    before = holes or Holes()
    stay_open = before.open if said.missing else ()
    # what isn't noted was brought by the change before, or before the first hole
    first = since if not before.open else BEGINNING if stay_open else before.open[0].position
    doubted = said.missing & change.doubtful
    stay = said.missing & (change.unavailable | doubted)
    lost = said.missing - stay
    brought_at = {name: before.brought_at.get(name, first) for name in (*stay, *said.carried)}
    brought_at |= dict.fromkeys((*(said.standing.keys() - said.carried), *lost), change.position)
    values = {name: value for name, value in row.items() if name in stay} | said.standing
    doubts = {**before.doubted, **dict.fromkeys(doubted, change.position)}
    return values, Holes(stay_open, brought_at, doubts, used, change.committed_ms)


def filled(row: Row, holes: Holes, change: Change, said: Said) -> tuple[dict[str, Any], Holes]:
    """Row and holes once a late `change` is known: what came since stands, the rest is as the change says."""
    values, before = _begun(row, holes, change)
    new = {
        name for name in (*said.standing, *said.missing) if before.brought_at.get(name, BEGINNING) <= change.position
    }
    stay = frozenset() if change.moves else change.unavailable | change.doubtful
    lost = new & (said.missing - stay)
    values = {name: value for name, value in values.items() if name not in lost}
    values |= {name: value for name, value in said.standing.items() if name in new}
    brought_at = {**before.brought_at, **dict.fromkeys(new & (said.standing.keys() | lost), change.position)}
    doubts = {
        name: max(before.doubted.get(name, BEGINNING), change.position) for name in said.missing & change.doubtful
    }
    return values, replace(before, brought_at=brought_at, doubted={**before.doubted, **doubts})


def _begun(row: Row, holes: Holes | None, change: Change) -> tuple[dict[str, Any], Holes]:
    """Row and holes, without all that was before a change which took the key's row away or brought another."""
    before = holes or Holes()
    if not change.moves and change.operation is not Operation.DELETE:
        return dict(row), before
    at = change.position
    brought_at = {name: since for name, since in before.brought_at.items() if since > at}
    values = {name: value for name, value in row.items() if name in brought_at}
    return values, replace(
        before, open=tuple(hole for hole in before.open if hole.position > at), brought_at=brought_at
    )


def _bounded(row: dict[str, Any], holes: Holes) -> tuple[Row, Holes]:
    while len(holes.open) > MOST_HOLES:
        oldest = replace(holes, open=holes.open[:1])
        row = {name: value for name, value in row.items() if _stands(name, oldest, None)}
        holes = replace(holes, open=holes.open[1:])
    return row, holes
