"""How a table of chunks keeps and finds its vectors: their type, and the index over them."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isqrt
from typing import Literal

from psycopg import sql
from psycopg.sql import SQL, Composable, Composed

from core.config.store import NO_WORDS, Hnsw, Ivfflat, VectorType

MOST_DIMENSIONS: dict[VectorType, int] = {"vector": 2000, "halfvec": 4000}
"""What an index takes (pgvector's README, "HNSW" and "IVFFlat")."""

ROWS_A_LIST = 50
"""An IVFFlat index puts each vector to the nearest of the lists that the first rows make: from fewer, these are bad."""

# Inserting into HNSW is nearly all that writing costs: 1.2 ms of CPU a vector of 384 with pgvector's 16/64, 0.4 with
# 8/32, which finds 99.7 % of the true ten nearest of 9,800 vectors (real texts and noisy copies of them).
_M = 8
_EF_CONSTRUCTION = 32
_EF_SEARCH = 200
_MOST_SEARCHED = 1000


Method = Literal["hnsw", "ivfflat"]


@dataclass(frozen=True, slots=True)
class Layout:
    """What of a table the pipeline file decides; see `core.config.store.Pgvector`."""

    text_search_config: str = "simple"
    vector_type: VectorType = "vector"
    index: Hnsw | Ivfflat = field(default_factory=Hnsw)

    @property
    def has_words(self) -> bool:
        """Whether there is an index of words."""
        return self.text_search_config != NO_WORDS


USUAL = Layout()


def names(layout: Layout) -> dict[str, Composable]:
    """What stands in the statements' braces for the vectors' type and their index."""
    method, options = described(layout.index)
    stated = SQL(", ").join(SQL("{} = {}").format(SQL(name), sql.Literal(value)) for name, value in options.items())
    index = SQL("{method} (embedding {type}_cosine_ops) WITH ({options})")
    kind = SQL(layout.vector_type)
    return {
        "vector_type": kind,
        "vector_index": index.format(method=SQL(method), type=kind, options=stated),
        "operators": sql.Literal(f"{layout.vector_type}_cosine_ops"),
    }


def described(index: Hnsw | Ivfflat) -> tuple[Method, dict[str, int]]:
    """An index's access method, and the options that a new one is made with."""
    match index:
        case Hnsw():
            m = _M if index.m is None else index.m
            candidates = max(_EF_CONSTRUCTION, 2 * m) if index.ef_construction is None else index.ef_construction
            return "hnsw", {"m": m, "ef_construction": candidates}
        case Ivfflat():
            return "ivfflat", {"lists": index.lists}


def required(index: Hnsw | Ivfflat) -> dict[str, int]:
    """Those of its options that the pipeline file states: an index that is there must have them."""
    _, options = described(index)
    return {name: value for name, value in options.items() if getattr(index, name) is not None}


def rows_before(index: Hnsw | Ivfflat) -> int:
    """How many chunks there must be before the index is made."""
    return ROWS_A_LIST * index.lists if isinstance(index, Ivfflat) else 0


def searching(index: Hnsw | Ivfflat, reach: int) -> tuple[Composed, ...]:
    """What is set for a search for the nearest `reach`: it goes on until the filter has let so many through."""
    match index:
        case Hnsw():
            least = max(_EF_SEARCH, 2 * reach) if index.ef_search is None else max(index.ef_search, reach)
            size, order = ("hnsw.ef_search", min(_MOST_SEARCHED, least)), ("hnsw.iterative_scan", "strict_order")
        case Ivfflat():
            probes = isqrt(index.lists - 1) + 1 if index.probes is None else index.probes
            size, order = ("ivfflat.probes", probes), ("ivfflat.iterative_scan", "relaxed_order")
    return tuple(
        SQL("SET LOCAL {} = {}").format(SQL(name), sql.Literal(value) if isinstance(value, int) else SQL(value))
        for name, value in (size, order)
    )
