"""What every vector store does with whole tables, and how it tells what it holds."""

from __future__ import annotations

import numpy as np
import pytest

from core.change import BEGINNING, Position
from core.stores.contract import VectorStore
from tests.connectors.servers import Opener
from tests.connectors.test_store_contract import APPLIED, HOSTILE, STALE, apply, plan, rows, texts, vector_of


def test_clearing_removes_what_is_older_and_nothing_else(store: VectorStore) -> None:
    apply(
        store,
        plan("public.a/1", "1", "one", "uno"),
        plan("public.a/2", "5", "two"),
        plan("public.a/3", "4", "three"),
        plan("public.ab/1", "1", "prefix"),
        plan("public.b/1", "1", "other"),
        plan("public/a", "1", "schema"),
    )
    assert store.clear("public.a", Position("5")) == 2
    assert texts(store) == [
        ("public.a/2", "two"),
        ("public.ab/1", "prefix"),
        ("public.b/1", "other"),
        ("public/a", "schema"),
    ]
    assert store.clear("public.a", Position("5")) == 0


def test_what_is_older_than_the_mark_stays_out_however_late_it_comes(store: VectorStore, place: Opener) -> None:
    apply(store, plan("public.a/1", "1", "one"))
    store.clear("public.a", Position("5"))
    other = place()
    late = [plan("public.a/1", "4", "late"), plan("public.a/9", "4", "never seen"), plan("public.ab/1", "4", "other")]
    for each in (store, other):
        assert apply(each, *late) == [STALE, STALE, APPLIED]
    assert apply(other, plan("public.a/1", "5", "at the mark"), plan("public.a/2", "6", "above")) == [APPLIED] * 2
    assert texts(store) == [("public.a/1", "at the mark"), ("public.a/2", "above"), ("public.ab/1", "other")]
    other.close()


def test_a_mark_only_goes_up(store: VectorStore) -> None:
    assert store.mark("public.a") == BEGINNING
    store.clear("public.a", Position("5"))
    apply(store, plan("public.a/1", "5", "five"), plan("public.ab/1", "9", "other"))
    assert store.clear("public.a", Position("3")) == 0
    assert [store.mark(table) for table in ("public.a", "public.ab", "public")] == ["5", BEGINNING, BEGINNING]
    assert apply(store, plan("public.a/2", "4", "four")) == [STALE]
    assert texts(store) == [("public.a/1", "five"), ("public.ab/1", "other")]
    assert store.clear("public.a", Position("6")) == 1
    assert texts(store) == [("public.ab/1", "other")] and store.mark("public.a") == "6"


def test_the_latest_of_a_table_is_of_its_documents_and_its_mark(store: VectorStore) -> None:
    assert store.latest("public.a") == BEGINNING
    apply(store, plan("public.a/1", "1", "one"), plan("public.a/2", "3", "two"), plan("public.ab/1", "9", "other"))
    assert store.latest("public.a") == "3"
    apply(store, plan("public.a/2", "4"))
    assert store.latest("public.a") == "4"
    store.clear("public.a", Position("7"))
    store.clear("public.b", Position("8"))
    assert (store.latest("public.a"), store.latest("public.b"), store.latest("public")) == ("7", "8", BEGINNING)
    apply(store, plan("public.a/3", "8", "three"))
    assert store.latest("public.a") == "8"


def test_a_deleted_document_is_not_counted(store: VectorStore) -> None:
    apply(store, plan("public.a/1", "1", "one"), plan("public.a/2", "1", "two"))
    apply(store, plan("public.a/1", "2"))
    assert store.clear("public.a", Position("5")) == 1


def test_a_late_delete_is_stale_and_a_later_one_is_not(store: VectorStore) -> None:
    store.clear("public.a", Position("5"))
    assert apply(store, plan("public.a/1", "4"), plan("public.a/2", "6")) == [STALE, APPLIED]


@pytest.mark.parametrize("table", [each for each in HOSTILE if "/" not in each] + ["public.%", "_", "*", "a" * 600])
def test_a_table_of_a_hostile_name_is_cleared_alone(store: VectorStore, table: str) -> None:
    apply(store, plan(f"{table}/1", "1", "one"), plan(f"x{table}/1", "1", "two"), plan("public.a/1", "1", "three"))
    assert store.clear(table, Position("5")) == 1
    assert apply(store, plan(f"{table}/2", "4", "late")) == [STALE]
    assert texts(store) == sorted([(f"x{table}/1", "two"), ("public.a/1", "three")])


def test_many_documents_are_cleared(store: VectorStore) -> None:
    apply(store, *(plan(f"public.a/{number}", "1", f"text {number}", "x") for number in range(1200)))
    assert store.clear("public.a", Position("2")) == 1200
    assert rows(store) == []


def test_documents_are_read_as_they_stand(store: VectorStore) -> None:
    apply(store, plan("public.a/1", "1", "one", "two", metadata={"n": [1]}), plan("public.a/2", "1", "gone"))
    apply(store, plan("public.a/1", "2", "two", "three", new=["three"], metadata={"n": [2]}), plan("public.a/2", "3"))
    found = store.read(["public.a/1", "public.a/2", "public.a/3", "public.a/1"])
    assert list(found) == ["public.a/1"]
    stored = found["public.a/1"]
    assert (stored.document_id, stored.position, stored.metadata) == ("public.a/1", "2", {"n": [2]})
    assert [(chunk.ordinal, chunk.text) for chunk in stored.chunks] == [(0, "two"), (1, "three")]
    assert [chunk.chunk_id for chunk in stored.chunks] == list(plan("public.a/1", "2", "two", "three").chunk_ids)
    assert stored.vectors.dtype == np.float32
    assert np.array_equal(stored.vectors, np.array([vector_of("two"), vector_of("three")]))
    assert store.read([]) == {}


def test_large_and_hostile_documents_are_read(store: VectorStore) -> None:
    pieces = [f"piece {number}" for number in range(1500)]
    apply(store, plan("public.a/1", "1", *pieces), *(plan(hostile, "1", hostile) for hostile in HOSTILE))
    found = store.read(["public.a/1", *HOSTILE])
    assert [chunk.text for chunk in found["public.a/1"].chunks] == pieces
    assert {each: stored.chunks[0].text for each, stored in found.items() if each in HOSTILE} == {
        each: each for each in HOSTILE
    }


def test_every_document_with_chunks_is_listed_once(store: VectorStore) -> None:
    assert list(store.document_ids()) == []
    ids = [f"public.a/{number}" for number in range(2500)] + HOSTILE
    apply(store, *(plan(each, "1", "one", "two") for each in ids))
    apply(store, plan("public.a/7", "2"), plan("public.a/99999", "2"))
    listed = list(store.document_ids())
    assert sorted(listed) == sorted(set(ids) - {"public.a/7"})
