"""How Pinecone is searched: its answers are looked through, and where they are too few, more is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from connectors.pinecone.filters import condition_of
from connectors.pinecone.namespace import MOST_HITS, MOST_WITH_METADATA, Condition, Namespace, Record, both, chunk_of
from connectors.pinecone.rows import hit_of, in_order, is_let_through
from core.stores.contract import Hit
from core.stores.filters.language import EVERYTHING, Filter

_MORE = 20
_FURTHER = 4


class Searcher:
    """Searches the chunks of one model in a namespace."""

    def __init__(self, chunks: Namespace, dimension: int, model: str) -> None:
        self._chunks = chunks
        self._dimension = dimension
        self._model = model

    def search(self, vector: NDArray[np.float32], k: int, where: Filter) -> list[Hit]:
        """See `PineconeStore.search`."""
        if vector.shape != (self._dimension,):
            raise ValueError(f"a query vector of shape {vector.shape} for a store of {self._dimension} dimensions")
        if k > MOST_HITS:
            raise ValueError(f"k is {k}, this store gives {MOST_HITS} at most")
        if k <= 0:
            return []
        asked: Condition = {"model": {"$eq": self._model}}
        if where != EVERYTHING:
            asked = both(asked, condition_of(where))
        # More than k, so that which of several equally near ones are let in doesn't depend on the index.
        reach = min(k + _MORE, MOST_HITS)
        while True:
            whole = reach <= MOST_WITH_METADATA
            found = self._chunks.query(asked, reach, vector=vector, metadata=whole, fresh=False)
            hits = self._let_through(found, whole, where, k + _MORE)
            if len(hits) >= k or len(found) < reach:
                return in_order(hits, k)
            if reach == MOST_HITS:
                break
            reach = min(_FURTHER * reach, MOST_HITS)
        every = [each for some in self._chunks.ids(asked, vector, fresh=False) for each in some]
        every.sort(key=lambda each: -each.score)
        return in_order(self._let_through(every, False, where, k + _MORE), k)

    def _let_through(self, found: Sequence[Record], whole: bool, where: Filter, most: int) -> list[Hit]:
        """The first `most` of those that pass, as hits."""
        hits: list[Hit] = []
        for each, score in self._with_metadata(found, whole):
            if is_let_through(each, where):
                hits.append(hit_of(each, score))
            if len(hits) == most:
                break
        return hits

    def _with_metadata(self, found: Sequence[Record], whole: bool) -> Iterator[tuple[Record, float]]:
        if whole:
            yield from ((each, each.score) for each in found)
            return
        for start in range(0, len(found), MOST_HITS // 10):
            some = found[start : start + MOST_HITS // 10]
            read = self._chunks.having("chunk", [chunk_of(each.id) for each in some], fresh=False)
            there = {each.id: each for each in read}
            yield from ((there[each.id], each.score) for each in some if each.id in there)
