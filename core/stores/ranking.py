"""By what the chunks that answer a question are ordered: by vectors, by words, or by both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.stores.contract import Hit

LONGEST_QUESTION = 1_000
"""The characters of a question whose words are looked for: a store has a limit for the words of a query."""

_RANK_CONSTANT = 60
_LEAST_REACH = 50
_MOST_REACH = 10_000


class Mode(StrEnum):
    """What orders the answers: the cosine of vectors, the words that question and chunk share, or both, fused."""

    VECTOR = "vector"
    HYBRID = "hybrid"
    TEXT = "text"


def words_of(question: str) -> str:
    """The question as stores look for its words: its beginning, with spaces for what no store can hold."""
    return "".join(
        " " if letter == "\x00" or "\ud800" <= letter <= "\udfff" else letter for letter in question[:LONGEST_QUESTION]
    )


def reach(k: int) -> int:
    """How many of each ranking are fused for `k` answers: more than that, as one that is in both rises."""
    return min(_MOST_REACH, max(_LEAST_REACH, 2 * k))


def fused(rankings: Sequence[Sequence[Hit]], k: int) -> list[Hit]:
    """The `k` best of several rankings, by reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009).

    A chunk's score is the sum of 1 / (60 + rank) over the rankings that have it, ranks from 1: it needs ranks alone,
    where scores of words have no scale that fits a cosine. Equal ones are ordered by document, ordinal and chunk id.
    """
    worth: dict[str, float] = {}
    hits: dict[str, Hit] = {}
    for ranking in rankings:
        for rank, hit in enumerate(ranking, start=1):
            worth[hit.chunk_id] = worth.get(hit.chunk_id, 0.0) + 1 / (_RANK_CONSTANT + rank)
            hits.setdefault(hit.chunk_id, hit)
    best = sorted(hits.values(), key=lambda hit: (-worth[hit.chunk_id], hit.document_id, hit.ordinal, hit.chunk_id))
    return [replace(hit, score=worth[hit.chunk_id]) for hit in best[:k]]
