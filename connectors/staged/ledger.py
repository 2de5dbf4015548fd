"""What a staged store knows beside its documents: records of its log's ledger, the last of each key."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from core.change import BEGINNING, Position
from core.plans import Plan, tables_of
from core.stores.fingerprint import Owner, owner_from_text, owner_to_text

OWNER, PROGRESS, SHAPE = b"owner", b"progress", b"shape"
_TABLE = "table:"


def table_key(table: str) -> bytes:
    """Of a table's mark."""
    return f"{_TABLE}{table}".encode()


def shape(dimension: int) -> str:
    """The text of the record that says how many numbers a vector has."""
    return json.dumps({"dimension": dimension})


@dataclass(slots=True)
class Said:
    """What the ledger's records say so far. Of owners the latest run's counts, of marks the highest."""

    owner: Owner | None = None
    progress: str | None = None
    dimension: int | None = None
    marks: dict[str, Position] = field(default_factory=dict)

    def take(self, key: bytes, value: bytes | None) -> Owner | None:
        """One record. What was overtaken by it, if so: a later run's owner."""
        text = None if value is None else value.decode()
        if key == OWNER:
            found = None if text is None else owner_from_text(text)
            if self.owner is not None and found is not None and found.epoch < self.owner.epoch:
                return self.owner
            if found is None or self.owner is None or found.epoch > self.owner.epoch:
                self.owner = found
        elif key == PROGRESS:
            self.progress = text
        elif key == SHAPE and text is not None:
            self.dimension = int(json.loads(text)["dimension"])
        elif key.startswith(_TABLE.encode()) and text is not None:
            table = key.decode().removeprefix(_TABLE)
            self.marks[table] = max(Position(text), self.mark(table))
        return None

    def text(self, key: bytes) -> str | None:
        """What a record of this key would have to say for what is known now; None where it would say nothing."""
        if key == OWNER:
            return None if self.owner is None else owner_to_text(self.owner)
        if key == PROGRESS:
            return self.progress
        if key == SHAPE:
            return None if self.dimension is None else shape(self.dimension)
        return self.marks.get(key.decode().removeprefix(_TABLE))

    def mark(self, table: str) -> Position:
        """A table's mark; BEGINNING where it has none."""
        return self.marks.get(table, BEGINNING)

    def is_below(self, plan: Plan) -> bool:
        """Whether a plan is below the mark of its table."""
        return any(plan.position < self.mark(each) for each in tables_of(plan.document_id))
