"""The laws of splitting texts into requests."""

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from core.config.request_limits import Limits, bytes_of, requests, tokens_of

TEXTS = st.lists(st.text(max_size=60) | st.text("a\n", min_size=100, max_size=400), max_size=30)
LIMITS = st.builds(
    Limits,
    st.integers(1, 12),
    st.none() | st.integers(1, 300),
    st.none() | st.integers(1, 900),
)


@given(TEXTS, LIMITS, st.none() | st.integers(1, 200))
def test_each_text_is_in_one_request_and_only_a_lone_one_exceeds_a_limit(
    texts: list[str], limits: Limits, aim: int | None
) -> None:
    made = requests(texts, limits, aim)
    assert sorted(place for request in made for place in request) == list(range(len(texts)))
    for request in made:
        assert 1 <= len(request) <= limits.texts
        tokens = sum(tokens_of(texts[place]) for place in request)
        space = sum(bytes_of(texts[place]) for place in request)
        if len(request) > 1:
            assert all(most is None or tokens <= most for most in (limits.tokens, aim))
            assert limits.bytes is None or space <= limits.bytes


@given(TEXTS, LIMITS)
def test_no_two_neighbouring_requests_would_have_fitted_into_one(texts: list[str], limits: Limits) -> None:
    made = requests(texts, limits)
    for one, other in pairwise(made):
        first = [texts[place] for place in [*one, other[0]]]
        assert (
            len(first) > limits.texts
            or (limits.tokens is not None and sum(map(tokens_of, first)) > limits.tokens)
            or (limits.bytes is not None and sum(map(bytes_of, first)) > limits.bytes)
        )


def test_the_longest_come_first_and_like_lengths_together() -> None:
    texts = ["a" * 40, "b" * 400, "c" * 60, "d" * 380]
    assert requests(texts, Limits(2)) == [[1, 3], [2, 0]]


@given(
    st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=80) | st.text('\n"\\\t\r', max_size=20)
)
def test_the_estimated_bytes_hold_the_text_as_json_writes_it(text: str) -> None:
    assert bytes_of(text) >= len(json.dumps(text, ensure_ascii=False).encode())


def test_a_lone_surrogate_is_measured_too() -> None:
    assert requests(["\ud800"], Limits(1)) == [[0]]
