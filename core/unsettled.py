"""Changes that their own key's state can't make a plan of."""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.change import Change, Operation
from core.errors import ChangeError

_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A change that its own key's state can't settle: half of a key change, or one with values that nobody told yet.

    change.row          the columns known, of a deletion those that stood before it
    change.unavailable  the columns that the document needs and nobody has told
    event               the message it came in, encoded, for a dead letter
    late                the new row of a key change, whose key has changed since: the old row goes all the same. Or the
                        old key of one, which another row has by now: no document goes
    """

    document_id: str
    change: Change
    event: bytes = b""
    late: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """A change that can't be used, and why. The state that comes with it knows what isn't known any more.

    name    of the document or record
    change  as `unknown` makes it
    """

    name: str
    change: Change
    error: ChangeError


def forgotten(document_id: str, change: Change, spared: frozenset[str] = _NONE) -> Unsettled:
    """Word that what was learned of a document's values no longer stands, but for the columns `spared`."""
    return Unsettled(document_id, unknown(change, spared))


def unknown(change: Change, spared: frozenset[str] = _NONE) -> Change:
    """A change of which nothing is known but its key, its place among others, and that it left `spared` as they were.

    It is no half of a key change any more: what waits for that one waits in vain, and is told in the end.
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
