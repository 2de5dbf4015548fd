"""Plans made ready for Pinecone: looked through for what it would refuse, made records; and what is read of those."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np

from connectors.pinecone.filters import searchable
from connectors.pinecone.namespace import Condition, Record, both, chunk_of, record, record_id, shortest, slot_of
from core.change import Position
from core.errors import StoreRejected
from core.plans import Chunk, Plan, tables_of
from core.stores.contract import Hit, Stood, Stored, Vectors
from core.stores.filters.evaluation import passes
from core.stores.filters.language import EVERYTHING, Filter
from core.stores.fitting import UNFIT, check_text, fit
from core.stores.ledger import key_of

LONGEST_METADATA = 40 * 1024
"""Bytes of a record's metadata, as JSON ("Limits" in Pinecone's documentation: 40 KB)."""
LONGEST_ID = 512
"""Bytes of a record's id."""
LONGEST_POSITION = 192

_ENTRY = LONGEST_METADATA - 400
"""What the ledger's entry of a document has room for beside its own fields."""

_LIMB = 6
_OURS = frozenset(
    ("document", "document_id", "tables", "position", "committed_ms", "slot", "chunk", "ordinal", "text", "metadata",
     "model", "terms")
)  # fmt: skip
_LARGEST_INTEGER = 2**53


@dataclass(frozen=True, slots=True)
class Work:
    """A plan that is fit to be sent. `shared` are the fields that all of its chunks have."""

    at: int
    plan: Plan
    vectors: Vectors
    shared: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The document as conditions name it."""
        return str(self.shared["document"])

    def size(self) -> int:
        """The bytes of its chunks, about."""
        of_each = len(self.shared["metadata"]) + 20 * len(self.shared["terms"]) + 500
        return 3 * self.vectors.nbytes + sum(len(chunk.text) + of_each for chunk in self.plan.write)

    def records(self, kept: Mapping[str, Record]) -> Iterator[bytes]:
        """All of its chunks, the kept ones with what was read of them: each says which change it shows.

        Raises StoreRejected where one is too large, KeyError where one that is kept is gone.
        """
        places = {chunk_id: ordinal for ordinal, chunk_id in enumerate(self.plan.chunk_ids)}
        sent: set[str] = set()
        for chunk, vector in zip(self.plan.write, self.vectors, strict=True):
            # two chunks of one id are one, and a request names each once
            if chunk.chunk_id not in sent:
                sent.add(chunk.chunk_id)
                place = places.get(chunk.chunk_id, chunk.ordinal)
                yield self._record(chunk.chunk_id, place, chunk.text, shortest(vector))
        for chunk_id in self.plan.kept:
            there = kept[chunk_id]
            values = shortest(np.asarray(there.values, np.float32))
            yield self._record(chunk_id, places[chunk_id], there.metadata["text"], values)

    def _record(self, chunk_id: str, ordinal: int, text: str, values: Sequence[float]) -> bytes:
        metadata = {**self.shared, "chunk": chunk_id, "ordinal": ordinal, "text": text}
        size = len(msgspec.json.encode(metadata))
        if size > LONGEST_METADATA:
            raise StoreRejected(
                f"chunk {ordinal} has {size:,} bytes of text and metadata, Pinecone takes {LONGEST_METADATA:,}: make "
                "chunks smaller, or keep less metadata"
            )
        return record(record_id(self.key, chunk_id), values, metadata)


def work(at: int, plan: Plan, vectors: Vectors, dimension: int, model: str) -> Work:
    """The `at`-th plan of a batch, made ready. Raises one of UNFIT where it can't be stored."""
    ready = fit(plan, vectors, dimension)
    key = key_of(plan.document_id)
    _check_size("document's id", plan.document_id, LONGEST_METADATA)
    _check_size("change's position", plan.position, LONGEST_POSITION)
    for chunk_id in plan.chunk_ids:
        _check_size("id of a chunk, with its document's key,", record_id(key, chunk_id), LONGEST_ID)
        if not chunk_id.isascii():
            raise StoreRejected("the id of a chunk has letters that are no ASCII, which Pinecone doesn't take")
    stands = shown(plan)
    _check_size("document's id, with its tables,", msgspec.json.encode([plan.document_id, stands]).decode(), _ENTRY)
    shared = {
        **beside(ready.metadata),
        **stands,
        "document": key,
        "document_id": plan.document_id,
        "metadata": ready.encoded,
        "model": model,
        **searchable(ready.metadata, plan.numbers),
    }
    return Work(at, plan, ready.vectors, shared)


def shown(plan: Plan) -> dict[str, Any]:
    """Which change is shown, and what finds it: fields of a chunk and of the ledger's entry."""
    return {
        "tables": table_keys(plan.document_id),
        "position": plan.position,
        **limbs(plan.position),
        "committed_ms": -1 if plan.committed_ms is None else plan.committed_ms,
        "slot": slot_of(key_of(plan.document_id)),
    }


def limbs(position: Position) -> dict[str, int]:
    """A position as numbers, six bytes each, which Pinecone compares."""
    raw = position.encode()
    parts = (raw[start : start + _LIMB].ljust(_LIMB, b"\0") for start in range(0, len(raw), _LIMB))
    return {f"p{at}": int.from_bytes(part) for at, part in enumerate(parts)}


def below(position: Position) -> Condition:
    """The condition that a record's position is below another: at the first number that differs it has less."""
    parts: list[Condition] = []
    same: list[Condition] = []
    for name, value in limbs(position).items():
        less = {"$or": [{name: {"$lt": value}}, {name: {"$exists": False}}]}
        parts.append({"$and": [*same, less]} if same else less)
        same = [*same, {name: {"$eq": value}}]
    return {"$or": parts} if parts else {"slot": {"$lt": 0}}


def of_table(table: str, position: Position | None = None) -> Condition:
    """The condition that a record is of a table's documents, and below a position where one is given."""
    here = {"tables": {"$in": [key_of(table)]}}
    return here if position is None else both(here, below(position))


def table_keys(document_id: str) -> list[str]:
    """Every table that the document may be one of, as conditions name it; and a mark, so that the list isn't empty."""
    return ["-", *(key_of(each) for each in tables_of(document_id))]


def beside(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What of metadata stands in fields of its own for other clients: what Pinecone has as it is."""
    return {
        name: value
        for name, value in metadata.items()
        if name and not name.startswith(("$", "_")) and name not in _OURS and not _is_limb(name) and _is_plain(value)
    }


def _is_limb(name: str) -> bool:
    return name[0] == "p" and name[1:].isdecimal()


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(each, str) for each in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return -_LARGEST_INTEGER <= value <= _LARGEST_INTEGER
    return isinstance(value, str | bool | float)


def is_id(document_id: str) -> bool:
    """Whether a document here can have this id."""
    try:
        check_text("document's id", document_id)
        _check_size("document's id", document_id, LONGEST_METADATA)
    except UNFIT:
        return False
    return True


def _check_size(what: str, text: str, most: int) -> None:
    size = len(text.encode())
    if size > most:
        raise StoreRejected(f"the {what} has {size:,} bytes, Pinecone takes {most:,}")


def stood_of(metadata: Mapping[str, Any]) -> Stood:
    """The change that a record shows. Numbers come back as doubles."""
    committed = int(metadata["committed_ms"])
    return Stood(Position(metadata["position"]), None if committed < 0 else committed)


def is_let_through(found: Record, where: Filter) -> bool:
    """Whether a chunk's metadata passes a filter, with all digits of its numbers."""
    if where == EVERYTHING:
        return True
    return passes(where, json.loads(found.metadata["metadata"], parse_float=Decimal))


def hit_of(found: Record, score: float) -> Hit:
    """A chunk that was found, by its record's metadata."""
    of = found.metadata
    at = (of["document_id"], of["chunk"], int(of["ordinal"]), of["text"], json.loads(of["metadata"]))
    return Hit(score, *at, score, stood_of(of))


def stored_of(document_id: str, found: Sequence[Record], stood: Stood, model: str, size: int) -> Stored:
    """A document from its records; `stood` by the ledger, `size` its vectors' dimension."""
    in_order = sorted(found, key=lambda each: (each.metadata["ordinal"], each.id))
    own = [each for each in in_order if each.metadata["model"] == model]
    return Stored(
        document_id,
        stood.position,
        tuple(Chunk(chunk_of(each.id), int(each.metadata["ordinal"]), each.metadata["text"]) for each in own),
        json.loads((own or in_order)[0].metadata["metadata"]),
        np.array([each.values for each in own], np.float32).reshape(-1, size),
        Counter(str(each.metadata["model"]) for each in in_order if each.metadata["model"] != model),
        stood.committed_ms,
    )


def in_order(hits: Sequence[Hit], k: int) -> list[Hit]:
    """The `k` best; equal ones by document, ordinal and chunk id."""
    # scores of equal vectors may differ in their last digits
    return sorted(hits, key=lambda hit: (-round(hit.score, 6), hit.document_id, hit.ordinal, hit.chunk_id))[:k]
