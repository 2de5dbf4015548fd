"""What the Milvus store knows of documents, tables and runs: the rows of the collection `<collection>_ledger`.

A document's entry has its last `position`, how many `chunks` it has, and whether they are all written, `complete`. A
table's has its mark, and there are one for whose the store is and one for what its run says of itself.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from connectors.milvus.client import SETTING, Server, among
from connectors.milvus.collections import LONGEST_TEXT
from connectors.milvus.rows import stood_of, table_keys
from core.change import BEGINNING, Position
from core.errors import ConfigError
from core.plans import Plan, tables_of
from core.stores.fingerprint import Owner, owner_from_text
from core.stores.ledger import Entry, Known, claim, key_of, key_of_document, key_of_table

_OWNER, _PROGRESS = "o", "p"
_FIELDS = ("position", "committed_ms", "chunks", "complete", "deleted_at", "said")
_DOCUMENTS = 'kind == "document"'
_EMPTY: Mapping[str, Any] = {
    "name": "", "tables": [], "position": "", "committed_ms": -1, "chunks": 0, "complete": True, "deleted_at": 0,
    "said": "", "nothing": [0.0, 0.0],
}  # fmt: skip


class Ledger:
    """A ledger, and whose the store is: of the owner that it was opened for; None: whoever's it is."""

    def __init__(self, server: Server, name: str, collection: str, owner: Owner | None) -> None:
        self._server = server
        self._name = name
        self._place = f"{SETTING}: collection {collection}"
        self._owner = owner

    def known(self, document_ids: Sequence[str]) -> Known:
        """What is known of documents and their tables now. Raises Displaced unless the store is ours, and makes it so
        where it is nobody's.
        """
        of_documents = {key_of_document(each): each for each in document_ids}
        tables = dict.fromkeys(table for each in document_ids for table in tables_of(each))
        of_tables = {key_of_table(each): each for each in tables}
        found = self._server.by_ids(self._name, [*of_documents, *of_tables, _OWNER], _FIELDS)
        self._check(found.get(_OWNER))
        return Known(
            {name: _entry(found[key]) for key, name in of_documents.items() if key in found},
            {name: Position(found[key]["position"]) for key, name in of_tables.items() if key in found},
        )

    def entries(self, document_ids: Sequence[str], once: bool = False) -> dict[str, Entry]:
        """What is known of documents now, by their ids."""
        wanted = {key_of_document(each): each for each in document_ids}
        found = self._server.by_ids(self._name, list(wanted), _FIELDS, once)
        return {wanted[key]: _entry(row) for key, row in found.items()}

    def write(self, plans: Sequence[Plan], complete: bool) -> None:
        """Have the documents stand at their plans, written whole or not yet."""
        now = time.time_ns() // 1_000_000
        rows = [
            {
                **_EMPTY,
                "id": key_of_document(plan.document_id),
                "kind": "document",
                "name": plan.document_id,
                "tables": table_keys(plan.document_id),
                "position": plan.position,
                "committed_ms": -1 if plan.committed_ms is None else plan.committed_ms,
                "chunks": len(plan.chunk_ids),
                "complete": complete,
                "deleted_at": 0 if plan.chunk_ids else now,
            }
            for plan in plans
        ]
        self._server.write(self._name, rows, _size)

    def raise_mark(self, table: str, before: Position) -> None:
        """Have a table's mark be at least there."""
        if self.mark(table) < before:
            row = {**_EMPTY, "id": key_of_table(table), "kind": "table", "name": table, "position": before}
            self._server.write(self._name, [row], _size)

    def mark(self, table: str) -> Position:
        """A table's mark; BEGINNING where it has none."""
        found = self._server.by_ids(self._name, [key_of_table(table)], ["position"])
        return Position(next((row["position"] for row in found.values()), BEGINNING))

    def clear(self, table: str, before: Position, condition: str) -> None:
        """Forget the table's documents that stand below its mark; `condition` is that they are of it, and below."""
        self.hold()
        self._server.delete(self._name, f"{_DOCUMENTS} and {condition}")

    def latest(self, table: str) -> Position:
        """The latest position of a table's documents."""
        rows = self._server.rows(self._name, f'array_contains(tables, "{key_of(table)}")', ["position"])
        return max((Position(row["position"]) for row in rows), default=BEGINNING)

    def forget(self, document_ids: Sequence[str]) -> None:
        """Drop what is known of documents."""
        self._server.delete(self._name, among("id", [key_of_document(each) for each in document_ids]))

    def forget_deleted(self, before_ms: int) -> None:
        """Drop the entries of documents deleted before a time, in milliseconds since 1970."""
        self._server.delete(self._name, f"{_DOCUMENTS} and deleted_at > 0 and deleted_at < {before_ms}")

    def living(self) -> int:
        """Of how many documents it says that they have chunks, all written."""
        return self._server.count(self._name, f"{_DOCUMENTS} and chunks > 0 and complete == true")

    def hold(self) -> None:
        """Raises Displaced where a later run has the store; makes it ours where it isn't."""
        if self._owner is not None:
            self._check(self._row(_OWNER))

    def claim(self) -> None:
        """Make it ours. Raises Displaced where a later run has it."""
        if self._owner is not None:
            claim(self._owner, self._place, self.owner, partial(self._keep, _OWNER))

    def owner(self) -> Owner | None:
        """Whose it is; None where nobody's yet."""
        found = self._row(_OWNER)
        return None if found is None else owner_from_text(found["said"])

    def keep(self, text: str) -> None:
        """Keep what a run says of itself."""
        self.hold()
        self._keep(_PROGRESS, text)

    def progress(self) -> str | None:
        """What was kept last."""
        found = self._row(_PROGRESS)
        return None if found is None else found["said"]

    def _check(self, found: Mapping[str, Any] | None) -> None:
        if self._owner is not None and (found is None or owner_from_text(found["said"]) != self._owner):
            self.claim()

    def _row(self, key: str) -> dict[str, Any] | None:
        return self._server.by_ids(self._name, [key], ["said"], once=True).get(key)

    def _keep(self, key: str, text: str) -> None:
        size = len(text.encode())
        if size > LONGEST_TEXT:
            raise ConfigError(
                [f"{self._place}: what is kept of a run has {size:,} bytes, Milvus takes {LONGEST_TEXT:,}"]
            )
        self._server.write(self._name, [{**_EMPTY, "id": key, "kind": "run", "said": text}], _size)


def _size(row: Mapping[str, Any]) -> int:
    return len(row["name"]) + len(row["said"]) + 40 * len(row["tables"])


def _entry(row: Mapping[str, Any]) -> Entry:
    return Entry(stood_of(row), row["complete"])
