"""Texts cut into chunks that fit a model, so that an edit re-cuts only the chunks around it.

A text is cut as content-defined chunking cuts files: a chunk may end anywhere in a window of sizes, and where it
does is decided by the text around the place, not by its distance from the start. After an insertion the cuts
fall back on the old ones within a chunk or two, and the chunks behind keep their text, their id and their vector.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from operator import sub
from zlib import crc32

from core.documents.graphemes import Whole, whole
from core.documents.step import Chunker
from core.errors import ConfigError

Starts = Callable[[str], Sequence[int]]
"""Where each of a text's tokens starts, as offsets in characters, in order."""

Ranges = Callable[[str, Sequence[int], int, int], list[tuple[int, int]]]
"""Where the chunks of a text begin and end, of the text, its tokens, the most tokens a chunk has and the overlap."""

_ALGORITHM = "cdc1"
LEAST_FILL = 0.4
SHORTEST_REST = 0.1
_WIDEST_TOKEN = 64
_CHARACTERS_A_TOKEN = 4
_CONTEXT = 24

_PARAGRAPHS = re.compile(r"\n[ \t\r]*\n\s*")
# All it may begin with is in front: a search for one of some characters is a third as long as one for three patterns.
_SENTENCES = re.compile(r"[.!?…。！？\n](?:(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])|(?<=\n)\s*)")
_WORDS = re.compile(r"\s+")
LEVELS = (_PARAGRAPHS, _SENTENCES, _WORDS)


def chunker(tokenizer: str, starts: Starts, tokens: int, overlap: int) -> Chunker:
    """A chunker whose chunks are exact substrings, cover the text in order, and hold at most `tokens` tokens each.

    `tokenizer` names what `starts` does: another name is another chunker. Tokens are counted in the text as a whole,
    the overlap included: a chunk after the first starts at a sentence or word up to `overlap` tokens before
    the end of the one before. (A tokenizer may count a few more in a chunk alone, where it starts or ends
    inside a word.) What has no tokens to speak of, such as base64 or a gap of 5 MB, counts as a token every
    4 characters. Chunks end at paragraphs where they can, else at sentences, else at words, and never within what is
    read as one character (an emoji of several, a letter and its marks), unless that alone has more tokens.

    Raises ConfigError unless 0 <= overlap < tokens.
    """
    return cutting(_ALGORITHM, ranges, tokenizer, starts, tokens, overlap)


def cutting(algorithm: str, cut: Ranges, tokenizer: str, starts: Starts, tokens: int, overlap: int) -> Chunker:
    """A chunker by its rule. Raises ConfigError unless 0 <= overlap < tokens."""
    if not 0 <= overlap < tokens:
        raise ConfigError(
            [f"chunk: tokens is {tokens} and overlap {overlap}; overlap must be 0 or more and less than tokens"]
        )
    return Chunker(f"{algorithm}:{tokenizer}:{tokens}:{overlap}", lambda text: cut(text, starts(text), tokens, overlap))


def ranges(text: str, starts: Sequence[int], tokens: int, overlap: int) -> list[tuple[int, int]]:
    """Where the chunks of a text begin and end, in characters, by where its tokens start. See `chunker`."""
    starts = none_wide(starts, len(text))
    if len(starts) <= tokens:
        return [(0, len(text))]
    stays = whole(text)
    cuts = list(_cuts(text, starts, tokens - overlap, stays))
    earliest = [max(previous + 1, cut - overlap) for previous, cut in pairwise([0, *cuts])]
    begins = [0, *(overlap_start(text, starts, first, cut, stays) for first, cut in zip(earliest, cuts, strict=True))]
    return list(zip(begins, [*(starts[cut] for cut in cuts), len(text)], strict=True))


def none_wide(starts: Sequence[int], length: int) -> Sequence[int]:
    """Where tokens start, the first at 0; what lies between two starts goes with the first, or counts as several."""
    starts = starts if starts and starts[0] == 0 else [0, *starts[1:]]
    ends = [*starts[1:], length]
    if max(map(sub, ends, starts)) <= _WIDEST_TOKEN:
        return starts
    widths = list(map(sub, ends, starts))
    return [
        place
        for start, width in zip(starts, widths, strict=True)
        for place in (range(start, start + width, _CHARACTERS_A_TOKEN) if width > _WIDEST_TOKEN else (start,))
    ]


def _cuts(text: str, starts: Sequence[int], budget: int, stays: Whole) -> Iterator[int]:
    """The tokens before which the text is cut, at most `budget` apart."""
    least, rest = max(1, int(budget * LEAST_FILL)), int(budget * SHORTEST_REST)
    cut = 0
    while cut + budget < len(starts):
        last = max(cut + 1, min(cut + budget, len(starts) - rest))
        cut = _best_cut(text, starts, cut, min(cut + least, last), last, stays)
        if cut < len(starts):
            yield cut


def _best_cut(text: str, starts: Sequence[int], before: int, first: int, last: int, stays: Whole) -> int:
    """The cut from `first` to `last`: of the best kind there is, the one with the least hash of what follows it."""
    for pattern in LEVELS:
        found = least_whole(text, starts, places_of(pattern, text, starts, first, last), stays)
        if found is not None:
            return found
    return anywhere(text, starts, before, first, last, stays)


def least_whole(text: str, starts: Sequence[int], places: Sequence[int], stays: Whole) -> int | None:
    """As `least_hash`, of the places that part no character; None where there is none."""
    if not places:
        return None
    least = least_hash(text, starts, places)
    if least == len(starts) or stays(starts[least]):
        return least
    kept = [place for place in places if stays(starts[place])]
    return least_hash(text, starts, kept) if kept else None


def anywhere(text: str, starts: Sequence[int], before: int, first: int, last: int, stays: Whole) -> int:
    """A cut between characters: from `first` to `last`, else the nearest one behind `before`, else within one."""
    places = between_characters(starts, first, last)
    found = least_whole(text, starts, places, stays)
    if found is not None:
        return found
    earlier = (place for place in range(first - 1, before, -1) if starts[place] > starts[place - 1])
    nearest = next((place for place in earlier if stays(starts[place])), None)
    return least_hash(text, starts, places) if nearest is None else nearest


def between_characters(starts: Sequence[int], first: int, last: int) -> list[int]:
    """The tokens from `first` to `last` that start a character: an emoji can be several tokens."""
    places = [place for place in range(first, last + 1) if starts[place] > starts[place - 1]]
    return places or [bisect_right(starts, starts[last])]


def least_hash(text: str, starts: Sequence[int], places: Sequence[int]) -> int:
    """The place at which the next 24 characters have the least hash; the last of several.

    One place alone may lie behind the last token.
    """
    if len(places) == 1:
        return places[0]
    offsets = [starts[place] for place in places]
    if text.isascii():
        # a character is a byte: all places are encoded at once
        base = min(offsets)
        window = text[base : max(offsets) + _CONTEXT].encode()
        hashes = [crc32(window[offset - base : offset - base + _CONTEXT]) for offset in offsets]
    else:
        hashes = [crc32(text[offset : offset + _CONTEXT].encode("utf-8", "surrogatepass")) for offset in offsets]
    least = min(hashes)
    return max(place for place, value in zip(places, hashes, strict=True) if value == least)


def places_of(pattern: re.Pattern[str], text: str, starts: Sequence[int], first: int, last: int) -> list[int]:
    """The tokens from `first` to `last` that follow a match of `pattern`."""
    ends = [match.end() for match in pattern.finditer(text, starts[first - 1], starts[last])]
    return [place for place in tokens_at(text, starts, ends) if first <= place <= last]


def tokens_at(text: str, starts: Sequence[int], offsets: Sequence[int]) -> set[int]:
    """For each offset the first token at or after it, or the one that starts with the whitespace before it."""
    # one comprehension, for it runs for every word of a long paragraph
    count = len(starts)
    return {
        at
        if (at < count and starts[at] == offset) or not text[start:offset].isspace()
        else bisect_left(starts, start, 0, at)
        for offset in offsets
        for at in (bisect_left(starts, offset),)
        for start in (starts[at - 1],)
    }


def overlap_start(text: str, starts: Sequence[int], first: int, cut: int, stays: Whole) -> int:
    """The offset, from that of token `first` on, at which the chunk behind `cut` starts."""
    for pattern in (_SENTENCES, _WORDS):
        places = sorted(places_of(pattern, text, starts, first, cut - 1))
        found = next((starts[place] for place in places if stays(starts[place])), None)
        if found is not None:
            return found
    offsets = [starts[place] for place in between_characters(starts, first, cut)]
    return next(filter(stays, offsets), offsets[0])
