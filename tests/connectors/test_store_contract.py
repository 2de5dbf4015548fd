"""What every vector store does, on its real server."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core.change import Position
from core.errors import ConfigError, Unavailable
from core.plans import Chunk, Plan, Status, chunk_id
from core.stores.contract import Hit, Vectors, VectorStore
from core.stores.filters.language import And, Filter, equals
from tests.connectors.servers import Opener, Server

APPLIED, STALE, REJECTED = Status.APPLIED, Status.STALE, Status.REJECTED
LACKING = "the store lacks 1 of the 2 chunks this change keeps: replay the document"


def vector_of(text: str, dimension: int = 4) -> NDArray[np.float32]:
    seed = int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
    vector = np.random.default_rng(seed).standard_normal(dimension)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def plan(document: str, position: str, *texts: str, new: Sequence[str] | None = None, **others: Any) -> Plan:
    """A plan for the chunks `texts`, of which those in `new` are written, or all."""
    written = set(texts if new is None else new)
    ids = {text: chunk_id(document.encode("utf-8", "replace").decode(), "m", "c", text, 0) for text in texts}
    write = tuple(Chunk(ids[text], at, text) for at, text in enumerate(texts) if text in written)
    return Plan(document, Position(position), tuple(ids.values()), write, **others)


def vectors_of(plans: Sequence[Plan]) -> list[Vectors]:
    return [np.array([vector_of(chunk.text) for chunk in each.write], np.float32).reshape(-1, 4) for each in plans]


def having(values: Mapping[str, str]) -> Filter:
    """All of the values, as `--where` has them."""
    return And(tuple(equals((name,), value, "") for name, value in values.items()))


def apply(store: VectorStore, *plans: Plan) -> list[Status]:
    outcomes = store.apply(plans, vectors_of(plans))
    assert [outcome.document_id for outcome in outcomes] == [each.document_id for each in plans]
    return [outcome.status for outcome in outcomes]


def rows(store: VectorStore) -> list[Hit]:
    """All that the store holds, by document and ordinal; each is checked to have its own text's vector."""
    hits = store.search(vector_of(""), 1000)
    for hit in hits:
        assert hit.score == pytest.approx(float(vector_of("") @ vector_of(hit.text)), abs=1e-5)
    return sorted(hits, key=lambda hit: (hit.document_id, hit.ordinal))


def texts(store: VectorStore) -> list[tuple[str, str]]:
    return [(hit.document_id, hit.text) for hit in rows(store)]


def test_a_document_is_stored_whole(store: VectorStore) -> None:
    assert apply(store, plan("d", "1", "one", "two", metadata={"lang": "en", "n": [1, None]})) == [APPLIED]
    ids = plan("d", "1", "one", "two").chunk_ids
    assert [(hit.document_id, hit.chunk_id, hit.ordinal, hit.text, hit.metadata) for hit in rows(store)] == [
        ("d", ids[0], 0, "one", {"lang": "en", "n": [1, None]}),
        ("d", ids[1], 1, "two", {"lang": "en", "n": [1, None]}),
    ]


def test_an_empty_batch_is_nothing(store: VectorStore) -> None:
    assert store.apply([], []) == []
    assert store.held([]) == frozenset()


def test_preparing_again_keeps_what_is_there(store: VectorStore, place: Opener) -> None:
    apply(store, plan("d", "1", "one"))
    store.prepare()
    place().prepare()
    assert texts(store) == [("d", "one")]


def test_many_prepare_at_once(place: Opener) -> None:
    stores = [place() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda each: each.prepare(), stores))
    assert apply(stores[0], plan("d", "1", "one")) == [APPLIED]
    for each in stores:
        each.close()


def test_an_equal_position_is_applied_again(store: VectorStore) -> None:
    for _ in range(2):
        assert apply(store, plan("d", "1", "one", "two")) == [APPLIED]
        assert texts(store) == [("d", "one"), ("d", "two")]


def test_an_older_position_is_stale(store: VectorStore) -> None:
    apply(store, plan("d", "2", "two"))
    assert apply(store, plan("d", "1", "one"), plan("e", "1", "other")) == [STALE, APPLIED]
    assert texts(store) == [("d", "two"), ("e", "other")]


def test_positions_compare_as_bytes(store: VectorStore) -> None:
    apply(store, plan("d", "a", "small"))
    assert apply(store, plan("d", "B", "large")) == [STALE]
    assert apply(store, plan("d", "a-", "later")) == [APPLIED]


def test_a_deleted_document_is_gone_and_stays_gone(store: VectorStore) -> None:
    apply(store, plan("d", "1", "one"), plan("e", "1", "other"))
    assert apply(store, plan("d", "3")) == [APPLIED]
    assert apply(store, plan("d", "2", "two")) == [STALE]
    assert texts(store) == [("e", "other")]
    assert apply(store, plan("d", "4", "four")) == [APPLIED]
    assert texts(store) == [("d", "four"), ("e", "other")]


def test_a_delete_of_an_unknown_document_keeps_its_position(store: VectorStore) -> None:
    assert apply(store, plan("d", "3")) == [APPLIED]
    assert apply(store, plan("d", "2", "two")) == [STALE]


def test_all_chunks_are_swapped_at_once(store: VectorStore) -> None:
    apply(store, plan("d", "1", "one", "two", "three"))
    apply(store, plan("d", "2", "four", "five"))
    assert texts(store) == [("d", "four"), ("d", "five")]


def test_one_chunk_of_three_is_swapped(store: VectorStore) -> None:
    apply(store, plan("d", "1", "one", "two", "three"))
    assert apply(store, plan("d", "2", "one", "zwei", "three", new=["zwei"])) == [APPLIED]
    assert texts(store) == [("d", "one"), ("d", "zwei"), ("d", "three")]


def test_metadata_and_ordinals_move_without_vectors(store: VectorStore) -> None:
    apply(store, plan("d", "1", "one", "two", metadata={"lang": "en"}))
    assert apply(store, plan("d", "2", "two", "one", new=[], metadata={"lang": "de"})) == [APPLIED]
    assert [(hit.text, hit.ordinal, hit.metadata) for hit in rows(store)] == [
        ("two", 0, {"lang": "de"}),
        ("one", 1, {"lang": "de"}),
    ]


def test_chunks_written_again_take_the_new_metadata(store: VectorStore) -> None:
    apply(store, plan("d", "1", "one", metadata={"lang": "en"}))
    apply(store, plan("d", "2", "one", metadata={"lang": "de"}))
    assert [hit.metadata for hit in rows(store)] == [{"lang": "de"}]


def test_a_changed_vector_is_written(store: VectorStore) -> None:
    first = plan("d", "1", "one")
    apply(store, first)
    store.apply([first], [vector_of("another model").reshape(1, 4)])
    assert store.search(vector_of("another model"), 1)[0].score == pytest.approx(1)


def test_a_gap_is_rejected_and_leaves_the_document_as_it_was(store: VectorStore) -> None:
    apply(store, plan("d", "1", "one", "two"))
    plans = [plan("c", "1", "c"), plan("d", "2", "one", "gap", "new", new=["new"]), plan("e", "1", "e")]
    outcomes = store.apply(plans, vectors_of(plans))
    assert [outcome.status for outcome in outcomes] == [APPLIED, REJECTED, APPLIED]
    assert (outcomes[1].error, outcomes[1].reason) == ("StoreRejected", LACKING)
    assert texts(store) == [("c", "c"), ("d", "one"), ("d", "two"), ("e", "e")]
    assert apply(store, plan("d", "1.5", "between")) == [APPLIED]


def test_a_stale_plan_with_a_gap_is_just_stale(store: VectorStore) -> None:
    apply(store, plan("d", "2", "two"))
    assert apply(store, plan("d", "1", "one", "gap", new=["one"])) == [STALE]


def test_held_are_the_chunks_there_and_those_of_the_past(store: VectorStore) -> None:
    apply(store, plan("d", "2", "one"), plan("e", "2", "other"))
    again, late, new = plan("d", "2", "one", "two"), plan("e", "1", "older"), plan("f", "1", "f")
    assert store.held([again, late, new]) == {again.chunk_ids[0], late.chunk_ids[0]}
    assert store.held([plan("bad\ud800", "1", "x"), again]) == {again.chunk_ids[0]}


ONE = np.ones((1, 4), np.float32)
HALF = Plan("bad", Position("1"), ("half",), (Chunk("half", 0, "\ud800"),))
UNFIT = {
    "too few vectors": (plan("bad", "1", "x"), np.zeros((0, 4), np.float32), "shape (0, 4) for 1 chunks of 4"),
    "another dimension": (plan("bad", "1", "x"), np.ones((1, 5), np.float32), "shape (1, 5) for 1 chunks of 4"),
    "NaN": (plan("bad", "1", "x"), np.full((1, 4), np.nan, np.float32), "a vector holds NaN or infinity"),
    "infinity": (plan("bad", "1", "x"), np.full((1, 4), np.inf, np.float32), "a vector holds NaN or infinity"),
    "zeros": (plan("bad", "1", "x", "y"), np.eye(2, 4, dtype=np.float32) * [[1], [0]], "holds zeros only"),
    "a surrogate in the id": (plan("bad\ud800", "1", "x"), ONE, "the document's id has half a surrogate pair"),
    "a surrogate in a text": (HALF, ONE, "the text of chunk 0 has half a surrogate pair"),
    "a surrogate in metadata": (plan("bad", "1", "x", metadata={"a": "\ud800"}), ONE, "metadata has half a surrogate"),
    "NUL in the id": (plan("bad\x00", "1", "x"), ONE, "the document's id has a NUL character"),
    "NUL in a text": (plan("bad", "1", "x\x00"), ONE, "the text of chunk 0 has a NUL character"),
    "NaN in metadata": (plan("bad", "1", "x", metadata={"a": float("nan")}), ONE, "not JSON compliant"),
}
"""What `core.stores.fitting` refuses, the same for every store."""

BAD = {
    **{name: (bad, vectors) for name, (bad, vectors, _) in UNFIT.items()},
    "an id no index can hold": (plan("".join(random.Random(1).choices("abcdefghijklmnop", k=50_000)), "1", "x"), ONE),
}


@pytest.mark.parametrize("bad", BAD)
def test_one_bad_row_is_rejected_alone(store: VectorStore, bad: str) -> None:
    good = [plan(f"d{number}", "1", f"text {number}") for number in range(20)]
    apply(store, plan("d3", "0", "older"))
    plans = [*good[:7], BAD[bad][0], *good[7:]]
    vectors = [*vectors_of(good[:7]), BAD[bad][1], *vectors_of(good[7:])]
    outcomes = store.apply(plans, vectors)
    assert [outcome.document_id for outcome in outcomes if outcome.status is not APPLIED] == [plans[7].document_id]
    assert outcomes[7].status is REJECTED and outcomes[7].error and 0 < len(outcomes[7].reason) < 500
    assert len(rows(store)) == 20


def test_every_store_refuses_the_same_with_the_same_words(store: VectorStore) -> None:
    plans = [replace(bad, document_id=f"{bad.document_id}{number}") for number, (bad, *_) in enumerate(UNFIT.values())]
    outcomes = store.apply(plans, [vectors for _, vectors, _ in UNFIT.values()])
    for outcome, (_, _, why) in zip(outcomes, UNFIT.values(), strict=True):
        assert outcome.status is REJECTED and why in outcome.reason
        assert outcome.error == ("ValueError" if "JSON" in why else "StoreRejected")
    assert rows(store) == []


HOSTILE = [
    "'; DROP TABLE chunks; --",
    'public.a/"quoted"\\back\\slash',
    "%s %(name)s {table} $1",
    "naïve 文字 \U0001f600 ‮",
    " \t\n\r trailing ",
    "{}[],NULL",
    "x" * 2000,
]


def test_hostile_text_comes_back_as_it_was(store: VectorStore, server: Server) -> None:
    long = {each: each * min(50, server.longest_text // len(each.encode())) for each in HOSTILE}
    plans = [plan(hostile, "1", hostile, long[hostile], metadata={hostile: hostile}) for hostile in HOSTILE]
    assert set(apply(store, *plans)) == {APPLIED}
    assert texts(store) == [(each, text) for each in sorted(HOSTILE) for text in (each, long[each])]
    for hostile in HOSTILE:
        found = store.search(vector_of("q"), 10, having({hostile: hostile}))
        assert [hit.metadata for hit in found] == [{hostile: hostile}] * 2


def test_nul_in_metadata_becomes_the_replacement_character(store: VectorStore) -> None:
    metadata = {"a\x00": "b\x00", "deep": [{"c": "\x00d"}], "not one": "\\u0000"}
    assert apply(store, plan("d", "1", "one", metadata=metadata)) == [APPLIED]
    expected = {"a\ufffd": "b\ufffd", "deep": [{"c": "\ufffdd"}], "not one": "\\u0000"}
    assert rows(store)[0].metadata == expected


def test_ten_thousand_chunks_of_one_document(store: VectorStore) -> None:
    pieces = [f"piece {number}" for number in range(10_000)]
    assert apply(store, plan("d", "1", *pieces)) == [APPLIED]
    edited = [*pieces[:5000], "edited", *pieces[5001:]]
    assert apply(store, plan("d", "2", *edited, new=["edited"])) == [APPLIED]
    found = store.search(vector_of("edited"), 10_000)
    assert found[0].text == "edited" and found[0].ordinal == 5000
    assert sorted(hit.ordinal for hit in found) == list(range(10_000))
    assert apply(store, plan("d", "3")) == [APPLIED]
    assert rows(store) == []


def test_search_is_nearest_first(store: VectorStore) -> None:
    plans = [plan(f"d{number}", "1", f"text {number}") for number in range(300)]
    apply(store, *plans)
    question = vector_of("question")
    expected = sorted(plans, key=lambda each: -float(question @ vector_of(each.write[0].text)))[:10]
    found = store.search(question, 10)
    assert [hit.document_id for hit in found] == [each.document_id for each in expected]
    assert found[0].score == pytest.approx(float(question @ vector_of(found[0].text)), abs=1e-6)
    assert store.search(question, 0) == []


def test_filters_let_k_through_where_k_exist(store: VectorStore) -> None:
    metadata = [{"lang": "fi" if number % 200 == 0 else "en", "year": 2000 + number % 2} for number in range(2000)]
    apply(store, *(plan(f"d{number}", "1", f"t{number}", metadata=each) for number, each in enumerate(metadata)))
    found = store.search(vector_of("question"), 10, having({"lang": "fi"}))
    assert {hit.document_id for hit in found} == {f"d{number}" for number in range(0, 2000, 200)}
    assert len(store.search(vector_of("question"), 10, having({"lang": "fi", "year": "2000"}))) == 10
    assert store.search(vector_of("question"), 10, having({"lang": "fi", "year": "2001"})) == []


def test_numbers_are_compared_as_numbers_and_text_as_text(store: VectorStore) -> None:
    values = {"exact": ("99.90", True), "float": (99.9, False), "whole": (7, False), "text": ("99.90", False)}
    plans = [
        plan(name, "1", name, metadata={"v=%": value}, numbers=("v=%",) if exact else ())
        for name, (value, exact) in values.items()
    ]
    assert set(apply(store, *plans)) == {APPLIED}
    asked = ("99.9", "99.90", "9.99e1", "7.0", "7", "07")
    found = {
        each: {hit.document_id for hit in store.search(vector_of("q"), 10, having({"v=%": each}))} for each in asked
    }
    assert found == {
        "99.9": {"exact", "float"}, "99.90": {"exact", "float", "text"}, "9.99e1": {"exact", "float"},
        "7.0": {"whole"}, "7": {"whole"}, "07": set(),
    }  # fmt: skip


def test_numbers_of_any_length_are_kept_and_those_beyond_1000_characters_are_text(store: VectorStore) -> None:
    """OpenSearch refused them, and the whole document with them, where PostgreSQL kept them as numbers."""
    values = {str(length): f"0.{'1' * (length - 2)}" for length in (1_000, 1_001, 1_500)}
    plans = [plan(name, "1", name, metadata={"v": value}, numbers=("v",)) for name, value in values.items()]
    assert apply(store, *plans) == [APPLIED] * 3
    kept = {name: stored.metadata["v"] for name, stored in store.read(list(values)).items()}
    assert {name: type(value) for name, value in kept.items()} == {"1000": float, "1001": str, "1500": str}
    assert kept["1500"] == values["1500"]


def test_equally_near_ones_come_in_the_order_of_their_documents(store: VectorStore) -> None:
    plans = [plan(f"d{number:02}", "1", "the same") for number in range(15)]
    random.Random(1).shuffle(plans)
    apply(store, *plans)
    found = store.search(vector_of("the same"), 3)
    assert [hit.document_id for hit in found] == ["d00", "d01", "d02"]


WORDLESS = "an index of dense vectors finds nothing by words, and says so"


def test_words_find_chunks_by_how_rare_they_are_and_how_often_they_come(store: VectorStore, server: Server) -> None:
    if not server.has_words:
        with pytest.raises(ConfigError, match="finds nothing by words"):
            store.match("any", 1)
        pytest.skip(WORDLESS)
    apply(
        store,
        *(plan(f"d{number:03}", "1", f"the filler and the padding {number}") for number in range(100)),
        plan("clause", "1", "the zanzibar clause, which is set out in full length below", metadata={"lang": "en"}),
        plan("short", "1", "Zanzibar! Zanzibar?", metadata={"lang": "de"}),
        plan("deleted", "1", "zanzibar"),
    )
    apply(store, plan("deleted", "2"), plan("short", "2", "Zanzibar! Zanzibar?", new=[], metadata={"lang": "de"}))
    found = store.match("What is the ZANZIBAR clause?", 10)
    assert [hit.document_id for hit in found[:2]] == ["clause", "short"] and len(found) == 10
    assert [hit.document_id for hit in store.match("zanzibar", 10)] == ["short", "clause"]
    assert [hit.document_id for hit in store.match("the zanzibar", 10, having({"lang": "en"}))] == ["clause"]
    assert [hit.document_id for hit in store.match("filler", 3)] == ["d000", "d001", "d002"], "in order, where equal"
    assert all(earlier.score >= later.score > 0 and earlier.cosine is None for earlier, later in pairwise(found))
    (hit,) = store.match("clause", 1, vector=vector_of("question"))
    assert hit.cosine == pytest.approx(float(vector_of("question") @ vector_of(hit.text)), abs=1e-5)
    assert (hit.text, hit.ordinal, hit.metadata) == (found[0].text, 0, {"lang": "en"})


@pytest.mark.parametrize(
    "asked", ["", "  ", "?!", "unheard-of", "a' | b & !c:* \\ <->", "x\x00y \ud800", "word " * 50_000, "水" * 50_000]
)
def test_any_text_can_be_asked_for(store: VectorStore, server: Server, asked: str) -> None:
    if not server.has_words:
        pytest.skip(WORDLESS)
    apply(store, plan("d", "1", "some words, a' b \\ c"))
    assert {hit.document_id for hit in store.match(asked, 5, having({"none": "such"}))} == set()
    assert {hit.document_id for hit in store.match(asked, 5)} <= {"d"}
    assert [hit.document_id for hit in store.match(f"some {asked}", 5)] == ["d"]
    assert store.match("some", 0) == []


def test_another_dimension_is_refused(store: VectorStore, place: Opener) -> None:
    with pytest.raises(ConfigError, match=r"vector\(4\).*vector\(5\)"):
        place(dimension=5).prepare()


def test_a_server_away_is_named_after_the_patience_and_waited_for_within_it(own_server: Server) -> None:
    server, place = own_server, own_server.place()
    store, patient = place(patience_s=0.5), place(patience_s=120)
    store.prepare()
    for each in (store, patient):
        apply(each, plan("d", "1", "one"))
    server.stop()
    try:
        for call in (
            lambda: apply(store, plan("d", "2", "two")),
            lambda: rows(store),
            lambda: store.held([plan("d", "2", "two")]),
            lambda: place().prepare(),
        ):
            with pytest.raises(Unavailable, match=server.address):
                call()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(apply, patient, plan("d", "2", "two"))
            server.start()
            assert waiting.result() == [APPLIED]
    finally:
        server.start()
    assert texts(store) == [("d", "two")]
    assert apply(store, plan("d", "3", "three")) == [APPLIED], "the one that gave up goes on too"


def test_racing_writers_end_at_the_highest_position(store: VectorStore, place: Opener, server: Server) -> None:
    if server.one_writer:
        pytest.skip("it has no conditional write: a document is one writer's, by the job's keys and the store's owner")
    documents, last = [f"d{number}" for number in range(15)], 12

    def write(seed: int) -> None:
        order = random.Random(seed)
        mine = place(patience_s=30)
        for position in order.sample(range(last + 1), last + 1):
            some = order.sample(documents, 15 if position == last else 10)
            kept = f"{position % 3}"
            plans = [plan(each, f"{position:02}", f"{each} {position}", f"{each} {kept}*") for each in some]
            assert not set(apply(mine, *plans)) & {REJECTED}
        mine.close()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    expected = [(each, text) for each in sorted(documents) for text in (f"{each} {last}", f"{each} {last % 3}*")]
    assert texts(store) == expected
