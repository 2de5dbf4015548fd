"""Whatever the order of events, and however often they come, an answer comes to what all of them at once come to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack

from core.answers.rated import (
    MOST_WAITING,
    Answer,
    Heard,
    Rated,
    Refused,
    answer_from_bytes,
    answer_to_bytes,
    key_of,
    of_nobody,
    rated,
    step,
)
from core.formats.conversations import Feedback, Latency, Turn

LATE_S = 60
BEGIN = datetime(2026, 12, 1, tzinfo=UTC)


def at(second: int) -> str:
    return (BEGIN + timedelta(seconds=second)).isoformat()


def turn(second: int = 0, answer: str = "Yes.") -> Heard:
    took = Latency(1.0, 2.0, 3.0)
    said = Turn("a1", "c1", 1, at(second), "shop", None, "Why?", answer, "m", 5, 2, "stop", took, (), {})
    return Heard(said, 0.5, b"turn")


def rating(second: int, value: int = 1, comment: str | None = None) -> Heard:
    said = Feedback("a1", "c1", at(second), "shop", value, "stars", comment)
    return Heard(said, None if comment is None else -0.5, f"{second} {value} {comment}".encode())


@dataclass(frozen=True)
class End:
    row: Rated | None
    refused: list[bytes]


def told(events: list[Heard]) -> End:
    answer, refused = Answer(), list[Refused]()
    for each in events:
        answer, more = step(answer_from_bytes(answer_to_bytes(answer)), each, 0, LATE_S * 1000)
        refused += more
    return End(rated(answer), sorted(each.event for each in (*refused, *of_nobody(answer, "1 h"))))


ratings = st.lists(
    st.builds(rating, st.integers(-10, 2 * LATE_S), st.integers(1, 5), st.sampled_from([None, "good", "bad"])),
    max_size=MOST_WAITING // 2,
)


@given(ratings, st.lists(st.builds(turn, st.just(0), st.sampled_from(["Yes.", "No."])), max_size=2), st.data())
def test_the_order_decides_nothing_and_a_repetition_neither(
    said: list[Heard], turns: list[Heard], data: st.DataObject
) -> None:
    events = data.draw(st.permutations([*said, *turns, *data.draw(st.permutations([*said, *turns]))]))
    end = told(events)
    in_time = [each for each in said if each.said.at <= at(LATE_S)]
    best = max(in_time, key=lambda each: (each.said.at, _content(each.said)), default=None)
    if not turns:
        assert end.row is None
        assert sorted(set(end.refused)) == sorted({each.event for each in said})
        return
    first = max(turns, key=lambda each: _content(each.said))
    assert end.row is not None and (end.row.turn, end.row.sentiment) == (first.said, 0.5)
    assert end.row.rating == (None if best is None else best.said)
    assert end.row.comment_sentiment == (None if best is None else best.sentiment)
    assert set(end.refused) == {each.event for each in said if each not in in_time}


def _content(said: Turn | Feedback) -> bytes:
    return msgpack.encode(said)


def test_another_tenants_rating_is_of_another_answer() -> None:
    theirs = Feedback("a1", "c1", at(1), "other", 1, "stars", None)
    assert key_of(theirs) != key_of(turn().said)


def test_ratings_that_wait_for_no_turn_are_bounded() -> None:
    many = [rating(second) for second in range(MOST_WAITING + 3)]
    answer = Answer()
    refused = []
    for each in many:
        answer, more = step(answer, each, 0, LATE_S * 1000)
        refused += [each.event for each in more]
    assert len(answer.ratings) == MOST_WAITING
    assert refused == [each.event for each in many[:3]]


def test_a_rating_that_is_too_late_says_so() -> None:
    _, refused = step(step(Answer(), turn(), 0, LATE_S * 1000)[0], rating(LATE_S + 1), 0, LATE_S * 1000)
    assert [str(each.error) for each in refused] == [
        "it was given at 2026-12-01T00:01:01+00:00, and the turn is of 2026-12-01T00:00:00+00:00: "
        "later than feedback.late says"
    ]
    assert of_nobody(Answer(turn()), "1 h") == ()
