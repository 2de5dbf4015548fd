"""Halves of key changes, as the state of a document sees them that may have been another row's before, or stays one.

Source of the rules: PostgreSQL's documentation, "CREATE TABLE" (a deferrable key is looked at when its statement or its
transaction ends, so that two rows may have one key for a while), and "ALTER TABLE: REPLICA IDENTITY" (a deferrable key
is none: a published table with one needs FULL, else PostgreSQL refuses its updates. So its events have whole old rows).
"""

from __future__ import annotations

from core.change import Change, Operation
from core.documents.standing import Row
from core.documents.state import DocumentState
from core.documents.unsettled import shared


def is_other_half(before: DocumentState, change: Change) -> bool:
    """Whether the state's last change is the other half of this one, both being one document's.

    So it is where `key:` names none of the columns that have changed.
    """
    if change.operation is Operation.UPSERT:
        return before.left != "" and before.left == shared(change)
    return change.position == before.position and elder_leaves(before, change)


def elder_leaves(before: DocumentState, change: Change) -> bool:
    """Whether a deletion is that of the row which was there when another one came to its key."""
    return is_elders(before.elder, before.row, change)


def is_elders(older: tuple[str, Row] | None, newcomer: Row, change: Change) -> bool:
    """Whether a deletion is the elder's of two rows of a key, and not the newcomer's.

    A row that a state takes to be there may be gone: truncated, or deleted without an event. So the old row that the
    deletion brings decides. One that doesn't bring its whole row is of a key that is looked at row by row, where one
    that comes finds nobody there.
    """
    if older is None or change.operation is not Operation.DELETE or not change.commit or older[0] != change.commit:
        return False
    return _fits(older[1], change.row) or not _fits(newcomer, change.row)


def _fits(known: Row, whole: Row) -> bool:
    return all(whole[name] == value for name, value in known.items() if name in whole)


def elder(before: DocumentState, earlier: Row, change: Change) -> tuple[str, Row] | None:
    """`elder_of` of a document; `earlier`: its values that stand."""
    return elder_of(bool(before.made_by or before.row), earlier, change)


def elder_of(is_there: bool, earlier: Row, change: Change) -> tuple[str, Row] | None:
    """The row that is there as another one comes to its key, with the transaction; None for other changes."""
    return (change.commit, earlier) if is_there and change.moves and change.commit else None
