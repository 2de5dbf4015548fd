"""What a job forgets of documents that no store holds any more.

A table was cleared below a mark, by a TRUNCATE or behind a snapshot. Stores refuse what is older than that, however
late it comes; and every row that is in the table since came whole at the mark or behind it, inserted after the
TRUNCATE or read by the snapshot. So of a document whose last change is older nothing that is known will be used again:
what comes late of it is planned as if it were new, and refused; what comes anew is whole.
"""

from __future__ import annotations

from urllib.parse import unquote

from core.change import Change, Operation, Position
from core.documents.state import DocumentState
from core.documents.unsettled import Unsettled, forgotten

FIRST_LOOK_MS = 30_000
"""How old a document is when it is looked at for the first time, whether its table was cleared since."""
_TIMES_AS_OLD = 8
_DAY_MS = 86_400_000


def next_look(since_ms: int, now_ms: int, forget_at: int = 0) -> int:
    """When to look at a document next that is known since `since_ms`: after `now_ms`. All in milliseconds since 1970.
    Where a deletion of it may be forgotten before that, at `forget_at`, it is then; 0: it may not be forgotten.

    It is looked at again when it is eight times as old, and once a day in the end: so a table that is filled and
    emptied every few minutes leaves some minutes' documents, and one that stands for years costs next to nothing.
    The times are `since_ms`'s alone: whichever timer rings, the next is the same one. So a document that is deleted
    over and over has one timer, and not one for each of its deletions.
    """
    age = FIRST_LOOK_MS
    while since_ms + age <= now_ms and _TIMES_AS_OLD * age < _DAY_MS:
        age *= _TIMES_AS_OLD
    days = max(0, (now_ms - since_ms - age) // _DAY_MS + 1)
    look = since_ms + age + days * _DAY_MS
    return min(look, forget_at or look)


def is_cleared(state: DocumentState, mark: Position) -> bool:
    """Whether the stores have cleared the document, and refuse whatever is as old. `mark`: the least of theirs."""
    return state.position < mark


def is_nothing(state: DocumentState) -> bool:
    """Whether no row is there, behind a deletion: of two that had the key at once, the other one may be."""
    return not state.row and state.holes is None


def prefix_of(document_id: str) -> str:
    """What the ids of the document's table begin with: what stores call the table."""
    return document_id.partition("/")[0]


def table_of(document_id: str) -> str:
    """The table that a document is of, of several databases that have it with the one that this is of."""
    return unquote(prefix_of(document_id))


def word_of(document_id: str, state: DocumentState) -> Unsettled | None:
    """A message that a document is forgotten, to whoever keeps values of it elsewhere; None where nobody can."""
    if state.holes is None and state.elder is None:
        return None
    return forgotten(document_id, Change(table_of(document_id), {}, Operation.REFUSED, state.position))
