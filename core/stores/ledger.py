"""What a store's ledger says, and how a store is claimed, where no write of the store's has a condition.

Such a store is read, then written: `Known` is what was read, and who claims it reads again what was written last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from core.change import BEGINNING, Position
from core.errors import Displaced
from core.plans import Plan, tables_of
from core.stores.contract import Stood
from core.stores.fingerprint import Owner, displaced, owner_to_text


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger says of a document; `complete`: its chunks are all written."""

    stood: Stood
    complete: bool


@dataclass(frozen=True, slots=True)
class Known:
    """What was read at one time: entries by document, marks by table."""

    entries: Mapping[str, Entry]
    marks: Mapping[str, Position]

    def is_late(self, plan: Plan) -> bool:
        """Whether a later change than the plan's is there, or a table's mark is above it."""
        entry = self.entries.get(plan.document_id)
        return (entry is not None and entry.stood.position > plan.position) or self.is_below_mark(plan)

    def is_below_mark(self, plan: Plan) -> bool:
        """Whether the mark of a table is above the plan."""
        return any(plan.position < self.marks.get(table, BEGINNING) for table in tables_of(plan.document_id))


def claim(ours: Owner, place: str, there: Callable[[], Owner | None], write: Callable[[str], None]) -> None:
    """Make a store `ours`, unless a later run has it.

    place  how messages name the store
    there  whose it is now; None where nobody's yet
    write  keeps an owner's text

    Raises Displaced where a later run has it.
    """
    found = there()
    if found is None or found.epoch < ours.epoch:
        write(owner_to_text(ours))
        # of two who write at once both read what the later one wrote
        found = there()
    if found is not None and found != ours:
        raise Displaced(displaced(place, ours, found))


def key_of(text: str) -> str:
    """A text as conditions name it: 32 hexadecimal digits."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def key_of_document(document_id: str) -> str:
    """The key of a document's entry."""
    return f"d{key_of(document_id)}"


def key_of_table(table: str) -> str:
    """The key of a table's mark."""
    return f"t{key_of(table)}"
