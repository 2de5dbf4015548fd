"""What the pgvector store sends and reads, as rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pgvector import HalfVector, Vector

from connectors.postgres.faults import reason
from connectors.postgres.values import columns_of
from core.change import Position
from core.errors import StoreRejected
from core.plans import Chunk, Outcome, Plan, Status, rejected
from core.stores.batches import sized
from core.stores.contract import Hit, Stood, Stored, Vectors
from core.stores.fitting import fit, lacking

_BYTES_AT_ONCE = 64 * 2**20
_MOST_BYTES = 2**28  # of a jsonb; a message has 1 GiB at most, and a row's holds a text, its metadata and a vector
_BYTES_A_ROW = 100  # beside text, metadata and vector


@dataclass(frozen=True, slots=True)
class Work:
    """A plan that is fit to be sent. `metadata` is JSON text."""

    at: int
    plan: Plan
    vectors: Vectors
    metadata: str

    def size(self) -> int:
        """Its bytes, about."""
        texts = sum(len(chunk.text) for chunk in self.plan.write)
        return self.vectors.nbytes + texts + len(self.metadata) + _BYTES_A_ROW * len(self.plan.chunk_ids)


class Row(NamedTuple):
    """A chunk to be written, or to be moved: then without text and vector."""

    work: Work
    chunk_id: str
    ordinal: int
    text: str = ""
    vector: Vector | None = None

    def size(self) -> int:
        """Its bytes, about, but for its document's metadata."""
        return len(self.text) + (0 if self.vector is None else self.work.vectors.itemsize * self.work.vectors.shape[1])


def work_of(at: int, plan: Plan, vectors: Vectors, dimension: int) -> Work:
    """The `at`-th plan of a batch, made fit to be sent.

    Raises one of UNFIT where it can't be stored.
    """
    ready = fit(plan, vectors, dimension)
    _check_size("metadata", ready.encoded)
    for chunk in plan.write:
        _check_size(f"text of chunk {chunk.ordinal}", chunk.text)
    return Work(at, plan, ready.vectors, ready.encoded)


def _check_size(what: str, text: str) -> None:
    # a character has four bytes at most
    if len(text) > _MOST_BYTES // 4 and (size := len(text.encode())) > _MOST_BYTES:
        raise StoreRejected(
            f"the {what} has {size} bytes, which is more than the {_MOST_BYTES} that are written at once"
        )


def stored_of(rows: Sequence[tuple[Any, ...]], model: str, dimension: int) -> Stored:
    """A document from its chunks' rows: id, position, chunk id, ordinal, text, metadata, vector, model, ledger."""
    own = [row for row in rows if row[7] == model]
    vectors = [row[6].to_numpy() if isinstance(row[6], Vector | HalfVector) else row[6] for row in own]
    return Stored(
        rows[0][0],
        Position(rows[0][1]),
        tuple(Chunk(chunk_id, ordinal, text) for _, _, chunk_id, ordinal, text, *_ in own),
        (own or rows)[0][5],
        np.array(vectors, np.float32).reshape(-1, dimension),
        Counter(row[7] for row in rows if row[7] != model),
        None if (stood := stood_of(rows[0][8])) is None else stood.committed_ms,
    )


def hit_of(row: tuple[Any, ...]) -> Hit:
    """A chunk that was found, by its score, document, id, ordinal, text, metadata, cosine and document's ledger row."""
    *found, entry = row
    score, document_id, chunk_id, ordinal, text, metadata, cosine = found
    return Hit(score, document_id, chunk_id, ordinal, text, metadata, cosine, stood_of(entry))


def stood_of(entry: Mapping[str, Any] | None) -> Stood | None:
    """Where a document stands, by its row in the ledger; None where that isn't there, or may not be read."""
    return None if entry is None else Stood(Position(entry["position"]), entry.get("committed_ms"))


def transactions(ready: Sequence[Work]) -> Iterator[list[Work]]:
    """The work in transactions of at most 64 MiB, or one plan."""
    return sized(ready, Work.size, _BYTES_AT_ONCE)


def at_once(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows in statements of at most 64 MiB, or one row. A document's metadata, once in each, counts with the first."""
    seen: set[int] = set()

    def size(row: Row) -> int:
        fresh = row.work.at not in seen
        seen.add(row.work.at)
        return row.size() + _BYTES_A_ROW + (len(row.work.metadata) if fresh else 0)

    return sized(rows, size, _BYTES_AT_ONCE)


def rows_to_move(batch: Sequence[Work]) -> list[Row]:
    """The kept chunks: whether their ordinal or metadata moved, the database sees."""
    return [
        Row(work, chunk_id, ordinal)
        for work in batch
        for written in (frozenset(chunk.chunk_id for chunk in work.plan.write),)
        for ordinal, chunk_id in enumerate(work.plan.chunk_ids)
        if chunk_id not in written
    ]


def rows_to_write(batch: Sequence[Work]) -> list[Row]:
    """A row a chunk that is upserted."""
    return [
        Row(work, chunk.chunk_id, chunk.ordinal, chunk.text, Vector(vector))
        for work in batch
        for chunk, vector in zip(work.plan.write, work.vectors, strict=True)
    ]


def moving(rows: Sequence[Row]) -> tuple[Any, ...]:
    """The parameters that move rows: their documents' columns, then theirs."""
    documents, places = _document_columns(rows)
    return *documents, *columns_of([(places[row.work.at], row.chunk_id, row.ordinal) for row in rows])


def writing(rows: Sequence[Row], model: str) -> tuple[Any, ...]:
    """The parameters that write rows."""
    documents, places = _document_columns(rows)
    return *documents, model, *columns_of([(places[row.work.at], *row[1:]) for row in rows])


def _document_columns(rows: Sequence[Row]) -> tuple[tuple[list[Any], ...], dict[int, int]]:
    """The columns of the rows' documents, and the number there, from 1, of each work by its `at`."""
    works = {row.work.at: row.work for row in rows}
    documents = [(work.plan.document_id, work.plan.position, work.metadata) for work in works.values()]
    return columns_of(documents), {at: number for number, at in enumerate(works, start=1)}


def outcome_of(plan: Plan, current: bool, chunks: int) -> Outcome:
    """What became of a plan whose document is `current` at its position now, with so many chunks."""
    if not current:
        return Outcome(plan.document_id, Status.STALE)
    missing = len(plan.chunk_ids) - chunks
    return refused(plan, lacking(plan, missing)) if missing else Outcome(plan.document_id, Status.APPLIED)


def refused(plan: Plan, error: Exception) -> Outcome:
    """The outcome of a plan that can't be stored."""
    return rejected(plan.document_id, error, reason(error))
