"""What the OpenSearch store reads of its index: documents and answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.opensearch.plans import digest_of
from core.change import BEGINNING, Position
from core.plans import Chunk
from core.stores.contract import Hit, Stood, Stored


def stored_of(
    document_id: str,
    stood: Stood,
    found: Sequence[Mapping[str, Any]],
    model: str,
    dimension: int,
) -> Stored:
    """A document from its chunks, in order."""
    own = [each for each in found if each["model"] == model]
    return Stored(
        document_id,
        stood.position,
        tuple(Chunk(each["chunk_id"], each["ordinal"], each["text"]) for each in own),
        (own or found)[0]["metadata"],
        np.array([each["embedding"] for each in own], np.float32).reshape(-1, dimension),
        Counter(each["model"] for each in found if each["model"] != model),
        stood.committed_ms,
    )


def hit_of(found: Mapping[str, Any], score: float, cosine: float | None) -> Hit:
    """A chunk that was found."""
    of = found["_source"]
    return Hit(score, of["document_id"], of["chunk_id"], of["ordinal"], of["text"], of["metadata"], cosine)


def entry_stood(source: Mapping[str, Any]) -> Stood:
    """Where a document stands, by its entry in the ledger: behind the digest of its metadata is when it was."""
    committed = source.get("digest", "").partition("@")[2]
    return Stood(Position(source.get("position", BEGINNING)), int(committed) if committed else None)


def stood_of(hit: Hit, source: Mapping[str, Any]) -> Stood | None:
    """The change that a chunk shows, if it is what its document's entry says now; None where it may be another's.

    The entry is read after the chunk was found, and may have moved on. A chunk's id is its text's; where its place and
    its metadata are the entry's too, it is as the entry has it.
    """
    ids, digest = source.get("chunk_ids", ()), source.get("digest", "").partition("@")[0]
    at_place = hit.ordinal < len(ids) and ids[hit.ordinal] == hit.chunk_id
    return entry_stood(source) if at_place and digest_of(hit.metadata) == digest else None


def cosine_of(found: Mapping[str, Any], vector: NDArray[np.float32]) -> float:
    """The cosine of a chunk that was found with its vector."""
    there = np.array(found["_source"]["embedding"], np.float32)
    return float(vector @ there / (np.linalg.norm(vector) * np.linalg.norm(there)))
