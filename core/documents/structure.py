"""Texts cut into chunks along their structure: a heading stays with the text under it.

The rule of `chunking` with other places to cut at: before a heading where there is one, the highest first, else at
paragraphs, sentences and words, and never within a heading or right behind it. Which place is taken is again decided by
the text around it alone, so an edit re-cuts only the chunks near it.

Headings are Markdown's (`#` to `######`, and lines underlined with `=` or `-`), which HTML is turned into when it is
read. A line of `#` in a fenced block of code counts too: it costs a better cut, and nothing else.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise

from core.documents.chunking import (
    LEAST_FILL,
    LEVELS,
    SHORTEST_REST,
    Starts,
    anywhere,
    between_characters,
    cutting,
    least_whole,
    none_wide,
    overlap_start,
    places_of,
    tokens_at,
)
from core.documents.graphemes import Whole, whole
from core.documents.step import Chunker

_ALGORITHM = "structure1"
_HEADING = re.compile(r"^(?:(#{1,6})[ \t]+\S|[^\s#][^\n]*\n(=+|-{3,})[ \t]*$)", re.MULTILINE)
_INK = re.compile(r"\S")
_LOWEST = 7


def structured(tokenizer: str, starts: Starts, tokens: int, overlap: int) -> Chunker:
    """A chunker as `chunker`, with the same promises, which also keeps headings with their text.

    A chunk ends with a heading only where the heading alone is longer than the window in which a cut may lie.
    A chunk that starts at a heading has no overlap with the one before: what it would repeat is another section's.
    Raises ConfigError unless 0 <= overlap < tokens.
    """
    return cutting(_ALGORITHM, ranges, tokenizer, starts, tokens, overlap)


def ranges(text: str, starts: Sequence[int], tokens: int, overlap: int) -> list[tuple[int, int]]:
    """Where the chunks of a text begin and end, in characters, by where its tokens start. See `structured`."""
    starts = none_wide(starts, len(text))
    if len(starts) <= tokens:
        return [(0, len(text))]
    headings = _headings(text, starts)
    stays = whole(text)
    cuts = list(_cuts(text, starts, tokens - overlap, headings, stays))
    begins = [0]
    for previous, cut in pairwise([0, *cuts]):
        if cut in headings.before:
            begins.append(starts[cut])
        else:
            begins.append(_overlap_start(text, starts, max(previous + 1, cut - overlap), cut, headings, stays))
    return list(zip(begins, [*(starts[cut] for cut in cuts), len(text)], strict=True))


def _overlap_start(text: str, starts: Sequence[int], first: int, cut: int, headings: _Headings, stays: Whole) -> int:
    """As `core.documents.chunking.overlap_start`, but not within a heading; where there is nothing else, at the cut."""
    while first < cut:
        begin = overlap_start(text, starts, first, cut, stays)
        place = bisect_left(starts, begin)
        if place not in headings.within:
            return begin
        first = place + 1
    return starts[cut]


class _Headings:
    """Where a text's headings are.

    before  the token at which a heading starts, to its level (1 is the highest)
    within  tokens that are inside a heading, or the first behind it: no chunk starts there
    """

    def __init__(self) -> None:
        self.before: dict[int, int] = {}
        self.within: set[int] = set()


def _headings(text: str, starts: Sequence[int]) -> _Headings:
    found = _Headings()
    for match in _HEADING.finditer(text):
        (first,) = tokens_at(text, starts, [match.start()])
        line_end = text.find("\n", match.end())
        (behind,) = tokens_at(text, starts, [_content(text, len(text) if line_end < 0 else line_end)])
        level = len(match[1]) if match[1] else 1 if match[2].startswith("=") else 2
        if first not in found.within:  # a heading right behind a heading belongs to it
            found.before[first] = level
        found.within.update(range(first + 1, behind + 1))
    return found


def _content(text: str, offset: int) -> int:
    """The first place from `offset` on that is no whitespace."""
    found = _INK.search(text, offset)
    return len(text) if found is None else found.start()


def _cuts(text: str, starts: Sequence[int], budget: int, headings: _Headings, stays: Whole) -> Iterator[int]:
    """The tokens before which the text is cut, at most `budget` apart."""
    least, rest = max(1, int(budget * LEAST_FILL)), int(budget * SHORTEST_REST)
    cut = 0
    while cut + budget < len(starts):
        last = max(cut + 1, min(cut + budget, len(starts) - rest))
        cut = _best_cut(text, starts, cut, min(cut + least, last), last, headings, stays)
        if cut < len(starts):
            yield cut


def _best_cut(
    text: str, starts: Sequence[int], before: int, first: int, last: int, headings: _Headings, stays: Whole
) -> int:
    levels = [(headings.before.get(place, _LOWEST), place) for place in range(first, last + 1)]
    highest = min(level for level, _ in levels)
    if highest < _LOWEST:
        found = least_whole(text, starts, [place for level, place in levels if level == highest], stays)
        if found is not None:
            return found
    for pattern in LEVELS:
        places = [place for place in places_of(pattern, text, starts, first, last) if place not in headings.within]
        found = least_whole(text, starts, places, stays)
        if found is not None:
            return found
    kept = [place for place in between_characters(starts, first, last) if place not in headings.within]
    found = least_whole(text, starts, kept, stays)
    return anywhere(text, starts, before, first, last, stays) if found is None else found
