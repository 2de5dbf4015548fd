"""Whether a store holds what the source says: documents compared, one by one and as sets, in bounded memory."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Generic, TypeVar
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from core.change import BEGINNING, Change, Operation, Position
from core.documents.step import Chunker, DocumentSpec, Refused, step
from core.plans import Chunk, Plan
from core.stores.contract import Stored, Vectors
from core.stores.exact_numbers import same
from core.stores.fitting import without_nul

SAME_DIRECTION = 0.999
"""The least cosine of two vectors of one text: the same model on other hardware differs by less."""

ROUNDED_DIRECTION = 2 * SAME_DIRECTION**2 - 1
"""The same where both may be rounded: each is as near to what float32 makes, or the model wouldn't be opened."""

_SOME = Position("0")


class Kind(StrEnum):
    """What is wrong with a document.

    missing  the source has its row, the store none of its chunks
    stale    the store has another text, order, metadata or vectors than the row makes, or its ledger is wrong
    ghost    the store has it, the source has no such row
    foreign  it belongs to a table that the pipeline doesn't name
    """

    MISSING = "missing"
    STALE = "stale"
    GHOST = "ghost"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Difference:
    """What keeps a document in a store from being the source's: `what` was seen, for people."""

    document_id: str
    kind: Kind
    what: str


def expected(row: Mapping[str, Any], key: Sequence[str], spec: DocumentSpec, model: str, chunker: Chunker) -> Plan:
    """The document that a row makes, whole. `key` are the columns of the table's primary key.

    Raises DocumentError where the row can't become a document.
    """
    change = Change(spec.table, {name: row[name] for name in key}, Operation.UPSERT, _SOME, row)
    _, emitted = step(None, change, spec, model, chunker)
    plan = emitted[0]
    if isinstance(plan, Refused):
        raise plan.error
    assert isinstance(plan, Plan), "every column is known"
    return plan


def table_of(document_id: str) -> str:
    """The table, `schema.table`, that a document's id names."""
    return unquote(document_id.partition("/")[0])


def key_of(document_id: str) -> list[str]:
    """The key's values in a document's id, as text."""
    return [unquote(part) for part in document_id.split("/")[1:]]


def compare(plan: Plan, stored: Stored | None, upto: Position | None = None) -> Difference | None:
    """What keeps the stored document from being the plan's; None where nothing does. Vectors are not looked at.

    upto  the source has no change of a later position; None where that isn't known
    """
    if stored is None or not (stored.chunks or stored.others):
        if not plan.chunk_ids:
            return None
        return Difference(plan.document_id, Kind.MISSING, f"none of its {_count(len(plan.chunk_ids))}")
    found = _chunk_differences(plan, stored.chunks) if stored.chunks or not plan.chunk_ids else []
    found += _of_other_models(stored)
    found += _metadata_differences(plan, stored)
    found += _ledger_differences(stored, upto)
    return Difference(plan.document_id, Kind.STALE, "; ".join(found)) if found else None


def _chunk_differences(plan: Plan, chunks: Sequence[Chunk]) -> list[str]:
    wanted = {chunk.chunk_id: chunk for chunk in plan.write}
    there = {chunk.chunk_id: chunk for chunk in chunks}
    both = wanted.keys() & there.keys()
    texts = sorted(wanted[each].ordinal for each in both if wanted[each].text != there[each].text)
    places = sorted(wanted[each].ordinal for each in both if wanted[each].ordinal != there[each].ordinal)
    lacking, extra = len(wanted.keys() - there.keys()), len(there.keys() - wanted.keys())
    found = [
        f"lacks {lacking} of {_count(len(wanted))}" if lacking else "",
        f"has {_count(extra)} that the row doesn't make" if extra else "",
        f"another text in chunk {_list(texts)}" if texts else "",
        f"another place for chunk {_list(places)}" if places else "",
        "a chunk twice" if len(chunks) > len(there) else "",
    ]
    return [line for line in found if line]


def _of_other_models(stored: Stored) -> list[str]:
    counts = ", ".join(f"{_count(count)} of {model}" for model, count in sorted(stored.others.items()))
    if not counts:
        return []
    return [f"has {counts}" if stored.chunks else f"made by another model: {counts}"]


def _ledger_differences(stored: Stored, upto: Position | None) -> list[str]:
    if stored.position == BEGINNING:
        return ["its ledger doesn't know it: an older change would be taken"]
    if upto is not None and stored.position > upto:
        return [f"its ledger stands at {stored.position}, and the source at {upto}: its changes would be refused"]
    return []


def _metadata_differences(plan: Plan, stored: Stored) -> list[str]:
    wanted, there = without_nul(plan.metadata), stored.metadata
    names = [
        name
        for name in {**wanted, **there}
        if name not in wanted or name not in there or not same(wanted[name], there[name])
    ]
    return [f"other metadata: {', '.join(sorted(names))}"] if names else []


def least_cosine(rounded: str) -> float:
    """The least cosine of two vectors of one text, made in the precision that `Embedding.rounded` names, or float32."""
    return ROUNDED_DIRECTION if rounded else SAME_DIRECTION


def compare_vectors(plan: Plan, stored: Stored, vectors: Vectors, least: float = SAME_DIRECTION) -> Difference | None:
    """As `compare`, of a document that it finds nothing in: `vectors` are those that the model makes of `plan.write`.

    Chunks are taken in order; vectors that aren't unit vectors are compared by their direction: `least` is the least
    cosine of two that pass for one.
    """
    if stored.vectors.shape != vectors.shape:
        what = f"vectors of shape {stored.vectors.shape}, not {vectors.shape}"
        return Difference(plan.document_id, Kind.STALE, what)
    lengths = np.linalg.norm(stored.vectors, axis=1) * np.linalg.norm(vectors, axis=1)
    cosines = np.einsum("ij,ij->i", stored.vectors, vectors) / np.where(lengths > 0, lengths, 1)
    # negated, so that NaN counts as another direction
    off = np.flatnonzero(~(cosines > least)).tolist()
    if not off:
        return None
    return Difference(plan.document_id, Kind.STALE, f"another vector in chunk {_list(off)}")


def _count(chunks: int) -> str:
    return f"{chunks} chunk" if chunks == 1 else f"{chunks} chunks"


def _list(numbers: Sequence[int], shown: int = 5) -> str:
    text = ", ".join(map(str, numbers[:shown]))
    return text if len(numbers) <= shown else f"{text} and {len(numbers) - shown} more"


class Seen:
    """The ids of documents that the source has, 8 bytes each: add all, then ask.

    An id that was added is never called unknown. One that wasn't is known by mistake once in 2^64 / ids.
    """

    def __init__(self) -> None:
        self._hashes = array("Q")
        self._sorted: NDArray[np.uint64] | None = None

    def add(self, ids: Iterable[str]) -> None:
        """Remember ids; not after `unknown` was asked."""
        if self._sorted is not None:
            raise ValueError("ids come too late: they are sorted already")
        self._hashes.extend(map(_hash, ids))

    def unknown(self, ids: Sequence[str]) -> list[str]:
        """Those of the ids that were never added, in order."""
        if self._sorted is None:
            self._sorted = np.frombuffer(self._hashes, np.uint64) if self._hashes else np.empty(0, np.uint64)
            self._sorted.sort()
        hashes = np.fromiter(map(_hash, ids), np.uint64, len(ids))
        places = np.searchsorted(self._sorted, hashes)
        known = np.zeros(len(ids), bool)
        inside = places < len(self._sorted)
        known[inside] = self._sorted[places[inside]] == hashes[inside]
        return [identity for identity, is_known in zip(ids, known, strict=True) if not is_known]


def _hash(identity: str, seed: bytes = b"") -> int:
    return int.from_bytes(blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8, key=seed).digest(), "big")


Item = TypeVar("Item")


class Sample(Generic[Item]):
    """`size` of the documents that go by, each as likely as any other; the same for the same seed, in any order."""

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._seed = seed.to_bytes(8, "big", signed=True)
        self._kept: list[tuple[int, str, Item]] = []

    def offer(self, identity: str, item: Item) -> None:
        """Keep it if it is of the sample so far. Each identity once."""
        # the least hashes are kept, so the heap has them negated
        entry = (-_hash(identity, self._seed), identity, item)
        if len(self._kept) < self._size:
            heapq.heappush(self._kept, entry)
        elif self._size and entry[0] > self._kept[0][0]:
            heapq.heapreplace(self._kept, entry)

    def items(self) -> list[Item]:
        """What was kept."""
        return [item for *_, item in sorted(self._kept, key=lambda entry: entry[:2])]
