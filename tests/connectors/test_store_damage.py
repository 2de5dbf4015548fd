"""Each kind of damage, in every store: found by `freshet verify`'s comparison, and mended as its repair does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from core.change import BEGINNING, Position
from core.plans import Plan
from core.stores.contract import VectorStore
from core.stores.fingerprint import Fingerprint, Owner
from core.stores.verification import Difference, Kind, compare, compare_vectors
from tests.connectors.damage import ELSEWHERE, Hand, NotPossible, hand
from tests.connectors.servers import Opener, Server
from tests.connectors.test_store_contract import APPLIED, REJECTED, STALE, apply, plan, texts, vectors_of

UPTO = Position("5")
DOCUMENT = plan("public.a/1", "5", "one", "two", metadata={"lang": "en"})
OTHER = plan("public.a/2", "5", "three", metadata={"lang": "en"})


def found(store: VectorStore, rows: dict[str, Plan]) -> list[Difference]:
    """As a pass of `freshet verify` with all vectors finds them."""
    differences: list[Difference] = []
    ids = sorted({*rows, *store.document_ids()})
    there = store.read(ids)
    for identity in ids:
        stored = there.get(identity)
        if identity not in rows:
            differences += [Difference(identity, Kind.GHOST, "")] if stored is not None else []
            continue
        difference = compare(rows[identity], stored, UPTO)
        if difference is None and stored is not None:
            difference = compare_vectors(rows[identity], stored, vectors_of([rows[identity]])[0])
        differences += [difference] if difference is not None else []
    return differences


def tell(store: VectorStore, wanted: Plan) -> None:
    """As the job does: what the store has isn't embedded, and isn't sent."""
    held = store.held([wanted])
    narrowed = replace(wanted, write=tuple(chunk for chunk in wanted.write if chunk.chunk_id not in held))
    assert apply(store, narrowed) == [APPLIED]


def mend(store: VectorStore, differences: list[Difference], rows: dict[str, Plan]) -> None:
    """As the repair does, with the events' position: that of the topic's last one."""
    ids = [each.document_id for each in differences]
    known = store.positions(ids)
    store.drop({each: known.get(each, BEGINNING) for each in ids})
    for each in ids:
        tell(store, rows.get(each, Plan(each, UPTO)))


DAMAGES: dict[str, tuple[Callable[[Hand], None], Kind, str]] = {
    "a ghost": (
        lambda by: [by.add("public.a/9", "x", 0, "ghost", "m"), by.enter("public.a/9", "4")],  # type: ignore[dict-item,return-value]
        Kind.GHOST,
        "",
    ),
    "a ghost that the ledger doesn't know": (lambda by: by.add("public.a/9", "x", 0, "ghost", "m"), Kind.GHOST, ""),
    "a ghost of another model": (lambda by: by.add("public.a/9", "x", 0, "ghost", "older"), Kind.GHOST, ""),
    "another text": (lambda by: by.change("public.a/1", 1, text="no"), Kind.STALE, "another text in chunk 1"),
    "another vector": (
        lambda by: by.change("public.a/1", 0, embedding=ELSEWHERE),
        Kind.STALE,
        "another vector in chunk 0",
    ),
    "a lost chunk": (lambda by: by.remove("public.a/1", 0), Kind.STALE, "lacks 1 of 2 chunks"),
    "all chunks lost": (lambda by: by.remove("public.a/1", None), Kind.MISSING, "none of its 2 chunks"),
    "another place": (lambda by: by.change("public.a/1", 1, ordinal=7), Kind.STALE, "another place for chunk 1"),
    "other metadata": (
        lambda by: [by.change("public.a/1", at, metadata={"lang": "xx"}) for at in (0, 1)],  # type: ignore[dict-item,return-value]
        Kind.STALE,
        "other metadata: lang",
    ),
    "a chunk of another model": (
        lambda by: by.add("public.a/1", "x", 2, "left over", "older"),
        Kind.STALE,
        "has 1 chunk of older",
    ),
    "a chunk too many": (lambda by: by.add("public.a/1", "x", 2, "left over", "m"), Kind.STALE, "has 1 chunk that"),
    "all of another model": (
        lambda by: [by.change("public.a/1", at, model="older") for at in (0, 1)],  # type: ignore[dict-item,return-value]
        Kind.STALE,
        "made by another model: 2 chunks of older",
    ),
    "a ledger ahead of the source": (
        lambda by: by.enter("public.a/1", "ffff"),
        Kind.STALE,
        "its ledger stands at ffff, and the source at 5",
    ),
    "a ledger's row lost": (lambda by: by.enter("public.a/1", None), Kind.STALE, "its ledger doesn't know it"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_mended(store: VectorStore, name: str) -> None:
    damage, kind, what = DAMAGES[name]
    rows = {each.document_id: each for each in (DOCUMENT, OTHER)}
    assert apply(store, *rows.values()) == [APPLIED, APPLIED]
    assert found(store, rows) == []
    try:
        damage(hand(store))
    except NotPossible as why:
        pytest.skip(str(why))
    (difference,) = differences = found(store, rows)
    assert (difference.document_id, difference.kind) == ("public.a/9" if kind is Kind.GHOST else "public.a/1", kind)
    assert what in difference.what
    mend(store, differences, rows)
    assert found(store, rows) == []
    assert texts(store) == [("public.a/1", "one"), ("public.a/1", "two"), ("public.a/2", "three")]
    # and later changes are taken, earlier ones refused
    assert apply(store, plan("public.a/1", "4", "late"), plan("public.a/1", "6", "later")) == [STALE, APPLIED]
    assert store.models() == {"m": 2}


def test_only_what_stands_where_it_stood_is_dropped(store: VectorStore) -> None:
    apply(store, DOCUMENT, OTHER)
    apply(store, plan("public.a/1", "6", "later"))
    assert store.positions(["public.a/1", "public.a/2", "public.a/3"]) == {"public.a/1": "6", "public.a/2": "5"}
    stood = {each: Position("5") for each in ("public.a/1", "public.a/2", "public.a/3")}
    assert store.drop(stood) == {"public.a/2"}
    assert store.drop({"public.a/1": BEGINNING}) == frozenset()
    assert texts(store) == [("public.a/1", "later")]
    assert store.drop({}) == frozenset()


def test_a_dropped_document_is_written_whole(store: VectorStore) -> None:
    apply(store, DOCUMENT)
    store.drop({"public.a/1": UPTO})
    assert store.held([DOCUMENT]) == frozenset()
    assert apply(store, plan("public.a/1", "5", "one", "two", new=["two"])) == [REJECTED]
    assert apply(store, DOCUMENT) == [APPLIED]
    assert texts(store) == [("public.a/1", "one"), ("public.a/1", "two")]


def test_many_documents_are_dropped(store: VectorStore) -> None:
    ids = [f"public.a/{number}" for number in range(450)]
    apply(store, *(plan(each, "1", f"{each} one", f"{each} two") for each in ids))
    assert store.drop({each: Position("1") for each in ids}) == set(ids)
    assert list(store.document_ids()) == []


def test_clearing_takes_what_the_ledger_does_not_know(store: VectorStore) -> None:
    apply(store, DOCUMENT, plan("public.a/2", "9", "newer"), plan("public.ab/1", "1", "other"))
    by = hand(store)
    by.add("public.a/9", "x", 0, "ghost", "m")
    by.add("public.ab/9", "y", 0, "no ghost", "m")
    assert store.clear("public.a", Position("8")) == 2
    assert sorted(store.document_ids()) == ["public.a/2", "public.ab/1", "public.ab/9"]


def test_a_chunk_that_the_ledger_does_not_know_is_read(store: VectorStore) -> None:
    hand(store).add("public.a/9", "x", 0, "ghost", "m")
    (stored,) = store.read(["public.a/9"]).values()
    assert (stored.position, [chunk.text for chunk in stored.chunks]) == (BEGINNING, ["ghost"])
    hand(store).add("public.a/8", "y", 0, "ghost", "older")
    (stored,) = store.read(["public.a/8"]).values()
    assert (stored.chunks, dict(stored.others)) == ((), {"older": 1})
    assert stored.vectors.shape == (0, 4) and stored.vectors.dtype == np.float32
    assert store.models() == {"m": 1, "older": 1}


def test_what_came_back_at_its_deletions_position_is_never_forgotten(
    store: VectorStore, place: Opener, server: Server
) -> None:
    if not server.splits:
        pytest.skip("a tombstone is the log's to forget, by its retention")
    apply(store, DOCUMENT, OTHER)
    apply(store, Plan("public.a/1", UPTO), Plan("public.a/2", UPTO))
    assert apply(store, DOCUMENT) == [APPLIED]
    other = place(remember_deletes_s=-60.0)
    other._forget_at = 0.0  # type: ignore[attr-defined]  # now, not in an hour
    apply(other, plan("public.b/1", "1", "x"))
    other.close()
    assert store.positions(["public.a/1", "public.a/2"]) == {"public.a/1": "5"}
    assert apply(store, plan("public.a/1", "4", "older")) == [STALE]
    assert store.clear("public.a", Position("9")) == 1
    assert texts(store) == [("public.b/1", "x")]


def test_a_store_that_lost_every_chunk_knows_it_and_an_empty_one_is_none(store: VectorStore, place: Opener) -> None:
    assert store.bereft() == 0
    mine = place(owner=Owner("articles", 7, Fingerprint("m")))
    apply(mine, plan("public.a/gone", "1", "one"), plan("public.a/empty", "1"))
    apply(mine, plan("public.a/gone", "2"))
    mine.clear("public.b", Position("1"))
    assert mine.bereft() == 0, "deleted and empty documents, a mark and an owner need no chunk"
    apply(mine, DOCUMENT, OTHER)
    hand(mine).remove(OTHER.document_id, None)
    assert mine.bereft() == 0
    try:
        hand(mine).empty()
    except NotPossible as why:
        pytest.skip(str(why))
    assert mine.bereft() == 2
    mine.close()
