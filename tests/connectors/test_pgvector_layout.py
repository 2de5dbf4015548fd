"""How a table of chunks keeps and indexes its vectors, as the pipeline file says it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

from connectors.pgvector.layout import Layout, searching
from connectors.pgvector.store import PgvectorStore
from core.config.store import Hnsw, Ivfflat
from core.errors import ConfigError
from tests.connectors.test_store_contract import APPLIED, apply, plan, vector_of, vectors_of

TEXTS = [f"text {at}" for at in range(100)]


@pytest.fixture
def database(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def opened(dsn: str) -> Iterator[Any]:
    """Makes prepared stores of one table, by their layouts."""
    there: list[PgvectorStore] = []

    def opened(layout: Layout) -> PgvectorStore:
        there.append(PgvectorStore(dsn, "articles", 4, "m", patience_s=5, layout=layout))
        there[-1].prepare()
        return there[-1]

    yield opened
    for each in there:
        each.close()


def indexes(database: psycopg.Connection[Any]) -> list[str]:
    """How each index over vectors is made, from its method on."""
    found = "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() AND indexdef LIKE '%cosine_ops%'"
    return [each.partition(" USING ")[2] for (each,) in database.execute(found).fetchall()]


def test_a_graph_is_made_as_the_file_says_and_else_as_ever(opened: Any, database: psycopg.Connection[Any]) -> None:
    opened(Layout())
    assert indexes(database) == ["hnsw (embedding vector_cosine_ops) WITH (m='8', ef_construction='32')"]
    database.execute("DROP INDEX articles_embedding_idx")
    opened(Layout(index=Hnsw(m=24)))
    assert indexes(database) == ["hnsw (embedding vector_cosine_ops) WITH (m='24', ef_construction='48')"]
    # what the file doesn't state may be anything
    opened(Layout())
    assert len(indexes(database)) == 1


def test_an_index_that_is_not_as_the_file_says_is_named(opened: Any, database: psycopg.Connection[Any]) -> None:
    store = opened(Layout())
    problem = (
        r"store\.pgvector\.index: articles has the index articles_embedding_idx \(hnsw: m=8, ef_construction=32\), the "
        r"pipeline file says hnsw: m=16: drop the index, so that the next run makes it anew, or write"
    )
    for layout in (Layout(index=Hnsw(m=16)), Layout(index=Ivfflat(lists=1))):
        with pytest.raises(ConfigError, match=problem if isinstance(layout.index, Hnsw) else "says ivfflat: lists=1"):
            opened(layout)
    database.execute("DROP INDEX articles_embedding_idx")
    assert apply(store, plan("d", "1", "one")) == [APPLIED]
    opened(Layout(index=Hnsw(m=16)))
    assert indexes(database) == ["hnsw (embedding vector_cosine_ops) WITH (m='16', ef_construction='32')"]


def test_lists_are_made_once_there_are_rows_to_make_them_of(opened: Any, database: psycopg.Connection[Any]) -> None:
    layout = Layout(index=Ivfflat(lists=2, probes=2))
    store = opened(layout)
    assert apply(store, plan("d", "1", *TEXTS[:99])) == [APPLIED]
    opened(layout)
    assert indexes(database) == [], "99 rows are less than 50 a list"
    assert apply(store, plan("d", "2", *TEXTS)) == [APPLIED]
    opened(layout)
    assert indexes(database) == ["ivfflat (embedding vector_cosine_ops) WITH (lists='2')"]
    # all lists are looked into, so the nearest are the true ones
    asked = vector_of("anything")
    nearest = sorted(TEXTS, key=lambda text: -float(vector_of(text) @ asked))[:10]
    assert [hit.text for hit in store.search(asked, 10)] == nearest


def test_half_the_digits_hold_all_that_a_store_promises(opened: Any, database: psycopg.Connection[Any]) -> None:
    layout = Layout(vector_type="halfvec")
    store = opened(layout)
    assert indexes(database) == ["hnsw (embedding halfvec_cosine_ops) WITH (m='8', ef_construction='32')"]
    first = plan("d", "1", *TEXTS[:20])
    assert apply(store, first) == [APPLIED]
    assert store.held([first]) == frozenset(first.chunk_ids)
    stored = store.read(["d"])["d"]
    assert stored.vectors.dtype == np.float32
    assert stored.vectors == pytest.approx(vectors_of([first])[0], abs=1e-3)
    before = database.execute("SELECT chunk_id, xmin, ctid FROM articles ORDER BY 1").fetchall()
    # read vectors, as a moved chunk has them, and the same vectors again: no row is written anew
    store.apply([first, first], [stored.vectors, vectors_of([first])[0]])
    assert database.execute("SELECT chunk_id, xmin, ctid FROM articles ORDER BY 1").fetchall() == before
    asked = vector_of("anything")
    (best, *_) = store.search(asked, 5)
    assert best.text == max(TEXTS[:20], key=lambda text: float(vector_of(text) @ asked))
    assert store.match("text 3", 1, vector=asked)[0].text == "text 3"
    with pytest.raises(ConfigError, match=r"vector_type is vector, and articles has embedding halfvec\(4\): set"):
        opened(Layout())


def test_more_dimensions_need_half_the_digits() -> None:
    PgvectorStore("host=nowhere", "articles", 3072, "m", layout=Layout(vector_type="halfvec"))
    with pytest.raises(ConfigError, match=r"3072 dimensions, .* up to 2000 of type vector: set .*halfvec"):
        PgvectorStore("host=nowhere", "articles", 3072, "m")
    with pytest.raises(ConfigError, match=r"4096 dimensions, .* up to 4000 of type halfvec: choose another"):
        PgvectorStore("host=nowhere", "articles", 4096, "m", layout=Layout(vector_type="halfvec"))


@pytest.mark.parametrize(
    ("index", "reach", "set_"),
    [
        (Hnsw(), 30, "hnsw.ef_search = 200"),
        (Hnsw(), 600, "hnsw.ef_search = 1000"),
        (Hnsw(ef_search=40), 30, "hnsw.ef_search = 40"),
        (Hnsw(ef_search=40), 50, "hnsw.ef_search = 50"),
        (Ivfflat(lists=100), 30, "ivfflat.probes = 10"),
        (Ivfflat(lists=101), 30, "ivfflat.probes = 11"),
        (Ivfflat(lists=100, probes=3), 30, "ivfflat.probes = 3"),
    ],
)
def test_a_search_looks_at_as_many_as_the_file_says(index: Hnsw | Ivfflat, reach: int, set_: str) -> None:
    assert searching(index, reach)[0].as_string(None) == f"SET LOCAL {set_}"
