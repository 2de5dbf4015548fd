"""Rows that leave and take one document's key at one place of a log, which doesn't say in which order they did.

So it is with MySQL, where `key:` names a unique column beside the primary key: the events of a statement, or of a
compressed transaction, have one place in the binlog, and those of several rows come by several partitions, whose
offsets don't compare. One row's events come by one partition, though, in their order. And as the column is unique, a
row takes a value only after the one before has left it: of the rows that have taken it at a place and haven't left
since, only one is there in the end, whatever the order in which they are heard of.

Sources of the rules: MySQL's manual, "Binary Log Transaction Compression" and "CREATE TABLE: UNIQUE"; Kafka's
documentation, "Producer Configs: partitioner.class" (a key has one partition).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from core.change import Change, Operation, Position, Rare, Turn
from core.documents.unsettled import shared

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tenants:
    """What is known of the rows that had a key at one place of the log.

    place   the place
    heard   row to the arrival of its last change there, and the position that the change was given
    shown   the row that the document shows; "" where none is there
    beside  row to its values, of the others that have come and not left
    """

    place: str = ""
    heard: Mapping[str, tuple[int, Position]] = field(default_factory=dict)
    shown: str = ""
    beside: Mapping[str, Row] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a change does to a key that several rows may have had at its place.

    change   as the document is to take it: at a position behind all that was heard of the key at this place, and of
             the row that is there in the end where another one has left
    leaves   the half of a key change of a row that has left a key which another one has
    """

    tenants: Tenants | None
    change: Change
    leaves: Change | None = None


def take(before: Tenants | None, values: Row, at: Position, change: Change, key: Sequence[str]) -> Taken:
    """How a document takes a change that says its turn.

    values  those that stand of the row that is shown, at position `at`
    key     the columns that documents go by
    """
    turn = change.turn
    if turn is None:
        return Taken(before, change)
    if before is None or turn.place != before.place:
        if before is not None and turn.place < before.place:
            return Taken(before, change)
        there = turn.row if change.operation is Operation.UPSERT else ""
        return Taken(Tenants(turn.place, {turn.row: (turn.came, change.position)}, there), change)
    came, given = before.heard.get(turn.row, (-1, at))
    if turn.came <= came:
        # a dead letter that comes again is known by the position that it was given
        return Taken(before, _moved(change, given) if turn.came == came else change)
    return _in_turn(before, values, change, turn, key)


def _in_turn(before: Tenants, values: Row, change: Change, turn: Turn, key: Sequence[str]) -> Taken:
    heard = {row: came for row, (came, _) in before.heard.items()} | {turn.row: turn.came}
    # greater with each change, and the same for the same changes whatever their order: a restart may hear another one
    now = _moved(change, turn.position(sum(heard.values())))
    tenants = replace(before, heard={**before.heard, turn.row: (turn.came, now.position)})
    beside = dict(before.beside)
    if change.operation is Operation.REFUSED:
        return Taken(tenants, now)
    if change.operation is Operation.UPSERT:
        if before.shown not in ("", turn.row):
            beside[before.shown] = values
        beside.pop(turn.row, None)
        return Taken(replace(tenants, shown=turn.row, beside=beside), now)
    row = beside.pop(turn.row, values)
    shown = before.shown
    if shown in ("", turn.row):
        shown = next(reversed(beside), "")
        if not shown:
            return Taken(replace(tenants, shown=""), now)
        values = beside.pop(shown)
    row_there = {name: change.row[name] for name in key if name in change.row} | dict(values)
    there = replace(now, operation=Operation.UPSERT, row=row_there, moves=False, rare=None)
    leaves = replace(now, row=row, unavailable=frozenset()) if change.moves else None
    return Taken(replace(tenants, shown=shown, beside=beside), there, leaves)


def _moved(change: Change, to: Position) -> Change:
    """The change at another position; what it shares with its other half stays."""
    if to == change.position:
        return change
    rare = change.rare or Rare()
    return replace(change, position=to, rare=replace(rare, pair=shared(change)) if change.moves else rare)
