"""How Milvus is searched: by vectors, by words, and by comparing every chunk where its index gives too few."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.milvus.client import TIMES, WIDE_PAGE, Server, quoted
from connectors.milvus.collections import searching
from connectors.milvus.filters import ORDERED, TERMS, Expression, expression_of, passes
from connectors.milvus.rows import SHOWN, hit_of, in_order
from core.config.store import Milvus
from core.stores.contract import Hit
from core.stores.filters.language import EVERYTHING, Filter
from core.stores.ranking import words_of
from core.stores.scanning import cosine

_MOST_HITS = 10_000
_MOST_REACH = 16_384
"""What Milvus gives at once ("Limits" in its documentation)."""
_MORE = 20
_FILTERED = (TERMS, ORDERED)

Row = dict[str, Any]


class Searcher:
    """Searches one collection, at the consistency level of its settings."""

    def __init__(self, server: Server, target: Milvus, dimension: int, model: str) -> None:
        self._server = server
        self._collection = target.collection
        self._index = target.index.chosen
        self._level = target.consistency_level
        self._dimension = dimension
        self._model = model

    def search(self, vector: NDArray[np.float32], k: int, where: Filter) -> list[Hit]:
        """See `MilvusStore.search`."""
        self._check(vector, k)
        if k <= 0:
            return []
        asked = self._condition(where)
        # More than k, so that which of several equally near ones are let in doesn't depend on the index.
        reach = min(k + _MORE, _MOST_REACH)
        found = self._asked("embedding", [vector.tolist()], searching(self._index, reach), asked, reach, ())
        hits = [hit_of(row, score, score) for row, score in found if self._lets_through(asked, where, row)]
        if len(hits) < k and self._server.count(self._collection, asked.possible, self._level) > len(found):
            hits = [hit_of(row, score, score) for score, row in self._compared(vector, reach, asked, where)]
        return in_order(hits, k)

    def match(self, text: str, k: int, where: Filter, vector: NDArray[np.float32] | None) -> list[Hit]:
        """See `MilvusStore.match`."""
        self._check(vector, k)
        words = words_of(text)
        if k <= 0 or not words.strip():
            return []
        asked = self._condition(where)
        reach = min(k + _MORE, _MOST_REACH) if asked.is_exact else _MOST_REACH
        more = () if vector is None else ("embedding",)
        found = self._asked("words", [words], {}, asked, reach, more)
        # Lite gives the negative of what Milvus gives
        hits = [
            hit_of(row, abs(score), None if vector is None else _nearness(row, vector))
            for row, score in found
            if score and self._lets_through(asked, where, row)
        ]
        return in_order(hits, k)

    def _check(self, vector: NDArray[np.float32] | None, k: int) -> None:
        if vector is not None and vector.shape != (self._dimension,):
            raise ValueError(f"a query vector of shape {vector.shape} for a store of {self._dimension} dimensions")
        if k > _MOST_HITS:
            raise ValueError(f"k is {k}, this store gives {_MOST_HITS} at most")

    def _condition(self, where: Filter) -> Expression:
        of_model = f"model == {quoted(self._model)}"
        if where == EVERYTHING:
            return Expression(of_model, of_model)
        asked = expression_of(where)
        return Expression(f"{of_model} and ({asked.possible})", f"{of_model} and ({asked.certain})")

    @staticmethod
    def _lets_through(asked: Expression, where: Filter, row: Row) -> bool:
        return asked.is_exact or passes(where, frozenset(row[TERMS]), row[ORDERED])

    def _asked(
        self, field: str, data: list[Any], how: dict[str, int], asked: Expression, reach: int, more: tuple[str, ...]
    ) -> list[tuple[Row, float]]:
        fields = ["id", *SHOWN, *more, *(() if asked.is_exact else _FILTERED)]
        (found,) = self._server.once(
            lambda client: client.search(
                self._collection,
                data=data,
                anns_field=field,
                limit=reach,
                filter=asked.possible,
                output_fields=fields,
                search_params={"metric_type": "BM25" if field == "words" else "COSINE", "params": how},
                consistency_level=self._level,
                **TIMES,
            )
        )
        return [({"id": each["id"], **each["entity"]}, float(each["distance"])) for each in found]

    def _compared(
        self, vector: NDArray[np.float32], reach: int, asked: Expression, where: Filter
    ) -> list[tuple[float, Row]]:
        """The nearest of all that pass, each compared."""

        def each() -> Iterator[tuple[float, Row]]:
            of = (self._collection, asked.possible, [*SHOWN, "embedding", *_FILTERED])
            for row in self._server.rows(*of, self._level, WIDE_PAGE, once=True):
                if self._lets_through(asked, where, row):
                    yield _nearness(row, vector), row

        return heapq.nlargest(reach, each(), key=lambda found: found[0])


def _nearness(row: Row, vector: NDArray[np.float32]) -> float:
    return cosine(vector, np.asarray(row["embedding"], np.float32))
