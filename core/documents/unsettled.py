"""Changes that their own key's state can't make a plan of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from msgspec import structs

from core.change import Change, Operation, Position
from core.errors import ChangeError

_NONE: frozenset[str] = frozenset()


class Unsettled(msgspec.Struct, frozen=True):
    """A change that its own key's state can't settle: half of a key change, or one that lacks values.

    change.row          the columns known, of a deletion those that stood before it
    change.unavailable  the columns that the document needs and whose values aren't known
    event               the message it came in, encoded, for a dead letter
    late                the new row of a key change, whose key has changed since: the old row goes all the same. Or the
                        old key of one, which another row has by now: no document goes. Or a row that is emitted anew:
                        what it still lacks was asked for
    brought_at          of a deletion that is half of a key change: column to the position at which a change of its key
                        last brought the value, or it became unknown
    onward              of a change that came late, of a row that had left its key: what its departure has in common
                        with the other half
    """

    document_id: str
    change: Change
    event: bytes = b""
    late: bool = False
    brought_at: Mapping[str, Position] = msgspec.field(default_factory=dict, name="told")  # its key in savepoints
    onward: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """A change that can't be used, and why. The state that comes with it knows what isn't known any more.

    name    of the document or record
    change  as `unknown` makes it
    """

    name: str
    change: Change
    error: ChangeError


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


def filled_in(what: Unsettled, values: Mapping[str, Any]) -> Unsettled:
    """A change with what it lacks of these values."""
    if what.change.partial:  # a value known from before may be null by now
        return what
    found = {name: values[name] for name in what.change.unavailable if name in values}
    change = replace(what.change, row={**what.change.row, **found}, unavailable=what.change.unavailable - found.keys())
    return structs.replace(what, change=change)


def answer(what: Unsettled, moved_from: str = "") -> Answer:
    """The change as settled, or as one whose values must be asked for."""
    return Unknown(what) if what.change.unavailable else Settled(what, moved_from)


def forgotten(document_id: str, change: Change, spared: frozenset[str] = _NONE) -> Unsettled:
    """A message that what was learned of a document's values no longer holds, except of the columns `spared`."""
    return Unsettled(document_id, unknown(change, spared))


def unknown(change: Change, spared: frozenset[str] = _NONE) -> Change:
    """A change of which only this is known: its key, its position, and that it left the columns `spared` as they were.

    It is no half of a key change any more: what waits for that one waits in vain, and is answered in the end.
    """
    return replace(
        change,
        operation=Operation.REFUSED,
        row={},
        unavailable=spared,
        doubtful=_NONE,
        partial=False,
        moves=False,
        ends_snapshot=False,
        snapshot=False,
        committed_ms=None,
    )


def shared(half: Change) -> str:
    """What a half of a key change has in common with the other one, without blanks."""
    return half.pair or half.position
