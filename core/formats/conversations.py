"""What is told of conversations: their turns, and what people think of answers. Each is a JSON object, an event.

Turns and feedback share a topic or a stream, keyed by conversation: so those of one conversation are in their order.
Feedback may come late, and again: of an answer's the last one counts. No event has a key, or what a key sees.

`freshet serve` writes them; `decode` reads what may have been written by anybody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from core.change import Event as Delivered
from core.errors import DecodeError, brief, quote
from core.formats.timestamps import nanoseconds

Scale = Literal["thumbs", "stars"]
RATINGS: Mapping[Scale, tuple[int, ...]] = {"thumbs": (-1, 1), "stars": (1, 2, 3, 4, 5)}
"""What a rating may be, by its scale."""

LONGEST_COMMENT = 10_000
"""Characters of a comment, as `freshet serve` takes them."""

LONGEST_NAME = 512
"""Characters of an id, a conversation, a tenant and so on: what rows are grouped by has to fit a database's index."""

MOST_CITED = 1_000
EARLIEST_MS = 946_684_800_000
"""The year 2000: what is before it comes of a clock that was never set."""

AHEAD_MS = 86_400_000
"""How much later than its arrival an event may say that it happened."""

_LARGEST = 2**31 - 1
_BOM = b"\xef\xbb\xbf"


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds from a request's begin until its passages were found, its first token came, and all of it had.

    None: it never came.
    """

    retrieve: float
    first_token: float | None
    total: float | None


class Cited(msgspec.Struct, frozen=True):
    """A chunk that a prompt had: its document's position is of the change that it shows, where that is known."""

    index: str
    document_id: str
    ordinal: int
    position: str | None
    score: float


class Turn(msgspec.Struct, frozen=True, tag="turn", tag_field="event"):
    """A question and its answer.

    id             the answer's, by which feedback names it
    conversation   the client's name for it, or ours
    turn           the how many-th question of it
    at             when it was asked: RFC 3339, UTC
    tenant         whose key or token asked, by its name; "" where no key is needed
    customer       whom the question is of, as the client said it
    answer         as far as it came
    model          as it calls itself
    prompt_tokens  as the model says, else as they are counted here; answer_tokens too
    finish         how it ended: OpenAI's `finish_reason`, `error`, or `cancelled` where the client went away
    citations      the best first
    as_of          by index: up to when all changes were in what was searched; None where nobody knows
    """

    id: str
    conversation: str
    turn: int
    at: str
    tenant: str
    customer: str | None
    question: str
    answer: str
    model: str
    prompt_tokens: int
    answer_tokens: int
    finish: str
    latency_ms: Latency
    citations: tuple[Cited, ...]
    as_of: dict[str, str | None]


class Feedback(msgspec.Struct, frozen=True, tag="feedback", tag_field="event"):
    """What somebody thinks of an answer.

    id            the answer's
    conversation  where the client said it; the event's key then, else the id is
    tenant        whose key or token brought it
    rating        -1 or 1 of `thumbs`, 1 to 5 of `stars`
    """

    id: str
    conversation: str | None
    at: str
    tenant: str
    rating: int
    scale: Scale
    comment: str | None


Event = Turn | Feedback

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Turn | Feedback).decode


def message(event: Event) -> tuple[bytes, bytes]:
    """An event's key and value."""
    key = event.conversation or event.id
    return key.encode("utf-8", "replace"), _encode(event)


def event(value: bytes) -> Event:
    """The event of a message. Raises msgspec.MsgspecError where it is none."""
    found: Event = _decode(value)
    return found


def scale_of(rating: int, scale: Scale | None) -> Scale | None:
    """The scale of a rating: the one that is said, else thumbs where it may be one; None where it fits none."""
    either: tuple[Scale, ...] = ("thumbs", "stars") if scale is None else (scale,)
    return next((each for each in either if rating in RATINGS[each]), None)


def at_ms(event: Event) -> int:
    """When it happened, in milliseconds since 1970. Raises ValueError where its `at` is no time of ISO 8601."""
    return nanoseconds(event.at) // 1_000_000


def decode(delivered: Delivered, arrived_ms: int) -> Event:
    """The turn or the feedback of a message, whoever wrote it.

    arrived_ms  when it was written to its log, in milliseconds since 1970, by that one's clock

    Raises DecodeError where its bytes are none, where a time is before 2000 or more than a day ahead of its arrival,
    where a name, a comment or a number is beyond its limit, or a rating is none of its scale.
    """
    value = delivered.value
    if value is None:
        raise DecodeError("the event has no value: a turn or feedback is a JSON object")
    try:
        found = event(value.removeprefix(_BOM))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"the event is no turn and no feedback: {brief(error)}") from None
    _check_time(found, arrived_ms)
    for name, text in _names(found):
        if not 0 < len(text) <= LONGEST_NAME and not (name in _MAY_BE_EMPTY and not text):
            raise DecodeError(f"{name} has {len(text):,} characters; it may have 1 to {LONGEST_NAME}")
        if "\x00" in text:
            raise DecodeError(f"{name} has a NUL character, which no database's index takes")
    if isinstance(found, Feedback):
        _check_feedback(found)
    else:
        _check_turn(found)
    return found


_MAY_BE_EMPTY = frozenset({"tenant", "customer", "conversation", "model", "finish"})


def _names(found: Event) -> Iterator[tuple[str, str]]:
    yield from (("id", found.id), ("conversation", found.conversation or ""), ("tenant", found.tenant))
    if isinstance(found, Turn):
        yield from (("customer", found.customer or ""), ("model", found.model), ("finish", found.finish))


def _check_time(found: Event, arrived_ms: int) -> None:
    try:
        happened_ms = at_ms(found)
    except ValueError as error:
        raise DecodeError(f"at is {quote(found.at)}: {error}") from None
    if happened_ms < EARLIEST_MS:
        raise DecodeError(f"at is {quote(found.at)}, before 2000; a clock is wrong")
    if happened_ms > arrived_ms + AHEAD_MS:
        raise DecodeError(f"at is {quote(found.at)}, more than a day ahead of its arrival; a clock is wrong")


def _check_feedback(found: Feedback) -> None:
    if found.rating not in RATINGS[found.scale]:
        there = ", ".join(map(str, RATINGS[found.scale]))
        raise DecodeError(f"rating is {quote(found.rating)}, must be one of {found.scale}: {there}")
    if found.comment is not None and len(found.comment) > LONGEST_COMMENT:
        raise DecodeError(f"comment has {len(found.comment):,} characters; it may have {LONGEST_COMMENT:,}")


def _check_turn(found: Turn) -> None:
    for name, count in (
        ("turn", found.turn),
        ("prompt_tokens", found.prompt_tokens),
        ("answer_tokens", found.answer_tokens),
    ):
        if not 0 <= count <= _LARGEST:
            raise DecodeError(f"{name} is {quote(count)}, must be 0 to {_LARGEST:,}")
    for name in found.latency_ms.__struct_fields__:
        took = getattr(found.latency_ms, name)
        if took is not None and not 0 <= took <= _LARGEST:
            raise DecodeError(f"latency_ms.{name} is {quote(took)}, must be 0 to {_LARGEST:,}")
    if len(found.citations) > MOST_CITED:
        raise DecodeError(f"citations are {len(found.citations):,}; there may be {MOST_CITED:,}")
