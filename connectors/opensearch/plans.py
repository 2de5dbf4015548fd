"""Plans made ready for OpenSearch: looked through for what it would refuse, and put into JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import blake2b
from typing import Any

import numpy as np
import orjson

from connectors.opensearch import bodies
from connectors.opensearch.filters import filters
from core.change import BEGINNING, Position
from core.errors import StoreRejected
from core.plans import Outcome, Plan, Status
from core.stores.batches import sized
from core.stores.contract import Vectors
from core.stores.exact_numbers import with_numbers

FAULTS = (StoreRejected, TypeError, ValueError, RecursionError)
"""What `work` raises for a plan that no index can hold."""

_LONGEST_DOCUMENT_ID = 32_766  # bytes, of a term
_LONGEST_CHUNK_ID = 512  # bytes, of an _id
_BYTES_A_BATCH = 32 * 2**20
_BYTES_A_FLOAT = 12
_BYTES_A_CHUNK = 500  # beside text, metadata and vector: ids, and the names of the fields


@dataclass(frozen=True)
class Work:
    """A plan that is fit to be sent.

    encoded  the JSON of its metadata; `filters` that of what searches can ask of it
    vectors  (n, dimension), of its written chunks
    """

    at: int
    plan: Plan
    metadata: Mapping[str, Any]
    encoded: bytes
    filters: bytes
    vectors: Vectors
    model: str

    def sources(self) -> Iterator[bytes]:
        """The JSON of its written chunks, one by one: each has the metadata whole."""
        for chunk, vector in zip(self.plan.write, self.vectors, strict=True):
            yield bodies.chunk(self.plan.document_id, chunk, self.encoded, self.filters, vector, self.model)

    def size(self) -> int:
        """The bytes of its chunks' JSON, about."""
        of_each = len(self.encoded) + len(self.filters) + _BYTES_A_CHUNK
        return self.vectors.size * _BYTES_A_FLOAT + sum(len(chunk.text) + of_each for chunk in self.plan.write)

    @cached_property
    def kept(self) -> tuple[str, ...]:
        """The chunks that must be there already."""
        written = {chunk.chunk_id for chunk in self.plan.write}
        return tuple(chunk_id for chunk_id in self.plan.chunk_ids if chunk_id not in written)

    @cached_property
    def digest(self) -> str:
        """What tells this metadata from another."""
        return blake2b(self.encoded, digest_size=16).hexdigest()


def work(at: int, plan: Plan, vectors: Vectors, dimension: int, model: str) -> Work:
    """The `at`-th plan of a batch, made ready. NUL characters in metadata become U+FFFD, as in every store.

    Raises one of FAULTS where it can't be stored.
    """
    check_id(plan.document_id)
    for chunk_id in plan.chunk_ids:
        if len(chunk_id.encode()) > _LONGEST_CHUNK_ID:
            raise StoreRejected(f"a chunk's id has more than {_LONGEST_CHUNK_ID} bytes")
    rows = _fitting(plan, vectors, dimension)
    metadata = _without_nul(plan.metadata)
    write = partial(json.dumps, ensure_ascii=False, allow_nan=False)
    encoded = (with_numbers(metadata, plan.numbers, write) if plan.numbers else write(metadata)).encode()
    for chunk in plan.write:
        chunk.text.encode()  # what can't be sent is refused before anything is
    return Work(at, plan, metadata, encoded, orjson.dumps(filters(metadata, plan.numbers)), rows, model)


def check_id(document_id: str) -> None:
    """Raises one of FAULTS where no document can have this id."""
    size = len(document_id.encode())
    if size > _LONGEST_DOCUMENT_ID:
        raise StoreRejected(f"the document's id has {size} bytes, OpenSearch takes {_LONGEST_DOCUMENT_ID}")
    if "\x00" in document_id:
        raise StoreRejected("the document's id has a NUL character")


def _fitting(plan: Plan, vectors: Vectors, dimension: int) -> Vectors:
    expected = (len(plan.write), dimension)
    if vectors.shape != expected and (expected[0] or vectors.size):
        raise StoreRejected(f"vectors of shape {vectors.shape} for {expected[0]} chunks of {dimension} dimensions")
    if not np.isfinite(vectors).all():
        raise StoreRejected("a vector holds NaN or infinity: look at what the model made of this text")
    if not vectors.reshape(expected).any(axis=1).all():
        raise StoreRejected("a vector holds zeros only, which have no direction: look at what the model made of this")
    return np.ascontiguousarray(vectors.reshape(expected), np.float32)


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, Mapping):
        return {_without_nul(key): _without_nul(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nul(inner) for inner in value]
    return value


def batches(ready: Sequence[Work]) -> Iterator[list[Work]]:
    """The plans in order, in parts of at most 32 MiB, or one plan."""
    return sized(ready, Work.size, _BYTES_A_BATCH)


def parts(operations: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Operations, each of a work, in parts of at most 32 MiB, or one."""
    return sized(operations, lambda each: len(each[1]), _BYTES_A_BATCH)


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger says of a document. An unknown one stands at the beginning, with generation -1."""

    position: Position
    generation: int
    complete: bool
    chunk_ids: frozenset[str]
    leftover: tuple[str, ...]
    moved: tuple[str, ...]


def entry_of(found: Mapping[str, Any]) -> Entry:
    """What was got of the ledger."""
    source = found.get("_source", {})
    return Entry(
        Position(source.get("position", BEGINNING)),
        source.get("generation", -1),
        source.get("complete", False),
        frozenset(source.get("chunk_ids", ())),
        tuple(source.get("leftover", ())),
        tuple(source.get("moved", ())),
    )


def lacking(each: Work, missing: int) -> Outcome:
    """The answer to a plan that keeps chunks which the store doesn't have."""
    why = f"the store lacks {missing} of the {len(each.kept)} chunks this change keeps: replay the document"
    return rejected(each.plan, StoreRejected(why))


def rejected(plan: Plan, error: Exception) -> Outcome:
    """The answer to a plan that can't be stored."""
    return Outcome(plan.document_id, Status.REJECTED, type(error).__name__, " ".join(str(error).split())[:300])
