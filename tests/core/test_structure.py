"""The laws of `core.documents.chunking`, and that headings stay with their text."""

from __future__ import annotations

import pydoc_data.topics
import random
import re
from collections import Counter
from itertools import pairwise
from statistics import mean, median
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.documents.chunking import chunker
from core.documents.structure import ranges, structured
from core.errors import ConfigError

WORD = re.compile(r"\w+|[^\w\s]")
TOPICS = list(pydoc_data.topics.topics.values())
PIECES = [
    "word",
    "a",
    "One!",
    "\n",
    "\n\n",
    "\n# Top\n",
    "\n\n## Part one. Two\n\n",
    "\nTitle\n===\n",
    "漢字。",
    "#no",
    "\n#",
    "# ",
]
PROSE = st.lists(st.sampled_from(PIECES), max_size=300).map(" ".join)
ANYTHING = st.text(st.characters(exclude_categories=[]), max_size=300)


def words(text: str) -> list[int]:
    return [match.start() for match in WORD.finditer(text)]


def bytes_of(text: str) -> list[int]:
    return [at for at, character in enumerate(text) for _ in character.encode("utf-8", "surrogatepass")]


def split(text: str, tokens: int = 64, overlap: int = 8) -> list[str]:
    return [text[begin:end] for begin, end in structured("words", words, tokens, overlap).ranges(text)]


def sectioned(source: random.Random, sections: int = 30) -> str:
    """Sections of Markdown with prose of Python's own documentation."""
    paragraphs = [
        paragraph
        for topic in TOPICS
        for paragraph in topic.split("\n\n")
        if "\n=" not in paragraph and "#" not in paragraph and "--" not in paragraph
    ]
    parts = []
    for number in range(sections):
        level = "#" * source.choice([1, 2, 2, 3])
        parts.append(f"{level} Section {number}. About {source.choice(['this', 'that'])}")
        parts += source.sample(paragraphs, source.randint(1, 6))
    return "\n\n".join(parts)


@given(PROSE | ANYTHING, st.integers(1, 40), st.integers(0, 20))
def test_chunks_cover_the_text_in_order_within_the_budget(text: str, tokens: int, overlap: int) -> None:
    starts, overlap = words(text), min(overlap, tokens - 1)
    found = ranges(text, starts, tokens, overlap)
    assert found[0][0] == 0
    assert found[-1][1] == len(text)
    assert all(one[0] < two[0] <= one[1] < two[1] for one, two in pairwise(found))
    assert all(_tokens(starts, begin, end) <= tokens for begin, end in found)
    assert all(_tokens(starts, two[0], one[1]) <= overlap for one, two in pairwise(found))


def _tokens(starts: list[int], begin: int, end: int) -> int:
    return sum(begin <= start < end for start in starts)


@given(st.text(st.sampled_from("ab é😀漢# \n"), max_size=300), st.integers(16, 40))
def test_without_overlap_the_chunks_are_the_text_and_characters_stay_whole(text: str, tokens: int) -> None:
    chunks = [text[begin:end] for begin, end in structured("bytes", bytes_of, tokens, 0).ranges(text)]
    assert "".join(chunks) == text
    assert all(chunks) or not text


@pytest.mark.parametrize("overlap", [0, 12])
@pytest.mark.parametrize("seed", range(8))
def test_no_chunk_ends_with_a_heading_or_starts_within_one(overlap: int, seed: int) -> None:
    text = sectioned(random.Random(seed), 80)
    chunks = split(text, 96, overlap)
    assert len(chunks) > 50
    for chunk in chunks:
        assert not chunk.rstrip().splitlines()[-1].startswith("#")
        assert not re.match(r"(Section|\d+\. About|About th)", chunk)


def test_headings_in_a_row_stay_together_with_the_text_under_the_last() -> None:
    under = " ".join(["word"] * 30)
    text = "\n\n".join([f"# One {number}\n\n## Two\n\nThree\n-----\n\n{under}" for number in range(20)])
    for chunk in split(text, 64, 0):
        assert chunk.startswith("# One")
        assert chunk.rstrip().endswith("word")


def test_sections_that_fit_are_not_cut_inside() -> None:
    text = "\n\n".join(f"## Part {number}\n\n{' '.join(['One two three.'] * 12)}" for number in range(30))
    assert all(chunk.startswith("## Part") for chunk in split(text, 128, 16))


def _edited(text: str, source: random.Random) -> str:
    paragraphs = text.split("\n\n")
    at = source.choice([number for number, each in enumerate(paragraphs) if not each.startswith("#")])
    kind = source.choice(["insert", "delete", "rewrite", "word"])
    other = source.choice(source.choice(TOPICS).split("\n\n"))
    if kind == "insert":
        paragraphs.insert(at, other)
    elif kind == "delete":
        del paragraphs[at]
    elif kind == "rewrite":
        paragraphs[at] = other
    else:
        paragraphs[at] = paragraphs[at].replace(" ", " really ", 1)
    return "\n\n".join(paragraphs)


def test_an_edit_of_a_paragraph_changes_few_chunks() -> None:
    source = random.Random(5)
    texts = [sectioned(source, 40) for _ in range(10)] + [text for text in TOPICS if len(words(text)) > 2_000]
    new = [
        sum((Counter(split(_edited(text, source), 256, 32)) - Counter(split(text, 256, 32))).values())
        for text in texts
        for _ in range(6)
    ]
    assert median(new) <= 2
    assert mean(count <= 3 for count in new) >= 0.9


def test_chunks_are_well_filled() -> None:
    chunks = [chunk for text in TOPICS if len(words(text)) > 1_000 for chunk in split(text, 256, 32)]
    assert mean(len(words(chunk)) for chunk in chunks) >= 0.5 * 256


@pytest.mark.parametrize(
    "text",
    [
        "# a\n" * 100_000,
        "#" * 400_000,
        "a\n=\n" * 100_000,
        "QUJD" * 100_000,
        "# " + "a " * 200_000,
        "\n" * 400_000 + "# ",
    ],
)
def test_texts_of_one_kind_are_cut_quickly(text: str) -> None:
    started = perf_counter()
    chunks = split(text, 256, 0)
    assert perf_counter() - started < 20
    assert "".join(chunks) == text


def test_the_name_is_not_that_of_the_other_chunker() -> None:
    assert structured("words", words, 64, 8).name != chunker("words", words, 64, 8).name
    with pytest.raises(ConfigError, match="tokens is 8 and overlap 8"):
        structured("words", words, 8, 8)
