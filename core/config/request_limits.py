"""How many texts go into one request to an endpoint that embeds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_BYTES_A_TOKEN = 2
_AROUND_A_TEXT = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a request may hold; None: no limit. One text that is beyond them goes alone.

    tokens  as `tokens_of` estimates them
    bytes   of the texts in UTF-8, with some for what stands around them
    """

    texts: int
    tokens: int | None = None
    bytes: int | None = None


def bytes_of(text: str) -> int:
    """The bytes that a text takes in a request's body, as JSON writes it; rare control characters take more."""
    escaped = sum(text.count(character) for character in '\n"\\\t\r')
    return _utf8(text) + escaped + _AROUND_A_TEXT


def tokens_of(text: str) -> int:
    """About the tokens of a text, rather too many: prose has four bytes and more a token, code and numbers two."""
    return max(1, _utf8(text) // _BYTES_A_TOKEN)


def _utf8(text: str) -> int:
    # a lone surrogate is for the embedder to refuse
    return len(text.encode("utf-8", "replace"))


def requests(texts: Sequence[str], limits: Limits, aim: int | None = None) -> list[list[int]]:
    """The places of the texts, request by request, within the limits, the longest texts first.

    aim  estimated tokens at which a request is full although it may hold more: several small ones are under way at
         once, where one large one waits for itself

    Texts of like length come together, so that a server which pads them to the longest pads little.
    """
    sizes = [(tokens_of(text), bytes_of(text)) for text in texts]
    most = min((each for each in (limits.tokens, aim) if each is not None), default=None)
    found: list[list[int]] = []
    tokens = space = 0
    for place in sorted(range(len(texts)), key=lambda place: (-sizes[place][0], place)):
        more_tokens, more_space = sizes[place]
        tokens, space = tokens + more_tokens, space + more_space
        if (
            not found
            or len(found[-1]) >= limits.texts
            or (most is not None and tokens > most)
            or (limits.bytes is not None and space > limits.bytes)
        ):
            found.append([])
            tokens, space = more_tokens, more_space
        found[-1].append(place)
    return found
