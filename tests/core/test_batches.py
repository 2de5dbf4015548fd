"""Batches of a bounded size."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from core.stores.batches import sized


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 40))
def test_batches_are_as_large_as_they_may_be_and_lose_nothing(sizes: list[int], most: int) -> None:
    batches = list(sized(sizes, lambda size: size, most))
    assert [size for batch in batches for size in batch] == sizes
    assert all(len(batch) == 1 or sum(batch) <= most for batch in batches)
    assert all(sum(batch) + after[0] > most for batch, after in pairwise(batches))


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 40), st.integers(1, 5))
def test_batches_have_so_many_items_at_most(sizes: list[int], most: int, count: int) -> None:
    batches = list(sized(sizes, lambda size: size, most, count))
    assert [size for batch in batches for size in batch] == sizes
    assert all(len(batch) <= count for batch in batches)
    assert all(len(batch) == count or sum(batch) + after[0] > most for batch, after in pairwise(batches))
