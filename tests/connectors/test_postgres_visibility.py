"""Which transactions a snapshot sees, by ids of 64 bits and of 32."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.postgres.visibility import visible


def test_what_is_running_or_later_is_not_seen() -> None:
    now = visible("10:20:10,14,15")
    assert now.lacks([3, 9, 10, 11, 14, 15, 19, 20, 21]) == {10, 14, 15, 20, 21}
    assert now.lacks([]) == frozenset()
    assert visible("20:20:").lacks([19, 20]) == {20}


@pytest.mark.parametrize("text", ["", "10:20", "a:b:c"])
def test_what_is_no_snapshot_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        visible(text)


@given(st.integers(2**31, 2**40), st.integers(-(2**30), 2**30), st.booleans())
def test_an_id_of_32_bits_is_the_nearest_one_of_64(end: int, distance: int, running: bool) -> None:
    """So it is across a wraparound, on both sides."""
    whole = end + distance
    now = visible(f"{min(whole, end)}:{end}:{whole if running and whole < end else ''}")
    assert bool(now.lacks([whole % 2**32])) is bool(now.lacks([whole])) is (running or whole >= end)
