"""What the pgvector store sends and reads, as rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from pgvector import Vector

from connectors.pg_session import reason
from core.change import Position
from core.errors import StoreRejected
from core.exact_numbers import with_numbers
from core.plans import Chunk, Outcome, Plan, Status
from core.stores import Stored, Vectors

_BYTES_A_TRANSACTION = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Work:
    """A plan that is fit to be sent. `metadata` is JSON text."""

    at: int
    plan: Plan
    vectors: Vectors
    metadata: str

    def size(self) -> int:
        """Its bytes, about."""
        return self.vectors.nbytes + sum(len(chunk.text) + len(self.metadata) for chunk in self.plan.write)


def fitting(plan: Plan, vectors: Vectors, dimension: int) -> Vectors:
    """The vectors, if they are fit for the plan. Raises StoreRejected where they aren't."""
    expected = (len(plan.write), dimension)
    if vectors.shape != expected and (expected[0] or vectors.size):
        raise StoreRejected(f"vectors of shape {vectors.shape} for {expected[0]} chunks of {dimension} dimensions")
    if not np.isfinite(vectors).all():
        raise StoreRejected("a vector holds NaN or infinity: look at what the model made of this text")
    return vectors


def stored_of(rows: Sequence[tuple[Any, ...]], model: str, dimension: int) -> Stored:
    """A document from its chunks' rows: id, position, chunk id, ordinal, text, metadata, vector, model."""
    own = [row for row in rows if row[7] == model]
    vectors = [row[6].to_numpy() if isinstance(row[6], Vector) else row[6] for row in own]
    return Stored(
        rows[0][0],
        Position(rows[0][1]),
        tuple(Chunk(chunk_id, ordinal, text) for _, _, chunk_id, ordinal, text, *_ in own),
        (own or rows)[0][5],
        np.array(vectors, np.float32).reshape(-1, dimension),
        Counter(row[7] for row in rows if row[7] != model),
    )


def as_json(metadata: Mapping[str, Any], numbers: Collection[str] = ()) -> str:
    """Metadata as JSON that jsonb takes: NUL becomes U+FFFD. `numbers` as a plan has them."""
    encoded = json.dumps(metadata, ensure_ascii=False)
    clean = _without_nul(metadata) if "\\u0000" in encoded else metadata
    if numbers:
        return with_numbers(clean, numbers, partial(json.dumps, ensure_ascii=False))
    return encoded if clean is metadata else json.dumps(clean, ensure_ascii=False)


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, Mapping):
        return {_without_nul(key): _without_nul(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nul(inner) for inner in value]
    return value


def transactions(ready: Sequence[Work]) -> Iterator[list[Work]]:
    """The work in transactions of at most 64 MiB, or one plan."""
    batch: list[Work] = []
    size = 0
    for work in ready:
        if batch and size + work.size() > _BYTES_A_TRANSACTION:
            yield batch
            batch, size = [], 0
        batch.append(work)
        size += work.size()
    if batch:
        yield batch


def rows_to_move(batch: Sequence[Work]) -> list[tuple[Any, ...]]:
    """The kept chunks: whether their ordinal or metadata moved, the database sees."""
    return [
        (chunk_id, work.plan.document_id, work.plan.position, ordinal, work.metadata)
        for work in batch
        for written in (frozenset(chunk.chunk_id for chunk in work.plan.write),)
        for ordinal, chunk_id in enumerate(work.plan.chunk_ids)
        if chunk_id not in written
    ]


def rows_to_write(batch: Sequence[Work]) -> list[tuple[Any, ...]]:
    """A row a chunk that is upserted."""
    return [
        (chunk.chunk_id, plan.document_id, plan.position, chunk.ordinal, chunk.text, work.metadata, Vector(vector))
        for work in batch
        for plan in (work.plan,)
        for chunk, vector in zip(plan.write, work.vectors, strict=True)
    ]


def columns_of(rows: Sequence[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    """Rows as columns, for arrays."""
    return tuple(map(list, zip(*rows, strict=True)))


def outcome_of(plan: Plan, current: bool, chunks: int) -> Outcome:
    """What became of a plan whose document is `current` at its position now, with so many chunks."""
    if not current:
        return Outcome(plan.document_id, Status.STALE)
    lacking = len(plan.chunk_ids) - chunks
    if not lacking:
        return Outcome(plan.document_id, Status.APPLIED)
    kept = len(plan.chunk_ids) - len(plan.write)
    return rejected(
        plan,
        StoreRejected(f"the store lacks {lacking} of the {kept} chunks this change keeps: replay the document"),
    )


def rejected(plan: Plan, error: Exception) -> Outcome:
    """The outcome of a plan that can't be stored."""
    return Outcome(plan.document_id, Status.REJECTED, type(error).__name__, reason(error))
