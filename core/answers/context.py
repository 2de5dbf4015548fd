"""A prompt of what was found: the best passages that its budget has room for, each behind its mark."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from core.answers.passages import Found, Passage, beyond, inert, of_one_version, passages, quoted
from core.answers.template import Template
from core.errors import PromptTooLong, brief

_NO_PASSAGES = "(none)"
_NO_PROFILE = "(nothing)"
_BETWEEN = "\n\n"

_Place = tuple[str, str, int]
"""An index, a document's id and a chunk's ordinal."""

Size = Callable[[str], int]
"""How large a text is, in whatever a budget counts: characters, or a model's tokens."""


class Order(StrEnum):
    """In which order passages stand: models read the last and the first best, and the middle worst."""

    BEST_LAST = "best_last"
    BEST_FIRST = "best_first"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a whole prompt may have at most, and what counts that."""

    most: int
    size: Size


@dataclass(frozen=True, slots=True)
class Cited:
    """A passage of a prompt and its mark; 1 is the best."""

    mark: int
    passage: Passage


@dataclass(frozen=True, slots=True)
class Context:
    """A prompt and what it is made of.

    cited         its passages, the best first
    left_out      chunks that it has no room for, the best first
    with_profile  whether it has the profile, where one was given
    size          of the prompt, as the budget counts
    """

    prompt: str
    cited: tuple[Cited, ...]
    left_out: tuple[Found, ...]
    with_profile: bool
    size: int


def context(
    template: Template,
    question: str,
    profile: Mapping[str, Any] | None,
    found: Sequence[Found],
    budget: Budget,
    order: Order,
    overlapping: Collection[str],
) -> Context:
    """The prompt of a question, with as many of the chunks that were `found` as its budget has room for.

    The better ones come first: one for which no room is left is left out, and a later one that is smaller may have
    some. A profile's values come before any passage, or are left out where they alone are too much. Of `overlapping`
    see `passages`. Raises PromptTooLong where the question alone is.
    """
    writing = _Writing(template, question, order, overlapping, budget.size)
    bare = writing.fixed("")
    if bare > budget.most:
        raise PromptTooLong(bare, budget.most)
    known = "" if profile is None else _profile(profile)
    fixed = writing.fixed(known) if known else bare
    if fixed > budget.most:
        known, fixed = "", bare
    one = of_one_version(found)
    taken = _taken(one, writing, budget.most - fixed)
    prompt, cited = writing.whole(known, taken)
    # what is counted by parts may be a little less than the whole, where tokens begin in one and end in another
    while (size := budget.size(prompt)) > budget.most and (taken or known):
        known = known if taken else ""
        taken = taken[:-1]
        prompt, cited = writing.whole(known, taken)
    if size > budget.most:
        raise PromptTooLong(size, budget.most)
    inside = {each.rank for each in taken}
    left_out = tuple(each for each in one if each.rank not in inside)
    return Context(prompt, cited, left_out, known != "", size)


def _taken(found: Sequence[Found], writing: _Writing, room: int) -> list[Found]:
    """Those of the chunks that there is room for, best first."""
    taken: dict[_Place, Found] = {}
    for each in found:
        size = writing.added(each, taken)
        if size <= room:
            room -= size
            taken[*each.document, each.hit.ordinal] = each
    return list(taken.values())


@dataclass(frozen=True, slots=True)
class _Writing:
    """How a prompt is written, whatever stands in it."""

    template: Template
    question: str
    order: Order
    overlapping: Collection[str]
    size: Size

    def fixed(self, profile: str) -> int:
        """The size of a prompt without passages."""
        return self.size(self.whole(profile, ())[0])

    def added(self, found: Found, taken: Mapping[_Place, Found]) -> int:
        """What a chunk adds to a prompt of those that are taken: counted by itself, so that many take no longer."""
        before, after = (taken.get((*found.document, found.hit.ordinal + step)) for step in (-1, 1))
        passages = 1 - (before is not None) - (after is not None)
        size = passages * self._size({"passages": _BETWEEN, "sources": "\n"}, _source(999, found.document))
        size += self._of_text(before, found)
        return size if after is None else size + self._of_text(found, after) - self._of_text(None, after)

    def _of_text(self, before: Found | None, found: Found) -> int:
        text = found.hit.text if before is None else beyond(before, found, self.overlapping)
        return self._size({"passages": "\n"}, quoted(text))

    def _size(self, behind: Mapping[str, str], text: str) -> int:
        """The size of a text in each place of the template that has it, with what stands behind it there."""
        return sum(self.size(text + behind[name]) for name in self.template.names if name in behind)

    def whole(self, profile: str, taken: Sequence[Found]) -> tuple[str, tuple[Cited, ...]]:
        """The prompt with these chunks, and its passages, the best first."""
        cited = tuple(Cited(at, each) for at, each in enumerate(passages(taken, self.overlapping), start=1))
        ordered = cited[::-1] if self.order is Order.BEST_LAST else cited
        given = {
            "question": self.question,
            "profile": profile or _NO_PROFILE,
            "passages": _BETWEEN.join(map(_block, ordered)) or _NO_PASSAGES,
            "sources": "\n".join(_source(each.mark, each.passage.best.document) for each in cited) or _NO_PASSAGES,
        }
        return self.template.filled(given), cited


def _source(mark: int, document: tuple[str, str]) -> str:
    index, document_id = document
    return f"[{mark}] {index} {inert(brief(document_id))}"


def _block(cited: Cited) -> str:
    return f"{_source(cited.mark, cited.passage.best.document)}\n{quoted(cited.passage.text)}"


def _profile(values: Mapping[str, Any]) -> str:
    """A profile's values, each a line behind a bar."""
    lines = (f"{name}: {json.dumps(value, ensure_ascii=False, default=str)}" for name, value in values.items())
    return quoted("\n".join(" ".join(each.splitlines()) for each in lines))
