"""Turns and feedback as anybody may have written them: read, or refused with a reason, whatever comes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.change import Event
from core.errors import DecodeError
from core.formats.conversations import AHEAD_MS, EARLIEST_MS, Feedback, Turn, at_ms, decode, message

NOW_MS = 1_796_200_000_000
TURN: dict[str, Any] = {
    "event": "turn", "id": "chatcmpl-5f", "conversation": "c-17", "turn": 1, "at": "2026-12-01T21:00:00.000Z",
    "tenant": "shop", "customer": "email/kari@x.no", "question": "How long?", "answer": "Days [1].", "model": "smollm2",
    "prompt_tokens": 812, "answer_tokens": 9, "finish": "stop",
    "latency_ms": {"retrieve": 7.2, "first_token": 140.0, "total": 900.1},
    "citations": [{"index": "articles", "document_id": "a/3", "ordinal": 0, "position": "01", "score": 0.61}],
    "as_of": {"articles": "2026-12-01T20:59:59.120Z"},
}  # fmt: skip
FEEDBACK: dict[str, Any] = {
    "event": "feedback", "id": "chatcmpl-5f", "conversation": "c-17", "at": "2026-12-01T21:00:09.000Z",
    "tenant": "shop", "rating": 1, "scale": "thumbs", "comment": "That was it, thank you.",
}  # fmt: skip


def read(value: bytes | None, arrived_ms: int = NOW_MS) -> Turn | Feedback:
    return decode(Event("t", 0, 0, None, value), arrived_ms)


def told(of: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({**of, **changes}).encode()


@pytest.mark.parametrize("of", [TURN, FEEDBACK])
def test_what_serve_writes_is_read(of: dict[str, Any]) -> None:
    found = read(told(of))
    assert read(message(found)[1]) == found
    assert read(b"\xef\xbb\xbf" + told(of)) == found
    assert at_ms(found) == (1796158800000 if of is TURN else 1796158809000)


WRONG = {
    "no value": (None, "no value"),
    "no JSON": (b"{", "no turn and no feedback"),
    "no UTF-8": (told(TURN).replace(b"shop", b"sh\xffp"), "no turn and no feedback"),
    "NaN": (told(TURN, latency_ms={"retrieve": float("nan"), "first_token": None, "total": None}), "no turn and no"),
    "an infinity": (told(TURN).replace(b"900.1", b"1e999"), "no turn and no feedback"),
    "deep nesting": (told(TURN)[:-1] + b', "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "no turn and no"),
    "another event": (told(TURN, event="answer"), "Invalid value 'answer'"),
    "no event": (b"{}", "no turn and no feedback"),
    "a wrong type": (told(TURN, prompt_tokens="812"), "Expected `int`, got `str` - at `$.prompt_tokens`"),
    "a number of 400 digits": (told(TURN, prompt_tokens=10**400), "prompt_tokens"),
    "fewer than no tokens": (told(TURN, answer_tokens=-1), "answer_tokens is -1, must be 0 to"),
    "a negative time": (told(TURN, latency_ms={"retrieve": -1, "first_token": 1, "total": 2}), "latency_ms.retrieve"),
    "1970": (told(FEEDBACK, at="1970-01-01T00:00:00Z"), "before 2000; a clock is wrong"),
    "2099": (told(FEEDBACK, at="2099-01-01T00:00:00Z"), "more than a day ahead of its arrival; a clock is wrong"),
    "no time": (told(TURN, at="yesterday"), "at is 'yesterday': not an ISO 8601 timestamp"),
    "a comment of 1 MB": (told(FEEDBACK, comment="a" * 2**20), "comment has 1,048,576 characters; it may have 10,000"),
    "a long tenant": (told(TURN, tenant="a" * 513), "tenant has 513 characters"),
    "no id": (told(TURN, id=""), "id has 0 characters"),
    "a NUL": (told(TURN, model="a\x00"), "model has a NUL character"),
    "a rating of another scale": (told(FEEDBACK, rating=5), "rating is 5, must be one of thumbs: -1, 1"),
    "no scale": (told(FEEDBACK, scale="points"), "scale"),
    "many citations": (told(TURN, citations=TURN["citations"] * 1001), "citations are 1,001"),
}


@pytest.mark.parametrize(("value", "reason"), WRONG.values(), ids=WRONG)
def test_what_is_refused(value: bytes | None, reason: str) -> None:
    with pytest.raises(DecodeError) as refused:
        read(value)
    assert reason in str(refused.value)
    assert len(str(refused.value)) <= 1_000


def test_of_two_fields_of_a_name_the_last_counts() -> None:
    assert read(told(FEEDBACK)[:-1] + b', "rating": -1}') == read(told(FEEDBACK, rating=-1))


@given(st.binary(max_size=200) | st.none())
def test_bytes(value: bytes | None) -> None:
    with pytest.raises(DecodeError):
        read(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([TURN, FEEDBACK]), st.data(), json_values)
def test_one_field_of_any_value(of: dict[str, Any], data: st.DataObject, value: Any) -> None:
    name = data.draw(st.sampled_from(sorted(of)))
    try:
        found = read(told(of, **{name: value}))
    except DecodeError as refused:
        assert str(refused)
        return
    assert EARLIEST_MS <= at_ms(found) <= NOW_MS + AHEAD_MS
    message(found)
