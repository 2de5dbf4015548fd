from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.change import Event
from core.errors import DecodeError
from core.formats.arrival import KAFKA_OFFSET, KINESIS_SEQUENCE, KINESIS_SUBSEQUENCE, arrival


def kinesis(sequence: int, subsequence: int) -> str:
    headers = {KINESIS_SEQUENCE: str(sequence).encode(), KINESIS_SUBSEQUENCE: str(subsequence).encode()}
    return arrival(Event("t", 0, 0, None, None, headers))


places = st.tuples(st.integers(0, 2**192 - 1), st.integers(0, 2**20 - 1))


@given(places, places)
def test_kinesis_compares_as_numbers(one: tuple[int, int], other: tuple[int, int]) -> None:
    first, second = kinesis(*one), kinesis(*other)
    assert (first < second, first == second, len(first)) == (one < other, one == other, len(second))


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_kafka_compares_as_numbers(one: int, other: int) -> None:
    first, second = (arrival(Event("t", 0, offset, None, None)) for offset in (one, other))
    assert (first < second, first == second, len(first)) == (one < other, one == other, len(second))


def test_an_event_sent_again_stands_where_it_stood_first() -> None:
    again = Event("t", 0, 900, None, None, {KAFKA_OFFSET: b"7"})
    assert arrival(again) == arrival(Event("t", 0, 7, None, None))


@pytest.mark.parametrize("raw", [b"", b"x", b"-1", b"1.5", b"9" * 59, b"9" * 5000, "١".encode(), b"\xff"])
@pytest.mark.parametrize("header", [KINESIS_SEQUENCE, KAFKA_OFFSET])
def test_headers_that_hold_no_number(header: str, raw: bytes) -> None:
    with pytest.raises(DecodeError, match=f"header {header} is .*, must be digits of a number below 2"):
        arrival(Event("t", 0, 0, None, None, {header: raw}))
