"""What the OpenSearch store reads of its index: documents and answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.change import Position
from core.plans import Chunk
from core.stores.contract import Hit, Stored

_RANK_CONSTANT = 60


def stored_of(
    document_id: str, position: Position, found: Sequence[Mapping[str, Any]], model: str, dimension: int
) -> Stored:
    """A document from its chunks, in order."""
    own = [each for each in found if each["model"] == model]
    return Stored(
        document_id,
        position,
        tuple(Chunk(each["chunk_id"], each["ordinal"], each["text"]) for each in own),
        (own or found)[0]["metadata"],
        np.array([each["embedding"] for each in own], np.float32).reshape(-1, dimension),
        Counter(each["model"] for each in found if each["model"] != model),
    )


def hit_of(found: Mapping[str, Any], score: float) -> Hit:
    """A chunk that was found."""
    of = found["_source"]
    return Hit(score, of["document_id"], of["chunk_id"], of["ordinal"], of["text"], of["metadata"])


def worded(found: Mapping[str, Any], vector: NDArray[np.float32]) -> Hit:
    """A chunk that was found by its words, with its cosine."""
    there = np.array(found["_source"]["embedding"], np.float32)
    return hit_of(found, float(vector @ there / (np.linalg.norm(vector) * np.linalg.norm(there))))


def fused(rankings: Sequence[Sequence[Hit]]) -> list[Hit]:
    """One ranking of several: each adds 1 / (60 + rank) to a chunk it has."""
    worth: dict[str, float] = {}
    for ranking in rankings:
        for rank, hit in enumerate(ranking, start=1):
            worth[hit.chunk_id] = worth.get(hit.chunk_id, 0.0) + 1 / (_RANK_CONSTANT + rank)
    hits = {hit.chunk_id: hit for ranking in rankings for hit in ranking}.values()
    return sorted(hits, key=lambda hit: (-worth[hit.chunk_id], hit.document_id, hit.ordinal, hit.chunk_id))
