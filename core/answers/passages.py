"""Chunks that a search found, joined to passages where they are neighbours, and quoted so that none can pass for more.

What documents say is others' words, put between ours. So each line of it begins with a bar, whatever it says: no text
can end its own quotation, as it has no line without one. That is the marking of "Defending Against Indirect Prompt
Injection Attacks With Spotlighting" (Hines et al., 2024), a line at a time.

Nor can it end the message that it stands in. Servers of models read the marks of turns, such as `<|im_end|>`, as their
own tokens wherever they stand in a message. So in others' words a space breaks them, which makes a text of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise

from core.stores.contract import Hit

QUOTED = "| "
"""What each line of others' words begins with; of an empty line its bar alone."""

_REMEMBERED = 1_024
_TURNS = re.compile(
    r"<(?=[|\uff5c]|/?(?:s|bos|eos|start_of_turn|end_of_turn)>|</?SYS>>)|\[(?=/?(?:INST|SYSTEM_PROMPT)\])"
)
"""What begins a mark of chat templates: ChatML's, Llama's, Mistral's, Gemma's, DeepSeek's."""


@dataclass(frozen=True, slots=True)
class Found:
    """A chunk that a search found. `rank` counts from 0, the best."""

    rank: int
    index: str
    hit: Hit

    @property
    def document(self) -> tuple[str, str]:
        """The index, and the document's id."""
        return self.index, self.hit.document_id


@dataclass(frozen=True, slots=True)
class Passage:
    """Neighbouring chunks of one document as one text. `chunks` are in the document's order."""

    chunks: tuple[Found, ...]
    text: str

    @property
    def best(self) -> Found:
        """The chunk that answers best."""
        return min(self.chunks, key=lambda each: each.rank)


def of_one_version(found: Sequence[Found]) -> list[Found]:
    """What was found, of each document only the chunks of its latest change, each once.

    Two rankings of one search may see a document before and after a change. Where a store can't tell of a chunk which
    change it shows, it stays.
    """
    latest: dict[tuple[str, str], str] = {}
    for each in found:
        if each.hit.stood is not None:
            latest[each.document] = max(latest.get(each.document, ""), each.hit.stood.position)
    seen: set[tuple[str, str, int]] = set()
    kept = []
    for each in found:
        stood, place = each.hit.stood, (*each.document, each.hit.ordinal)
        if place in seen or (stood is not None and stood.position != latest[each.document]):
            continue
        seen.add(place)
        kept.append(each)
    return kept


def passages(chunks: Iterable[Found], overlapping: Collection[str]) -> list[Passage]:
    """Chunks joined to passages where they are neighbours in one document, the passage of the best chunk first.

    overlapping  the indexes whose chunks may repeat the end of the one before
    """
    ordered = sorted(chunks, key=lambda each: (*each.document, each.hit.ordinal))
    # the n-th of a document's chunks in a row of neighbours has an ordinal that is n more than the first's
    rows = groupby(enumerate(ordered), key=lambda pair: (*pair[1].document, pair[1].hit.ordinal - pair[0]))
    made = [_passage([each for _, each in row], overlapping) for _, row in rows]
    return sorted(made, key=lambda each: each.best.rank)


def _passage(chunks: Sequence[Found], overlapping: Collection[str]) -> Passage:
    text = chunks[0].hit.text
    for before, each in pairwise(chunks):
        text += beyond(before, each, overlapping)
    return Passage(tuple(chunks), text)


def beyond(before: Found, each: Found, overlapping: Collection[str]) -> str:
    """What a chunk has of text that its neighbour before it has not."""
    # a chunk begins where the one before ends, or earlier, but behind its begin (core.documents.chunking)
    return each.hit.text[overlap(before.hit.text, each.hit.text) if each.index in overlapping else 0 :]


@lru_cache(_REMEMBERED)
def overlap(before: str, after: str) -> int:
    """The characters that `after` repeats: the longest end of `before` that it begins with.

    By the failure function of Knuth, Morris and Pratt (1977), so in time linear in both. Where a text repeats itself
    right there, it may be one repetition more than was cut twice.
    """
    longest = min(len(before), len(after))
    start, end = after[:longest], before[len(before) - longest :]
    failure = [0] * longest
    matched = 0
    for at in range(1, longest):
        while matched and start[at] != start[matched]:
            matched = failure[matched - 1]
        matched += start[at] == start[matched]
        failure[at] = matched
    matched = 0
    for letter in end:
        while matched and (matched == longest or letter != start[matched]):
            matched = failure[matched - 1]
        matched += matched < longest and letter == start[matched]
    return matched


def quoted(text: str) -> str:
    """Others' words, each line behind a bar. Lines end where any reader may see an end (`str.splitlines`)."""
    return "\n".join(QUOTED + line if line.strip() else QUOTED.strip() for line in inert(text).splitlines() or [""])


def inert(text: str) -> str:
    """Others' words with the marks of chat templates broken by a space."""
    return _TURNS.sub(r"\g<0> ", text)
