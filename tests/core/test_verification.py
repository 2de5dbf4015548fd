"""What `core.stores.verification` finds, and that it finds nothing where a store equals its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.change import BEGINNING, Position
from core.documents.chunking import chunker
from core.documents.step import DocumentSpec
from core.plans import Plan
from core.stores.contract import Stored
from core.stores.verification import (
    SAME_DIRECTION,
    Difference,
    Kind,
    Sample,
    Seen,
    compare,
    compare_vectors,
    expected,
    key_of,
    least_cosine,
    table_of,
)

SPEC = DocumentSpec("public.articles", "{title}\n\n{body}", ("lang", "tags"))
WORDS = chunker("words", lambda text: range(len(text)), 8, 2)
ROW = {"id": 1, "title": "t", "body": "one two three four five six", "lang": "en", "tags": ["a", None]}


def plan_of(row: dict[str, object]) -> Plan:
    return expected(row, ("id",), SPEC, "m", WORDS)


def stored(plan: Plan) -> Stored:
    vectors = np.eye(len(plan.write), 4, dtype=np.float32) if len(plan.write) <= 4 else np.ones((len(plan.write), 4))
    return Stored(plan.document_id, plan.position, plan.write, dict(plan.metadata), vectors.astype(np.float32))


PLAN = plan_of(ROW)
HELD = stored(PLAN)


def test_an_equal_document_has_no_difference() -> None:
    assert len(PLAN.write) > 3
    assert compare(PLAN, HELD) is None
    assert compare(PLAN, replace(HELD, position=Position("7.f")), Position("7.f")) is None
    assert compare(PLAN, replace(HELD, position=Position("9"))) is None, "how far the source is isn't known"
    assert compare(plan_of({**ROW, "title": "", "body": None}), None) is None
    nul = plan_of({**ROW, "lang": "a\x00b"})
    assert compare(nul, replace(HELD, metadata={**HELD.metadata, "lang": "a\ufffdb"})) is None


@pytest.mark.parametrize(
    ("damage", "description"),
    [
        (lambda held: replace(held, chunks=held.chunks[1:]), "lacks 1 of"),
        (lambda held: replace(held, chunks=(*held.chunks, replace(held.chunks[0], chunk_id="x"))), "has 1 chunk"),
        (lambda held: replace(held, chunks=(*held.chunks, held.chunks[0])), "a chunk twice"),
        (
            lambda held: replace(held, chunks=(replace(held.chunks[0], text="other"), *held.chunks[1:])),
            "another text in chunk 0",
        ),
        (
            lambda held: replace(held, chunks=(replace(held.chunks[0], ordinal=9), *held.chunks[1:])),
            "another place for chunk 0",
        ),
        (lambda held: replace(held, metadata={**held.metadata, "lang": "de"}), "other metadata: lang"),
        (lambda held: replace(held, metadata={"lang": "en"}), "other metadata: tags"),
        (lambda held: replace(held, metadata={**held.metadata, "x": None}), "other metadata: x"),
        (lambda held: replace(held, others={"older": 2}), "has 2 chunks of older"),
        (
            lambda held: replace(held, chunks=(), vectors=held.vectors[:0], others={"older": 1, "b": 2}),
            "made by another model: 2 chunks of b, 1 chunk of older",
        ),
        (lambda held: replace(held, position=BEGINNING), "its ledger doesn't know it"),
        (lambda held: replace(held, position=Position("8.0")), "its ledger stands at 8.0, and the source at 7.f"),
    ],
)
def test_each_damage_is_stale_and_named(damage: Callable[[Stored], Stored], description: str) -> None:
    found = compare(PLAN, damage(HELD), Position("7.f"))
    assert found is not None
    assert found.kind is Kind.STALE
    assert description in found.what


def test_missing_and_left_over() -> None:
    assert compare(PLAN, None) == Difference(PLAN.document_id, Kind.MISSING, f"none of its {len(PLAN.write)} chunks")
    blank = compare(plan_of({**ROW, "title": " ", "body": ""}), HELD)
    assert blank is not None
    assert blank.kind is Kind.STALE
    others = compare(plan_of({**ROW, "title": " ", "body": ""}), replace(HELD, chunks=(), others={"older": 1}))
    assert others is not None
    assert others.kind is Kind.STALE


def test_vectors_of_another_direction_are_found_and_longer_ones_are_not() -> None:
    vectors = np.array([[1, 0], [0.6, 0.8]], np.float32)
    held = replace(HELD, vectors=vectors * 2)
    assert compare_vectors(PLAN, held, vectors) is None
    for bad in ([[1, 0], [0.8, 0.6]], [[1, 0], [0, 0]], [[1, 0], [np.nan, 1]], [[1, 0], [-0.6, -0.8]]):
        found = compare_vectors(PLAN, replace(held, vectors=np.array(bad, np.float32)), vectors)
        assert found is not None
        assert found.what == "another vector in chunk 1"
    assert compare_vectors(PLAN, replace(held, vectors=vectors[:1]), vectors) is not None


def test_two_that_were_rounded_may_be_as_far_apart_as_both_were_allowed_to() -> None:
    angle = np.arccos(SAME_DIRECTION)
    vectors = np.array([[1, 0], [1, 0]], np.float32)
    for turned, rounded, passes in (
        (0.99, "", True),
        (1.9, "", False),
        (1.9, "bfloat16", True),
        (2.1, "bfloat16", False),
    ):
        turn = [np.cos(turned * angle), np.sin(turned * angle)]
        held = replace(HELD, vectors=np.array([turn, turn], np.float32))
        assert (compare_vectors(PLAN, held, vectors, least_cosine(rounded)) is None) is passes


def test_ids_tell_table_and_key() -> None:
    row = {**ROW, "id": "a/b%\n"}
    identity = plan_of(row).document_id
    assert table_of(identity) == "public.articles"
    assert key_of(identity) == ["a/b%\n"]
    odd = expected({**ROW, "k": "ü"}, ("id", "k"), replace(SPEC, table="public.a/b"), "m", WORDS).document_id
    assert (table_of(odd), key_of(odd)) == ("public.a/b", ["1", "ü"])


@given(st.sets(st.text()), st.sets(st.text()))
def test_what_was_seen_is_known_and_nothing_else(seen: set[str], asked: set[str]) -> None:
    ids = Seen()
    ids.add(list(seen)[::2])
    ids.add(list(seen)[1::2])
    assert ids.unknown(sorted(asked)) == sorted(asked - seen)
    assert ids.unknown(sorted(seen)) == []


@given(st.lists(st.text(), unique=True), st.integers(0, 20), st.integers(-5, 5))
def test_a_sample_is_the_same_in_any_order(ids: list[str], size: int, seed: int) -> None:
    one, other = Sample[str](size, seed), Sample[str](size, seed)
    for identity in ids:
        one.offer(identity, identity)
    for identity in reversed(ids):
        other.offer(identity, identity)
    assert one.items() == other.items()
    assert len(set(one.items()) & set(ids)) == min(size, len(ids))


def test_samples_differ_by_seed() -> None:
    kept = []
    for seed in (0, 1):
        sample = Sample[int](10, seed)
        for number in range(1000):
            sample.offer(str(number), number)
        kept.append(sample.items())
    assert kept[0] != kept[1]
