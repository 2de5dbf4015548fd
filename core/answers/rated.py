"""A turn with the rating that counts: what is remembered of one answer, and what its turn's row becomes.

An answer is known by its tenant and its id, so feedback that another tenant brings is of an answer that nobody gave.

The order of events decides nothing, nor does it that one comes twice: of several turns of an answer, and of several
ratings, the one of the latest `at` counts, and of those the one whose content is greater. A rating counts that was
given no longer behind the turn than `late` says, by both their own times: so whoever counts all events at once comes
to the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from core.errors import DecodeError, RatingError
from core.formats.conversations import Feedback, Turn, at_ms

MOST_WAITING = 16
"""Ratings that are remembered of an answer whose turn hasn't come."""


class Heard(msgspec.Struct, frozen=True):
    """A turn or a rating, and how its text sounds: -1 to 1, None where nobody says; `event` is as it came, encoded."""

    said: Turn | Feedback
    sentiment: float | None
    event: bytes


class Answer(msgspec.Struct, frozen=True):
    """What is remembered of an answer: its turn, once it has come, and ratings: then the one that counts alone.

    until_ms  how long, in milliseconds since 1970 by the log's clock
    """

    turn: Heard | None = None
    ratings: tuple[Heard, ...] = ()
    until_ms: int = 0


@dataclass(frozen=True, slots=True)
class Rated:
    """A turn and the rating of it that counts, as the view `turns` has them."""

    turn: Turn
    sentiment: float | None
    rating: Feedback | None
    comment_sentiment: float | None


@dataclass(frozen=True, slots=True)
class Refused:
    """An event that counts for nothing, encoded, and why."""

    event: bytes
    error: RatingError


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Answer).decode
_VERSION = b"\x01"


def answer_to_bytes(answer: Answer) -> bytes:
    """For Flink's state."""
    return _VERSION + _encode(answer)


def answer_from_bytes(raw: bytes) -> Answer:
    """What `answer_to_bytes` made."""
    return _decode(raw[1:])


def key_of(said: Turn | Feedback) -> str:
    """What an answer is known by."""
    return f"{said.tenant}\x00{said.id}"


def refuse_late(said: Turn | Feedback, arrived_ms: int, latest_ms: int, late: str) -> None:
    """Raise DecodeError of what was written more than `latest_ms` behind its own time; `late` as the file says it."""
    if (behind_ms := arrived_ms - at_ms(said)) > latest_ms:
        raise DecodeError(
            f"it happened at {said.at} and was written {behind_ms // 1000:,} s later; feedback.late is {late}"
        )


def step(before: Answer, heard: Heard, arrived_ms: int, late_ms: int) -> tuple[Answer, tuple[Refused, ...]]:
    """What is remembered behind an event, and the ratings that count for nothing by now.

    arrived_ms  when the event was written, in milliseconds since 1970 by the log's clock
    late_ms     how long behind a turn a rating of it counts
    """
    is_first = before.turn is None and (isinstance(heard.said, Turn) or not before.ratings)
    until_ms = max(before.until_ms, arrived_ms + late_ms) if is_first else before.until_ms
    turn = before.turn
    if isinstance(heard.said, Turn):
        turn = heard if before.turn is None else max(before.turn, heard, key=_order)
        waiting = before.ratings
    else:
        waiting = (*(each for each in before.ratings if each.said != heard.said), heard)
    if turn is None:
        kept = tuple(sorted(waiting, key=_order)[-MOST_WAITING:])
        over = (each for each in waiting if each not in kept)
        why = f"{MOST_WAITING} later ratings wait for the same answer, which hasn't come"
        return Answer(None, kept, until_ms), tuple(Refused(each.event, RatingError(why)) for each in over)
    asked_ms = at_ms(turn.said)
    in_time = [each for each in waiting if at_ms(each.said) <= asked_ms + late_ms]
    late = (each for each in waiting if at_ms(each.said) > asked_ms + late_ms)
    counted = max(in_time, key=_order, default=None)
    refused = tuple(Refused(each.event, _too_late(each.said, turn.said)) for each in late)
    return Answer(turn, () if counted is None else (counted,), until_ms), refused


def rated(answer: Answer) -> Rated | None:
    """The row of the turn; None where it hasn't come."""
    if answer.turn is None or not isinstance(answer.turn.said, Turn):
        return None
    found = Rated(answer.turn.said, answer.turn.sentiment, None, None)
    for each in answer.ratings:
        if isinstance(each.said, Feedback):
            found = replace(found, rating=each.said, comment_sentiment=each.sentiment)
    return found


def of_nobody(answer: Answer, waited: str) -> Sequence[Refused]:
    """The ratings of an answer that was waited for in vain, `waited` being how long, as the file says it."""
    if answer.turn is not None:
        return ()
    why = f"no turn of this tenant and id came within {waited}: it is of no answer, or another tenant's"
    return [Refused(each.event, RatingError(why)) for each in answer.ratings]


def _order(heard: Heard) -> tuple[int, bytes]:
    return at_ms(heard.said), _encode(heard.said)


def _too_late(rating: Turn | Feedback, turn: Turn | Feedback) -> RatingError:
    return RatingError(f"it was given at {rating.at}, and the turn is of {turn.at}: later than feedback.late says")
