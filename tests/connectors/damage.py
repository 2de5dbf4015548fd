"""What hands, crashes and other programs do to a store, past the store itself."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from connectors.milvus.client import TIMES
from connectors.milvus.filters import ORDERED, TERMS, searchable
from connectors.milvus.rows import table_keys
from connectors.milvus.store import MilvusStore
from connectors.opensearch.bodies import entry_id
from connectors.opensearch.filters import terms_of
from connectors.opensearch.store import OpenSearchStore
from connectors.pgvector.store import PgvectorStore
from connectors.pinecone.namespace import Record, record, record_id, slot_of
from connectors.pinecone.rows import limbs
from connectors.pinecone.rows import searchable as filtered
from connectors.pinecone.store import PineconeStore
from connectors.staged.store import StagedStore
from core.change import BEGINNING, Position
from core.plans import Chunk
from core.stores.contract import Stood, VectorStore
from core.stores.ledger import key_of
from core.stores.staged import Staged, records

ELSEWHERE = [0.0, 0.0, 1.0, 0.0]


class NotPossible(Exception):
    """A kind of damage that this store can't have, and why: the test of it is left out by that name."""


class Hand(Protocol):
    """Changes what stands of one document. `at` is the ordinal of a chunk."""

    def change(self, document: str, at: int, **fields: Any) -> None:
        """Give a chunk other fields: text, embedding, ordinal, metadata, model."""

    def remove(self, document: str, at: int | None) -> None:
        """Delete a chunk, or all."""

    def add(self, document: str, chunk: str, ordinal: int, text: str, model: str) -> None:
        """Write a chunk that no event is behind."""

    def enter(self, document: str, position: str | None) -> None:
        """Give the ledger's row this position; None: delete it."""

    def disown(self) -> None:
        """Take away whose the store is."""

    def empty(self) -> None:
        """Take every chunk away, and leave the ledger."""


def hand(store: VectorStore) -> Hand:
    """For each kind of store."""
    if isinstance(store, PgvectorStore):
        return _Postgres(store)
    if isinstance(store, MilvusStore):
        return _Milvus(store)
    if isinstance(store, StagedStore):
        return _Staged(store)
    if isinstance(store, PineconeStore):
        return _Pinecone(store)
    assert isinstance(store, OpenSearchStore)
    return _OpenSearch(store)


class _Postgres:
    def __init__(self, store: PgvectorStore) -> None:
        self._store = store

    def _sql(self, query: str, *parameters: Any) -> None:
        self._store._session.connection().execute(query.encode(), parameters)

    def change(self, document: str, at: int, **fields: Any) -> None:
        kinds = {"metadata": "::jsonb", "embedding": "::vector"}
        values = {name: str(value).replace("'", '"') if name in kinds else value for name, value in fields.items()}
        sets = ", ".join(f"{name} = %s{kinds.get(name, '')}" for name in values)
        query = f"UPDATE chunks SET {sets} WHERE document_id = %s AND ordinal = %s"  # noqa: S608  # names of ours
        self._sql(query, *values.values(), document, at)

    def remove(self, document: str, at: int | None) -> None:
        self._sql("DELETE FROM chunks WHERE document_id = %s AND ordinal = coalesce(%s, ordinal)", document, at)

    def add(self, document: str, chunk: str, ordinal: int, text: str, model: str) -> None:
        values = (chunk, document, ordinal, text, str(ELSEWHERE), model)
        self._sql("INSERT INTO chunks VALUES (%s, %s, %s, %s, '{}', %s::vector, %s)", *values)

    def enter(self, document: str, position: str | None) -> None:
        if position is None:
            self._sql("DELETE FROM chunks_ledger WHERE document_id = %s", document)
        else:
            query = "INSERT INTO chunks_ledger (document_id, position) VALUES (%s, %s) "
            self._sql(query + "ON CONFLICT (document_id) DO UPDATE SET position = %s", document, position, position)

    def disown(self) -> None:
        self._sql("DELETE FROM chunks_ledger WHERE document_id = '/owner'")

    def empty(self) -> None:
        self._sql("TRUNCATE chunks")


class _Milvus:
    def __init__(self, store: MilvusStore) -> None:
        self._server = store._server
        self._chunks = store._collection
        self._ledger = f"{store._collection}_ledger"

    def _rows(self, document: str, at: int | None) -> list[dict[str, Any]]:
        condition = f'document == "{key_of(document)}"' + ("" if at is None else f" and ordinal == {at}")
        fields = ["document", "document_id", "tables", "position", "committed_ms", "ordinal", "text", "metadata",
                  "model", TERMS, ORDERED, "embedding"]  # fmt: skip
        return list(self._server.rows(self._chunks, condition, fields))

    def _write(self, collection: str, row: dict[str, Any]) -> None:
        self._server.patiently(lambda client: client.upsert(collection, [row], **TIMES))

    def _delete(self, collection: str, condition: str) -> None:
        self._server.patiently(lambda client: client.delete(collection, filter=condition, **TIMES))

    def change(self, document: str, at: int, **fields: Any) -> None:
        if "metadata" in fields:
            terms, ordered = searchable(fields["metadata"])
            fields |= {"metadata": json.dumps(fields["metadata"]), TERMS: terms, ORDERED: ordered}
        for row in self._rows(document, at):
            self._write(self._chunks, {**row, **fields})

    def remove(self, document: str, at: int | None) -> None:
        for row in self._rows(document, at):
            self._delete(self._chunks, f'id == "{row["id"]}"')

    def add(self, document: str, chunk: str, ordinal: int, text: str, model: str) -> None:
        row = {
            "id": chunk, "document": key_of(document), "document_id": document, "tables": table_keys(document),
            "position": "", "committed_ms": -1, "ordinal": ordinal, "text": text, "metadata": "{}", "model": model,
            TERMS: [], ORDERED: {}, "embedding": ELSEWHERE,
        }  # fmt: skip
        self._write(self._chunks, row)

    def enter(self, document: str, position: str | None) -> None:
        key = f"d{key_of(document)}"
        if position is None:
            self._delete(self._ledger, f'id == "{key}"')
            return
        fields = ["kind", "name", "tables", "position", "committed_ms", "chunks", "complete", "deleted_at", "said"]
        found = self._server.by_ids(self._ledger, [key], [*fields, "nothing"]).get(key, {})
        fresh = {
            "id": key, "kind": "document", "name": document, "tables": table_keys(document), "committed_ms": -1,
            "chunks": 1, "complete": True, "deleted_at": 0, "said": "", "nothing": [0.0, 0.0],
        }  # fmt: skip
        self._write(self._ledger, {**fresh, **found, "position": position})

    def disown(self) -> None:
        self._delete(self._ledger, 'id == "o"')

    def empty(self) -> None:
        self._delete(self._chunks, 'id != ""')


class _Pinecone:
    def __init__(self, store: PineconeStore) -> None:
        self._chunks = store._chunks
        self._ledger = store._ledger._namespace

    def _records(self, document: str, at: int | None) -> list[Record]:
        condition: dict[str, Any] = {"document": key_of(document)} | ({} if at is None else {"ordinal": at})
        return self._chunks.query(condition, 100, metadata=True, values=True)

    def change(self, document: str, at: int, **fields: Any) -> None:
        for each in self._records(document, at):
            values = list(fields.pop("embedding", each.values))
            if "metadata" in fields:
                fields |= {**filtered(fields["metadata"]), "metadata": json.dumps(fields["metadata"])}
            self._chunks.write([record(each.id, values, {**each.metadata, **fields})])
        self._chunks.settle()

    def remove(self, document: str, at: int | None) -> None:
        self._chunks.delete([each.id for each in self._records(document, at)])
        self._chunks.settle()

    def add(self, document: str, chunk: str, ordinal: int, text: str, model: str) -> None:
        key = key_of(document)
        metadata = {
            "document": key, "document_id": document, "tables": table_keys(document), "position": "",
            "committed_ms": -1, "slot": slot_of(key), "chunk": chunk, "ordinal": ordinal, "text": text,
            "metadata": "{}", "model": model, **filtered({}),
        }  # fmt: skip
        self._chunks.write([record(record_id(key, chunk), ELSEWHERE, metadata)])
        self._chunks.settle()

    def enter(self, document: str, position: str | None) -> None:
        key = key_of(document)
        if position is None:
            self._ledger.delete([f"d{key}"])
        else:
            found = list(self._ledger.having("entry", [f"d{key}"]))
            fresh = {
                "entry": f"d{key}", "kind": "document", "name": document, "tables": table_keys(document),
                "committed_ms": -1, "chunks": 1, "complete": True, "deleted_at": 0, "slot": slot_of(key),
            }  # fmt: skip
            there = dict(found[0].metadata) if found else {}
            metadata = {**fresh, **there, "position": position, **limbs(Position(position))}
            self._ledger.write([record(f"d{key}", ELSEWHERE, metadata)])
        self._ledger.settle()

    def disown(self) -> None:
        self._ledger.delete(["o"])
        self._ledger.settle()

    def empty(self) -> None:
        for some in self._chunks.ids({}):
            self._chunks.delete([each.id for each in some])
        self._chunks.settle()


class _Staged:
    """A record says where its document stands: there is no ledger apart that could say otherwise."""

    def __init__(self, store: StagedStore) -> None:
        self._by = store._by
        self._contents = store._contents

    def _append(self, staged: Staged, model: str | None = None) -> None:
        made = records(staged, replace(self._by, model=model or staged.model), 900_000)
        self._contents.append_records(staged.document_id, made)
        self._contents.log.flush()
        self._contents.catch_up()

    def _there(self, document: str) -> Staged:
        self._contents.catch_up()
        return self._contents.documents({document: self._contents.index.known[document]})[document]

    def change(self, document: str, at: int, **fields: Any) -> None:
        staged = self._there(document)
        chunks, vectors = list(staged.chunks), staged.vectors.copy()
        number = next((n for n, each in enumerate(chunks) if each.ordinal == at), None)
        assert number is not None
        vectors[number] = fields.pop("embedding", vectors[number])
        metadata = json.dumps(fields.pop("metadata")) if "metadata" in fields else staged.metadata
        model = fields.pop("model", None)
        chunks[number] = replace(chunks[number], **fields)
        self._append(replace(staged, chunks=tuple(chunks), vectors=vectors, metadata=metadata), model)

    def remove(self, document: str, at: int | None) -> None:
        staged = self._there(document)
        keep = [n for n, each in enumerate(staged.chunks) if at is not None and each.ordinal != at]
        if keep:
            kept = tuple(staged.chunks[n] for n in keep)
            self._append(replace(staged, chunks=kept, vectors=staged.vectors[keep]))
        else:
            self._contents.delete(document, Stood(staged.position, staged.committed_ms))
            self._contents.log.flush()
            self._contents.catch_up()

    def add(self, document: str, chunk: str, ordinal: int, text: str, model: str) -> None:
        self._contents.catch_up()
        one, row = (Chunk(chunk, ordinal, text),), np.array([ELSEWHERE], np.float32)
        if document not in self._contents.living():
            self._append(Staged(document, BEGINNING, None, model, one, row, "{}"))
            return
        staged = self._there(document)
        if staged.model != model:
            raise NotPossible("a record is of one model")
        self._append(replace(staged, chunks=staged.chunks + one, vectors=np.concatenate([staged.vectors, row])))

    def enter(self, document: str, position: str | None) -> None:
        if position is None:
            raise NotPossible("a record says where its document stands")
        self._append(replace(self._there(document), position=Position(position)))

    def disown(self) -> None:
        self._contents.log.note(b"owner", None)
        self._contents.log.flush()

    def empty(self) -> None:
        raise NotPossible("a log without records has no ledger that says of documents")


class _OpenSearch:
    def __init__(self, store: OpenSearchStore) -> None:
        self._client = store._cluster.client
        self._index = store._index

    def _hits(self, document: str, ordinal: int | None) -> list[dict[str, Any]]:
        self._client.indices.refresh(index=self._index)
        terms: list[dict[str, Any]] = [{"term": {"document_id": document}}]
        terms += [] if ordinal is None else [{"term": {"ordinal": ordinal}}]
        hits: list[dict[str, Any]] = self._client.search(
            index=self._index, body={"query": {"bool": {"filter": terms}}}
        )["hits"]["hits"]
        return hits

    def change(self, document: str, at: int, **fields: Any) -> None:
        changed = {**fields, **({"filters": terms_of(fields["metadata"])} if "metadata" in fields else {})}
        for hit in self._hits(document, at):
            self._client.index(
                index=self._index, id=hit["_id"], routing=document, body={**hit["_source"], **changed}, refresh=True
            )

    def remove(self, document: str, at: int | None) -> None:
        for hit in self._hits(document, at):
            self._client.delete(index=self._index, id=hit["_id"], routing=document, refresh=True)

    def add(self, document: str, chunk: str, ordinal: int, text: str, model: str) -> None:
        body = {
            "chunk_id": chunk, "document_id": document, "ordinal": ordinal, "text": text, "metadata": {},
            "filters": [], "embedding": ELSEWHERE, "model": model,
        }  # fmt: skip
        # without a routing of its own, as a program that knows of none would write it
        self._client.index(index=self._index, id=chunk, body=body, refresh=True)

    def enter(self, document: str, position: str | None) -> None:
        ledger, of = f"{self._index}-ledger", entry_id(document)
        if position is None:
            self._client.delete(index=ledger, id=of, refresh=True)
            return
        there = self._client.exists(index=ledger, id=of)
        found = self._client.get(index=ledger, id=of)["_source"] if there else {}
        fresh = {"document_id": document, "generation": 1, "chunk_ids": [], "leftover": [], "complete": True}
        self._client.index(index=ledger, id=of, body={**fresh, **found, "position": position}, refresh=True)

    def disown(self) -> None:
        self._client.delete(index=f"{self._index}-ledger", id="o:", refresh=True)

    def empty(self) -> None:
        # by id: the tests' server has no module that deletes by a query
        self._client.indices.refresh(index=self._index)
        every = {"query": {"match_all": {}}, "size": 1_000}
        for hit in self._client.search(index=self._index, body=every)["hits"]["hits"]:
            self._client.delete(index=self._index, id=hit["_id"], routing=hit.get("_routing"), refresh=True)
