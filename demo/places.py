"""Where a demo's pipeline keeps its vectors: how its file names the store, and how claims look into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg import sql

from core.stores.contract import VectorStore
from demo.feed import DemoStore


@dataclass(frozen=True, slots=True)
class Row:
    """A chunk as the store has it. `version` is another one whenever the row is written."""

    text: str
    version: str


class Place(Protocol):
    """What claims see of the store beside its searches."""

    def chunks(self, document: str) -> dict[str, Row]:
        """A document's chunks, by chunk id, in order."""

    def stored(self) -> dict[str, list[str]]:
        """The texts of all documents' chunks, in order."""

    def counts(self) -> tuple[int, int]:
        """How many documents and chunks there are."""


class Table:
    """A table of PostgreSQL's, looked into by SQL; a row's version is its xmin."""

    def __init__(self, connection: psycopg.Connection[Any], table: sql.Identifier) -> None:
        """`connection` is in autocommit."""
        self._connection = connection
        self._table = table

    def chunks(self, document: str) -> dict[str, Row]:
        """See `Place.chunks`."""
        query = "SELECT chunk_id, text, xmin::text FROM {} WHERE document_id = %s ORDER BY ordinal"
        rows = self._connection.execute(sql.SQL(query).format(self._table), (document,)).fetchall()
        return {identity: Row(text, version) for identity, text, version in rows}

    def stored(self) -> dict[str, list[str]]:
        """See `Place.stored`."""
        found: dict[str, list[str]] = {}
        query = sql.SQL("SELECT document_id, text FROM {} ORDER BY document_id, ordinal").format(self._table)
        for document, text in self._connection.execute(query):
            found.setdefault(document, []).append(text)
        return found

    def counts(self) -> tuple[int, int]:
        """See `Place.counts`."""
        query = sql.SQL("SELECT count(DISTINCT document_id), count(*) FROM {}").format(self._table)
        return self._connection.execute(query).fetchone() or (0, 0)


class Documents:
    """A store of any kind, read as `freshet verify` reads it; a row's version is its document's position."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store

    def chunks(self, document: str) -> dict[str, Row]:
        """See `Place.chunks`."""
        found = self._store.read([document])
        return {chunk.chunk_id: Row(chunk.text, each.position) for each in found.values() for chunk in each.chunks}

    def stored(self) -> dict[str, list[str]]:
        """See `Place.stored`."""
        found = self._store.read(list(self._store.document_ids()))
        return {document: [chunk.text for chunk in each.chunks] for document, each in found.items()}

    def counts(self) -> tuple[int, int]:
        """See `Place.counts`."""
        return len(list(self._store.document_ids())), sum(self._store.models().values())


@contextmanager
def looking_into(kind: DemoStore, store: VectorStore, dsn: str, table: sql.Identifier) -> Iterator[Place]:
    """The place that a store of this kind is."""
    if kind is DemoStore.MILVUS:
        yield Documents(store)
        return
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield Table(connection, table)


def settings_of(kind: DemoStore, folder: Path, dsn: str, schema: str) -> str:
    """What stands below `store:` in a demo's pipeline file."""
    if kind is DemoStore.MILVUS:
        return f'milvus: {{uri: "{folder / "vectors.db"}", collection: {schema}_chunks}}'
    return f'pgvector: {{dsn: "{dsn}", table: {schema}.chunks}}'


def emptied(kind: DemoStore, folder: Path, schema: str) -> None:
    """Take away what an earlier demo of this name left, where that isn't in PostgreSQL's schema."""
    if kind is not DemoStore.MILVUS or not (folder / "vectors.db").exists():
        return
    from pymilvus import MilvusClient  # needs the extra `milvus`

    from connectors.milvus.lite import address_of

    client = MilvusClient(address_of(str(folder / "vectors.db")))
    for name in (f"{schema}_chunks", f"{schema}_chunks_ledger"):
        if client.has_collection(name):
            client.drop_collection(name)
    client.close()
