"""What every store asks of a plan before it sends it: an id, texts, metadata and vectors that any of them can hold."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import StoreRejected
from core.plans import Plan
from core.stores.contract import Vectors
from core.stores.exact_numbers import with_numbers

UNFIT = (StoreRejected, TypeError, ValueError, RecursionError)
"""What `fit` raises: the last three where metadata is no JSON, or too deep."""

_NUL = "\x00"
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_encode_sorted = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True).encode


@dataclass(frozen=True, slots=True)
class Fit:
    """What a store sends of a plan that any store can hold.

    vectors   float32, shape (n, dimension), of the plan's written chunks
    metadata  without NUL characters
    encoded   the metadata as JSON, with the plan's `numbers` as numbers
    """

    vectors: Vectors
    metadata: Mapping[str, Any]
    encoded: str


def canonical(metadata: Mapping[str, Any], numbers: Collection[str] = ()) -> str:
    """Metadata as JSON, all names in their order: OpenSearch gives them back in another one than they were sent in.

    What a plan sent is what a store has, but for numbers of which a float hasn't all digits as they were written.
    """
    return with_numbers(dict(sorted(metadata.items())), numbers, _encode_sorted)


def fit(plan: Plan, vectors: Vectors, dimension: int) -> Fit:
    """The plan with the vectors of its written chunks, made fit. NUL characters in metadata become U+FFFD.

    Raises one of UNFIT where no store can hold it.
    """
    check_text("document's id", plan.document_id)
    for chunk in plan.write:
        check_text(f"text of chunk {chunk.ordinal}", chunk.text)
    rows = _checked(vectors, len(plan.write), dimension)
    metadata, encoded = _as_json(plan.metadata, plan.numbers)
    _check_pairs("metadata", encoded)
    return Fit(rows, metadata, encoded)


def check_text(what: str, text: str) -> None:
    """Raises StoreRejected where text has what no store can hold: a NUL character, or half a surrogate pair."""
    if _NUL in text:
        raise StoreRejected(f"the {what} has a NUL character")
    _check_pairs(what, text)


def _check_pairs(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise StoreRejected(f"the {what} has half a surrogate pair: correct it in the source ({error})") from error


def _checked(vectors: Vectors, chunks: int, dimension: int) -> Vectors:
    expected = (chunks, dimension)
    if vectors.shape != expected and (chunks or vectors.size):
        raise StoreRejected(f"vectors of shape {vectors.shape} for {chunks} chunks of {dimension} dimensions")
    rows = vectors.reshape(expected)
    if not np.isfinite(rows).all():
        raise StoreRejected("a vector holds NaN or infinity: look at what the model made of this text")
    if not rows.any(axis=1).all():
        raise StoreRejected("a vector holds zeros only, which have no direction: look at what the model made of this")
    return np.ascontiguousarray(rows, np.float32)


def _as_json(metadata: Mapping[str, Any], numbers: Collection[str]) -> tuple[Mapping[str, Any], str]:
    encoded = _encode(metadata)
    # seldom there, and a look at the text costs less than one at each value
    clean = without_nul(metadata) if "\\u0000" in encoded else metadata
    if numbers:
        return clean, with_numbers(clean, numbers, _encode)
    return clean, encoded if clean is metadata else _encode(clean)


def without_nul(value: Any) -> Any:
    """A JSON value as stores keep it: in names and texts, NUL characters are U+FFFD."""
    if isinstance(value, str):
        return value.replace(_NUL, "\ufffd")
    if isinstance(value, Mapping):
        return {without_nul(name): without_nul(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_nul(inner) for inner in value]
    return value


def lacking(plan: Plan, missing: int) -> StoreRejected:
    """Why a plan is refused that keeps chunks, of which the store lacks so many."""
    kept = len(plan.chunk_ids) - len(plan.write)
    return StoreRejected(f"the store lacks {missing} of the {kept} chunks this change keeps: replay the document")
