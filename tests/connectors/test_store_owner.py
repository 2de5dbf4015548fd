"""Every store is one run's: a later one takes it over, an earlier one writes nothing any more and says so."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from core.change import Position
from core.errors import Displaced
from core.stores.contract import VectorStore
from core.stores.fingerprint import Fingerprint, Made, Owner
from tests.connectors.damage import hand
from tests.connectors.servers import Opener
from tests.connectors.test_store_contract import APPLIED, apply, plan, texts

MADE = Fingerprint("m", {"public.a": Made("{body}\x00'\"", "c", ("lang",), ("id",))})


def owner(epoch: int, name: str = "articles", mixed: Sequence[str] = ()) -> Owner:
    return Owner(name, epoch, MADE, tuple(mixed))


def test_a_store_is_nobodys_until_it_is_claimed(store: VectorStore, place: Opener) -> None:
    apply(store, plan("public.a/1", "1", "one"))
    assert store.owner() is None
    mine = place(owner=owner(7, mixed=["é", "b"]))
    mine.claim()
    assert store.owner() == mine.owner() == owner(7, mixed=["é", "b"])
    store.claim()
    assert store.owner() == owner(7, mixed=["é", "b"]), "who was opened for nobody leaves it as it is"
    assert list(store.document_ids()) == ["public.a/1"]
    mine.close()


@pytest.mark.parametrize("name", ["articles", "pages"])
def test_a_later_run_takes_over_and_the_earlier_writes_nothing(store: VectorStore, place: Opener, name: str) -> None:
    first, second = place(owner=owner(1)), place(owner=owner(2, name))
    assert apply(first, plan("public.a/1", "1", "one")) == [APPLIED]
    assert apply(second, plan("public.a/1", "1", "one of the second")) == [APPLIED]
    whose = "a later run of articles" if name == "articles" else "pipeline pages"
    for call in (
        lambda: apply(first, plan("public.a/1", "1", "one again")),
        lambda: apply(first, plan("public.a/2", "9", "two"), plan("public.a/1", "9")),
        lambda: first.clear("public.a", Position("9")),
        first.claim,
    ):
        with pytest.raises(Displaced, match=re.escape(whose)):
            call()
    assert texts(store) == [("public.a/1", "one of the second")]
    assert apply(second, plan("public.a/1", "2", "goes on")) == [APPLIED]
    assert second.clear("public.a", Position("2")) == 0
    assert store.positions(["public.a/2"]) == {}
    assert store.owner() == owner(2, name)
    first.close()
    second.close()


def test_the_subtasks_of_a_run_and_its_restarts_are_one_owner(place: Opener, store: VectorStore) -> None:
    subtasks = [place(owner=owner(3)) for _ in range(3)]
    for _ in range(2):
        for number, each in enumerate(subtasks):
            assert apply(each, plan(f"public.a/{number}", "1", f"text {number}")) == [APPLIED]
            each.close()
    assert len(texts(store)) == 3


def test_one_of_two_at_the_same_moment_has_it(place: Opener, store: VectorStore) -> None:
    one, other = place(owner=owner(3)), place(owner=owner(3, "pages"))
    apply(one, plan("public.a/1", "1", "one"))
    with pytest.raises(Displaced, match="pipeline articles has taken it over"):
        apply(other, plan("public.a/1", "1", "other"))
    assert apply(one, plan("public.a/1", "2", "two")) == [APPLIED]
    one.close()
    other.close()


def test_a_run_whose_ownership_was_lost_takes_it_again(store: VectorStore, place: Opener) -> None:
    mine = place(owner=owner(3))
    apply(mine, plan("public.a/1", "1", "one"))
    hand(store).disown()
    assert store.owner() is None
    assert apply(mine, plan("public.a/1", "2", "two")) == [APPLIED]
    assert store.owner() == owner(3)
    mine.close()


def test_a_bad_row_is_still_rejected_alone(store: VectorStore, place: Opener) -> None:
    mine = place(owner=owner(3))
    apply(mine, plan("public.a/0", "1", "zero"))
    outcomes = apply(mine, plan("public.a/1", "1", "one"), plan("b\x00", "1", "two"), plan("public.a/2", "1", "three"))
    assert [each.value for each in outcomes] == ["applied", "rejected", "applied"]
    mine.close()


def test_an_owner_is_no_document(store: VectorStore, place: Opener) -> None:
    mine = place(owner=owner(3))
    apply(mine, plan("public.a/1", "1", "one"))
    assert list(store.document_ids()) == ["public.a/1"]
    assert store.clear("public.a", Position("9")) == 1
    assert store.clear("", Position("9")) == 0
    assert store.owner() == owner(3)
    mine.close()
