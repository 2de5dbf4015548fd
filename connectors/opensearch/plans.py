"""Plans made ready for OpenSearch: looked through for what it would refuse, and put into JSON."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import orjson

from connectors.opensearch import bodies
from connectors.opensearch.filters import terms_of
from core.change import BEGINNING, Position
from core.errors import StoreRejected
from core.plans import Plan
from core.stores.batches import sized
from core.stores.contract import Vectors
from core.stores.fingerprint import TERMS
from core.stores.fitting import UNFIT, canonical, check_text, fit

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

    def stands(self, source: Mapping[str, Any], ordinal: int) -> bool:
        """Whether a chunk that was read has this place, metadata and terms."""
        there = (source["ordinal"], source["metadata"], source["filters"])
        return there == (ordinal, self.metadata, self._terms)

    @cached_property
    def _terms(self) -> Any:
        return orjson.loads(self.filters)

    @cached_property
    def digest(self) -> str:
        """A hash, another one for other metadata, and for the same with the terms of another release."""
        return digest_of(self.metadata, self.plan.numbers)


def digest_of(metadata: Mapping[str, Any], numbers: Collection[str] = ()) -> str:
    """What the ledger says of metadata."""
    return blake2b(canonical(metadata, numbers).encode() + b"\x00%d" % TERMS, digest_size=16).hexdigest()


def work(at: int, plan: Plan, vectors: Vectors, dimension: int, model: str) -> Work:
    """The `at`-th plan of a batch, made ready. Raises one of UNFIT where it can't be stored."""
    ready = fit(plan, vectors, dimension)
    _check_size(plan.document_id)
    for chunk_id in plan.chunk_ids:
        if len(chunk_id.encode()) > _LONGEST_CHUNK_ID:
            raise StoreRejected(f"a chunk's id has more than {_LONGEST_CHUNK_ID} bytes")
    searched = orjson.dumps(terms_of(ready.metadata, plan.numbers))
    return Work(at, plan, ready.metadata, ready.encoded.encode(), searched, ready.vectors, model)


def is_id(document_id: str) -> bool:
    """Whether a document of an index can have this id."""
    try:
        check_text("document's id", document_id)
        _check_size(document_id)
    except UNFIT:
        return False
    return True


def _check_size(document_id: str) -> None:
    size = len(document_id.encode())
    if size > _LONGEST_DOCUMENT_ID:
        raise StoreRejected(f"the document's id has {size} bytes, OpenSearch takes {_LONGEST_DOCUMENT_ID}")


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
