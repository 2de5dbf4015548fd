"""How two rankings become one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.stores.contract import Hit
from core.stores.ranking import LONGEST_QUESTION, fused, reach, words_of


def hits(*names: str) -> list[Hit]:
    return [Hit(9.0 - at, name, name, 0, name, {}) for at, name in enumerate(names)]


def test_ranks_are_added_up_as_the_paper_has_it() -> None:
    found = fused([hits("a", "b", "c"), hits("c", "d")], 4)
    assert [(hit.chunk_id, hit.score) for hit in found] == [
        ("c", 1 / 63 + 1 / 61), ("a", 1 / 61), ("b", 1 / 62), ("d", 1 / 62),
    ]  # fmt: skip


rankings = st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True).map(lambda names: hits(*names)), max_size=3)


@given(rankings, st.integers(0, 9))
def test_fusing_is_a_ranking_of_all_that_was_ranked(given_: list[list[Hit]], k: int) -> None:
    found = fused(given_, k)
    assert len(found) == min(k, len({hit.chunk_id for ranking in given_ for hit in ranking}))
    assert len({hit.chunk_id for hit in found}) == len(found)
    assert found == sorted(found, key=lambda hit: (-hit.score, hit.document_id))
    assert [hit.chunk_id for hit in fused(given_[::-1], k)] == [hit.chunk_id for hit in found]


@given(st.lists(st.sampled_from("abcdefgh"), unique=True), st.integers(0, 9))
def test_one_ranking_keeps_its_order(names: list[str], k: int) -> None:
    assert [hit.chunk_id for hit in fused([hits(*names)], k)] == names[:k]


@given(st.text())
def test_what_is_looked_for_by_words_can_be_stored_anywhere(question: str) -> None:
    words = words_of(question + "\x00\udfff")
    assert len(words) <= LONGEST_QUESTION and "\x00" not in words
    words.encode()


def test_more_is_fused_than_is_answered() -> None:
    assert (reach(1), reach(100), reach(10_000)) == (50, 200, 10_000)
