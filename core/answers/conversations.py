"""What is told of conversations: their turns, and what people think of answers. Each is a JSON object, an event.

Turns and feedback share a topic or a stream, keyed by conversation: so those of one conversation are in their order.
Feedback may come late, and again: of an answer's the last one counts. No event has a key, or what a key sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

Scale = Literal["thumbs", "stars"]
RATINGS: Mapping[Scale, tuple[int, ...]] = {"thumbs": (-1, 1), "stars": (1, 2, 3, 4, 5)}
"""What a rating may be, by its scale."""


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
