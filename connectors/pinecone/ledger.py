"""What the Pinecone store knows of documents, tables and runs: the records of the namespace `<namespace>_ledger`.

A document's entry has its last `position`, how many `chunks` it has, and whether they are all written, `complete`. A
table's has its mark, and there are one for whose the store is and one for what its run says of itself.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from connectors.pinecone.client import SETTING
from connectors.pinecone.namespace import Condition, Namespace, both, record
from connectors.pinecone.rows import LONGEST_METADATA, of_table, shown, stood_of
from core.change import BEGINNING, Position
from core.errors import ConfigError
from core.plans import Plan, tables_of
from core.stores.fingerprint import Owner, owner_from_text
from core.stores.ledger import Entry, Known, claim, key_of_document, key_of_table

_OWNER, _PROGRESS = "o", "p"
_DOCUMENTS: Condition = {"kind": {"$eq": "document"}}
_AT_ONCE = 500


class Ledger:
    """A ledger, and whose the store is: of the owner that it was opened for; None: whoever's it is.

    place      how messages name the store
    dimension  numbers in a vector: each record must have one
    """

    def __init__(self, namespace: Namespace, place: str, dimension: int, owner: Owner | None) -> None:
        self._namespace = namespace
        self._place = f"{SETTING}: {place}"
        self._vector = [1.0] + [0.0] * (dimension - 1)
        self._owner = owner

    def begin(self) -> None:
        """See `Namespace.begin`."""
        self._namespace.begin()

    def known(self, document_ids: Sequence[str]) -> Known:
        """What is known of documents and their tables now. Raises Displaced unless the store is ours, and makes it so
        where it is nobody's.
        """
        of_documents = {key_of_document(each): each for each in document_ids}
        tables = dict.fromkeys(table for each in document_ids for table in tables_of(each))
        of_tables = {key_of_table(each): each for each in tables}
        found = self._read([*of_documents, *of_tables, _OWNER])
        self._check(found.get(_OWNER))
        return Known(
            {name: _entry(found[key]) for key, name in of_documents.items() if key in found},
            {name: Position(found[key]["position"]) for key, name in of_tables.items() if key in found},
        )

    def entries(self, document_ids: Sequence[str], fresh: bool = True) -> dict[str, Entry]:
        """What is known of documents now, by their ids; `fresh` as of `Namespace.query`."""
        wanted = {key_of_document(each): each for each in document_ids}
        return {wanted[key]: _entry(found) for key, found in self._read(list(wanted), fresh).items()}

    def names(self, keys: Sequence[str]) -> dict[str, str]:
        """The ids of documents that are known, by their keys."""
        found = self._read([f"d{each}" for each in keys], fresh=False)
        return {key[1:]: str(each["name"]) for key, each in found.items()}

    def write(self, plans: Sequence[Plan], complete: bool) -> None:
        """Have the documents stand at their plans, written whole or not yet."""
        now = time.time_ns() // 1_000_000
        self._namespace.write(
            self._record(
                key_of_document(plan.document_id),
                "document",
                {
                    "name": plan.document_id,
                    **shown(plan),
                    "chunks": len(plan.chunk_ids),
                    "complete": complete,
                    "deleted_at": 0 if plan.chunk_ids else now,
                },
            )
            for plan in plans
        )

    def raise_mark(self, table: str, before: Position) -> None:
        """Have a table's mark be at least there, for all who read from now on."""
        if self.mark(table) < before:
            self._namespace.write([self._record(key_of_table(table), "table", {"name": table, "position": before})])
            self._namespace.settle()

    def mark(self, table: str) -> Position:
        """A table's mark; BEGINNING where it has none."""
        found = self._read([key_of_table(table)])
        return next((Position(each["position"]) for each in found.values()), BEGINNING)

    def clear(self, table: str, before: Position) -> None:
        """Forget the table's documents that stand below its mark."""
        self.hold()
        below = both(_DOCUMENTS, of_table(table, before))
        for some in self._namespace.ids(below):
            self._namespace.delete([each.id for each in some])
        self._namespace.settle()

    def latest(self, table: str) -> Position:
        """The latest position of a table's documents. Reads them all."""
        latest = BEGINNING
        for some in self._namespace.ids(both(_DOCUMENTS, of_table(table))):
            ids = [each.id for each in some]
            found = self._namespace.having("entry", ids)
            latest = max((Position(each.metadata["position"]) for each in found), default=latest)
        return latest

    def forget(self, document_ids: Sequence[str]) -> None:
        """Drop what is known of documents."""
        self._namespace.delete([key_of_document(each) for each in document_ids])
        self._namespace.settle()

    def forget_deleted(self, before_ms: int) -> None:
        """Drop the entries of documents deleted before a time, in milliseconds since 1970."""
        long_ago: Condition = {"$and": [{"deleted_at": {"$gt": 0}}, {"deleted_at": {"$lt": before_ms}}]}
        for some in self._namespace.ids(both(_DOCUMENTS, long_ago)):
            self._namespace.delete([each.id for each in some])
        self._namespace.settle()

    def living(self) -> int:
        """Of how many documents it says that they have chunks, all written."""
        whole: Condition = {"$and": [_DOCUMENTS, {"chunks": {"$gt": 0}}, {"complete": {"$eq": True}}]}
        return sum(len(some) for some in self._namespace.ids(whole, fresh=False))

    def hold(self) -> None:
        """Raises Displaced where a later run has the store; makes it ours where it isn't."""
        if self._owner is not None:
            self._check(self._read([_OWNER]).get(_OWNER))

    def claim(self) -> None:
        """Make it ours. Raises Displaced where a later run has it."""
        if self._owner is not None:
            claim(self._owner, self._place, self._owner_now, partial(self._keep, _OWNER))

    def owner(self) -> Owner | None:
        """Whose it is; None where nobody's yet. Doesn't wait for an index that is away."""
        return self._owner_of(self._read([_OWNER], fresh=False).get(_OWNER))

    def keep(self, text: str) -> None:
        """Keep what a run says of itself."""
        self.hold()
        self._keep(_PROGRESS, text)
        self._namespace.settle()

    def progress(self) -> str | None:
        """What was kept last. Doesn't wait for an index that is away."""
        found = self._read([_PROGRESS], fresh=False).get(_PROGRESS)
        return None if found is None else str(found["said"])

    def _check(self, found: Mapping[str, Any] | None) -> None:
        if self._owner is not None and self._owner_of(found) != self._owner:
            self.claim()

    def _owner_now(self) -> Owner | None:
        return self._owner_of(self._read([_OWNER]).get(_OWNER))

    @staticmethod
    def _owner_of(found: Mapping[str, Any] | None) -> Owner | None:
        return None if found is None else owner_from_text(found["said"])

    def _read(self, keys: Sequence[str], fresh: bool = True) -> dict[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = self._namespace.having("entry", keys[start : start + _AT_ONCE], fresh=fresh)
            found |= {each.id: each.metadata for each in some}
        return found

    def _keep(self, key: str, text: str) -> None:
        size = len(text.encode())
        if size > LONGEST_METADATA // 2:
            # as JSON it is escaped
            raise ConfigError(
                [f"{self._place}: what is kept of a run has {size:,} bytes, not {LONGEST_METADATA // 2:,} at most"]
            )
        self._namespace.write([self._record(key, "run", {"said": text})])

    def _record(self, key: str, kind: str, fields: Mapping[str, Any]) -> bytes:
        slot = {} if "slot" in fields else {"slot": 0}
        return record(key, self._vector, {"entry": key, "kind": kind, **slot, **fields})


def _entry(metadata: Mapping[str, Any]) -> Entry:
    return Entry(stood_of(metadata), bool(metadata["complete"]))
