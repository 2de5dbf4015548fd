"""Plans made ready for Milvus: looked through for what it would refuse, and made rows; and what is read of rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.milvus.collections import (
    LONGEST_DOCUMENT_ID,
    LONGEST_ID,
    LONGEST_POSITION,
    LONGEST_TEXT,
    MOST_TABLES,
    MOST_TERMS,
)
from connectors.milvus.filters import ORDERED, TERMS, searchable
from core.change import Position
from core.errors import StoreRejected
from core.plans import Chunk, Plan, tables_of
from core.stores.contract import Hit, Stood, Stored, Vectors
from core.stores.fitting import UNFIT, check_text, fit
from core.stores.ledger import key_of

SHOWN = ("document_id", "ordinal", "text", "metadata", "position", "committed_ms")
"""What a search answers with, beside its id."""
WHOLE = (*SHOWN, "model", "embedding")
"""What is read of a document's chunks."""
KEPT = ("text", "embedding")
"""What is read of a chunk that a change keeps."""

_OURS = frozenset(
    ("id", "document", "tables", "words", "nothing", TERMS, ORDERED, *WHOLE)
)  # fields, which metadata of the same name doesn't hide
_LARGEST_INTEGER = 2**63


@dataclass(frozen=True, slots=True)
class Work:
    """A plan that is fit to be sent. `shared` are the fields that all of its chunks have."""

    at: int
    plan: Plan
    vectors: Vectors
    shared: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The document as expressions name it."""
        return str(self.shared["document"])

    def size(self) -> int:
        """The bytes of its chunks, about."""
        of_each = len(self.shared["metadata"]) + 2 * 32 * len(self.shared[TERMS]) + 500
        return self.vectors.nbytes + sum(len(chunk.text) + of_each for chunk in self.plan.write)

    def rows(self, kept: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """All of its chunks, the kept ones with what was read of them: each says which change it shows."""
        places = {chunk_id: ordinal for ordinal, chunk_id in enumerate(self.plan.chunk_ids)}
        for chunk, vector in zip(self.plan.write, self.vectors, strict=True):
            # not by its own ordinal: two chunks of one id are one
            yield self._row(chunk.chunk_id, places.get(chunk.chunk_id, chunk.ordinal), chunk.text, vector)
        for chunk_id in self.plan.kept:
            there = kept[chunk_id]
            vector = np.asarray(there["embedding"], np.float32)
            yield self._row(chunk_id, places[chunk_id], there["text"], vector)

    def _row(self, chunk_id: str, ordinal: int, text: str, vector: NDArray[np.float32]) -> dict[str, Any]:
        return {**self.shared, "id": chunk_id, "ordinal": ordinal, "text": text, "embedding": vector}


def row_size(row: Mapping[str, Any]) -> int:
    """The bytes of a row, about."""
    size: int = row["embedding"].nbytes
    return size + len(row["text"]) + len(row["metadata"]) + 32 * len(row[TERMS])


def work(at: int, plan: Plan, vectors: Vectors, dimension: int, model: str) -> Work:
    """The `at`-th plan of a batch, made ready. Raises one of UNFIT where it can't be stored."""
    ready = fit(plan, vectors, dimension)
    _check_size("document's id", plan.document_id, LONGEST_DOCUMENT_ID)
    _check_size("change's position", plan.position, LONGEST_POSITION)
    for chunk_id in plan.chunk_ids:
        _check_size("id of a chunk", chunk_id, LONGEST_ID)
    for chunk in plan.write:
        _check_size(f"text of chunk {chunk.ordinal}", chunk.text, LONGEST_TEXT)
    _check_size("metadata, as JSON,", ready.encoded, LONGEST_TEXT)
    terms, ordered = searchable(ready.metadata, plan.numbers)
    if len(terms) > MOST_TERMS:
        raise StoreRejected(f"the metadata has {len(terms)} values to filter by, Milvus takes {MOST_TERMS}")
    _check_size("metadata's values to filter by", json.dumps(ordered), LONGEST_TEXT)
    shared = {
        **beside(ready.metadata),
        "document": key_of(plan.document_id),
        "document_id": plan.document_id,
        "tables": table_keys(plan.document_id),
        "position": plan.position,
        "committed_ms": -1 if plan.committed_ms is None else plan.committed_ms,
        "metadata": ready.encoded,
        "model": model,
        TERMS: terms,
        ORDERED: ordered,
    }
    return Work(at, plan, ready.vectors, shared)


def beside(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What of metadata stands in fields of its own (dynamic ones) for other clients: what Milvus has as it is."""
    return {
        name: value
        for name, value in metadata.items()
        if name.isascii() and name.isidentifier() and name not in _OURS and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_plain(each) and not isinstance(each, list) for each in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return -_LARGEST_INTEGER <= value < _LARGEST_INTEGER
    return isinstance(value, str | bool | float)


def table_keys(document_id: str) -> list[str]:
    """Every table that the document may be one of, as expressions name it: all that its id has before a slash.

    Raises StoreRejected where they are too many.
    """
    tables = tables_of(document_id)
    if len(tables) > MOST_TABLES:
        raise StoreRejected(f"the document's id has {len(tables)} slashes, this store takes {MOST_TABLES}")
    return [key_of(each) for each in tables]


def is_id(document_id: str) -> bool:
    """Whether a document here can have this id."""
    try:
        check_text("document's id", document_id)
        _check_size("document's id", document_id, LONGEST_DOCUMENT_ID)
    except UNFIT:
        return False
    return True


def _check_size(what: str, text: str, most: int) -> None:
    size = len(text.encode())
    if size > most:
        raise StoreRejected(f"the {what} has {size:,} bytes, Milvus takes {most:,}")


def stood_of(row: Mapping[str, Any]) -> Stood:
    """The change that a row shows."""
    committed = row["committed_ms"]
    return Stood(Position(row["position"]), None if committed < 0 else committed)


def hit_of(row: Mapping[str, Any], score: float, cosine: float | None) -> Hit:
    """A chunk that was found."""
    metadata = json.loads(row["metadata"])
    at = (row["document_id"], row["id"], row["ordinal"], row["text"], metadata)
    return Hit(score, *at, cosine, stood_of(row))


def stored_of(document_id: str, rows: Sequence[Mapping[str, Any]], stood: Stood, model: str, size: int) -> Stored:
    """A document from its rows; `stood` by the ledger, `size` its vectors' dimension."""
    in_order = sorted(rows, key=lambda row: (row["ordinal"], row["id"]))
    own = [row for row in in_order if row["model"] == model]
    return Stored(
        document_id,
        stood.position,
        tuple(Chunk(row["id"], row["ordinal"], row["text"]) for row in own),
        json.loads((own or in_order)[0]["metadata"]),
        np.array([row["embedding"] for row in own], np.float32).reshape(-1, size),
        Counter(row["model"] for row in in_order if row["model"] != model),
        stood.committed_ms,
    )


def in_order(hits: Sequence[Hit], k: int) -> list[Hit]:
    """The `k` best; equal ones by document, ordinal and chunk id."""
    # distances of equal vectors differ in their last digits
    return sorted(hits, key=lambda hit: (-round(hit.score, 6), hit.document_id, hit.ordinal, hit.chunk_id))[:k]
