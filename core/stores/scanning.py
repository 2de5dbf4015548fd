"""Searches where there is no index: every document is looked at. Exact, and as slow as there are documents."""

from __future__ import annotations

import heapq
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from core.plans import Chunk
from core.stores.contract import Hit, Stood
from core.stores.filters.evaluation import passes
from core.stores.filters.language import EVERYTHING, Filter
from core.stores.ranking import words_of
from core.stores.staged import Staged

_WORD = re.compile(r"\w+")
_K1, _B = 1.2, 0.75

Found = tuple[Staged, Chunk, NDArray[np.float32]]


def _chunks(documents: Iterable[Staged], where: Filter, model: str) -> Iterator[Found]:
    for each in documents:
        if each.model == model and (where == EVERYTHING or _passes(each, where)):
            yield from ((each, chunk, vector) for chunk, vector in zip(each.chunks, each.vectors, strict=True))


def _passes(staged: Staged, where: Filter) -> bool:
    # with all digits, which no float has
    return passes(where, json.loads(staged.metadata, parse_float=Decimal))


def best(documents: Iterable[Staged], vector: NDArray[np.float32], k: int, where: Filter, model: str) -> list[Hit]:
    """The `k` nearest chunks; equal ones by document, ordinal and chunk id."""
    scored = ((cosine(row, vector), staged, chunk) for staged, chunk, row in _chunks(documents, where, model))
    nearest = heapq.nsmallest(max(0, k), scored, key=lambda each: (-round(each[0], 6), *_order(each[1], each[2])))
    return [_hit(staged, chunk, score, score) for score, staged, chunk in nearest]


def matching(
    documents: Iterable[Staged],
    text: str,
    k: int,
    where: Filter,
    model: str,
    vector: NDArray[np.float32] | None,
) -> list[Hit]:
    """The `k` best chunks by BM25 over words as `\\w+` has them, in lower case; see `VectorStore.match`."""
    asked = set(_words(words_of(text)))
    if not asked or k <= 0:
        return []
    total = length = 0
    having: Counter[str] = Counter()
    found: list[tuple[Found, Counter[str], int]] = []
    for each in _chunks(documents, EVERYTHING, model):
        words = _words(each[1].text)
        total, length = total + 1, length + len(words)
        there = Counter(word for word in words if word in asked)
        having.update(there.keys())
        if there and (where == EVERYTHING or _passes(each[0], where)):
            found.append((each, there, len(words)))
    mean = length / max(1, total)

    def score(there: Counter[str], size: int) -> float:
        return sum(
            math.log(1 + (total - having[word] + 0.5) / (having[word] + 0.5))
            * count * (_K1 + 1) / (count + _K1 * (1 - _B + _B * size / mean))
            for word, count in there.items()
        )  # fmt: skip

    hits = [
        _hit(staged, chunk, score(there, size), None if vector is None else cosine(row, vector))
        for (staged, chunk, row), there, size in found
    ]
    return sorted(hits, key=lambda hit: (-hit.score, hit.document_id, hit.ordinal, hit.chunk_id))[:k]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Of two vectors, none of them zeros alone."""
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def _order(staged: Staged, chunk: Chunk) -> tuple[str, int, str]:
    return staged.document_id, chunk.ordinal, chunk.chunk_id


def _hit(staged: Staged, chunk: Chunk, score: float, of_vectors: float | None) -> Hit:
    at = (staged.document_id, chunk.chunk_id, chunk.ordinal, chunk.text, json.loads(staged.metadata))
    return Hit(score, *at, of_vectors, Stood(staged.position, staged.committed_ms))
