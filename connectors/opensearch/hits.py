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


def hit_of(found: Mapping[str, Any], score: float, cosine: float | None) -> Hit:
    """A chunk that was found."""
    of = found["_source"]
    return Hit(score, of["document_id"], of["chunk_id"], of["ordinal"], of["text"], of["metadata"], cosine)


def cosine_of(found: Mapping[str, Any], vector: NDArray[np.float32]) -> float:
    """The cosine of a chunk that was found with its vector."""
    there = np.array(found["_source"]["embedding"], np.float32)
    return float(vector @ there / (np.linalg.norm(vector) * np.linalg.norm(there)))
