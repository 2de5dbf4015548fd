"""Real texts that every machine with Python has: its own language reference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pydoc_data.topics import topics

_HEADING = re.compile(r"(?P<title>.+)\n(?P<line>[*=\-~^\"])(?P=line){2,}")
_PARAGRAPHS = 8
"""Long sections are cut into articles of this many paragraphs."""


@dataclass(frozen=True, slots=True)
class Text:
    """An article: `id` counts from 1, paragraphs in order, without blank lines between or around them."""

    id: int
    title: str
    paragraphs: tuple[str, ...]

    @property
    def body(self) -> str:
        """The paragraphs with a blank line between."""
        return "\n\n".join(self.paragraphs)


@cache
def texts() -> tuple[Text, ...]:
    """The sections of Python's language reference, some 330 in English; the same for one version of Python."""
    articles = (article for name in sorted(topics) for article in _articles(name, topics[name]))
    distinct = dict.fromkeys(articles)  # some sections stand in several topics
    return tuple(Text(number, title, paragraphs) for number, (title, paragraphs) in enumerate(distinct, start=1))


def _articles(name: str, page: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for title, paragraphs in _sections(name, page):
        for start in range(0, len(paragraphs), _PARAGRAPHS):
            suffix = f" ({start // _PARAGRAPHS + 1})" if start else ""
            yield title + suffix, tuple(paragraphs[start : start + _PARAGRAPHS])


def _sections(name: str, page: str) -> Iterator[tuple[str, list[str]]]:
    title, paragraphs = name, list[str]()
    for block in re.split(r"\n\s*\n", page):
        heading = _HEADING.fullmatch(block.strip("\n"))
        if heading:
            yield title, paragraphs
            title, paragraphs = heading["title"], []
        elif block.strip():
            paragraphs.append(block.strip("\n"))
    yield title, paragraphs
