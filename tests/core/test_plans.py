"""Whose vectors may be taken over with a text: those alone that would be made the same now."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from core.plans import chunks, made_by

RANGES = st.lists(st.integers(1, 3), min_size=1, max_size=8)


@given(RANGES, st.randoms(use_true_random=False))
def test_all_chunks_of_a_document_are_its_makers_in_any_order(sizes: list[int], choices: Random) -> None:
    ends = [sum(sizes[: at + 1]) for at in range(len(sizes))]
    made = chunks("t/1", "ab" * 20, list(zip([0, *ends], ends, strict=False)), "model", "cdc1:a:8:0")
    there = list(made)
    choices.shuffle(there)
    ids = frozenset(each.chunk_id for each in made)
    assert made_by("t/1", there, "model", "cdc1:a:8:0") == ids
    for others in (("t/2", "model", "cdc1:a:8:0"), ("t/1", "other", "cdc1:a:8:0"), ("t/1", "model", "cdc1:b:8:0")):
        assert made_by(others[0], there, *others[1:]) == frozenset()


def test_a_chunk_of_before_beside_one_of_now_is_left_out() -> None:
    (now,) = chunks("t/1", "text", [(0, 4)], "model", "new")
    (before,) = chunks("t/1", "other", [(0, 5)], "model", "old")
    assert made_by("t/1", [now, replace(before, ordinal=1)], "model", "new") == {now.chunk_id}
