"""The chunker's laws: cover, limit, determinism, and that an edit re-cuts only what is near it."""

import pydoc_data.topics
import random
import re
from collections import Counter
from collections.abc import Callable
from itertools import accumulate, pairwise
from statistics import mean, median
from time import perf_counter
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.documents import structure
from core.documents.chunking import chunker, ranges
from core.documents.graphemes import whole
from core.errors import ConfigError

WORD = re.compile(r"\w+|[^\w\s]")
TOPICS = list(pydoc_data.topics.topics.values())


def words(text: str) -> list[int]:
    return [match.start() for match in WORD.finditer(text)]


def bytes_of(text: str) -> list[int]:
    """As byte-level tokenizers do: several tokens for one character."""
    return [at for at, character in enumerate(text) for _ in character.encode("utf-8", "surrogatepass")]


def split(text: str, tokens: int = 64, overlap: int = 8) -> list[str]:
    return [text[begin:end] for begin, end in chunker("words", words, tokens, overlap).ranges(text)]


PROSE = st.lists(
    st.sampled_from(
        ["word", "a", "sentence.", "One!", "long-ish", "\n", "\n\n", "  ", "\t", "漢字。", "é", "…", "0x" * 9]
    ),
    max_size=400,
).map(" ".join)
ANYTHING = st.text(st.characters(exclude_categories=[]), max_size=300)


def test_a_text_may_end_with_one_character_of_more_tokens_than_a_chunk_has() -> None:
    assert ranges("a😀", [0, *[1] * 9], 2, 1) == [(0, 1), (1, 2)]


@given(PROSE | ANYTHING, st.integers(1, 40), st.integers(0, 20))
def test_chunks_cover_the_text_in_order(text: str, tokens: int, overlap: int) -> None:
    found = ranges(text, words(text), tokens, min(overlap, tokens - 1))
    assert found[0][0] == 0
    assert found[-1][1] == len(text)
    assert all(one[0] < two[0] <= one[1] < two[1] for one, two in pairwise(found))


@given(PROSE | ANYTHING, st.integers(1, 40), st.integers(0, 20))
def test_no_chunk_has_more_tokens_than_asked_nor_more_overlap(text: str, tokens: int, overlap: int) -> None:
    starts, overlap = words(text), min(overlap, tokens - 1)
    found = ranges(text, starts, tokens, overlap)
    assert all(_tokens(starts, begin, end) <= tokens for begin, end in found)
    assert all(_tokens(starts, two[0], one[1]) <= overlap for one, two in pairwise(found))


def _tokens(starts: list[int], begin: int, end: int) -> int:
    return sum(begin <= start < end for start in starts)


@given(PROSE | ANYTHING, st.integers(1, 40), st.integers(0, 20))
def test_chunks_are_the_substrings_of_their_ranges(text: str, tokens: int, overlap: int) -> None:
    overlap = min(overlap, tokens - 1)
    found = ranges(text, words(text), tokens, overlap)
    assert split(text, tokens, overlap) == [text[begin:end] for begin, end in found]


@given(st.text(st.sampled_from("ab é😀漢 \n"), max_size=300), st.integers(16, 40), st.integers(0, 8))
def test_a_character_of_several_tokens_is_never_cut(text: str, tokens: int, overlap: int) -> None:
    chunks = [text[begin:end] for begin, end in chunker("bytes", bytes_of, tokens, overlap).ranges(text)]
    assert all(chunks) or not text
    assert all(len(bytes_of(chunk)) <= tokens for chunk in chunks)
    if not overlap:
        assert "".join(chunks) == text


@given(PROSE | ANYTHING)
def test_without_overlap_the_chunks_are_the_text(text: str) -> None:
    assert "".join(split(text, 16, 0)) == text


@given(PROSE)
def test_a_text_within_the_budget_is_one_chunk(text: str) -> None:
    assert split(text, max(1, len(words(text))), 0) == [text]


@given(PROSE)
def test_the_same_text_is_cut_the_same(text: str) -> None:
    assert split(text) == split(text)


def test_prose_is_cut_at_paragraphs_and_starts_at_words() -> None:
    text = "\n\n".join(" ".join(["The quick brown fox jumps."] * 4) for _ in range(40))
    assert all(chunk.endswith("\n\n") for chunk in split(text, 128, 0)[:-1])
    assert all(re.match(r"\w", chunk) for chunk in split(text, 128, 16))


def test_words_are_not_cut_where_there_are_words() -> None:
    text = " ".join(f"word{number}" for number in range(1_000))
    assert {word for chunk in split(text, 64, 8) for word in chunk.split()} == set(text.split())


def _edited(text: str, random_source: random.Random) -> str:
    paragraphs = text.split("\n\n")
    at = random_source.randrange(len(paragraphs))
    other = random_source.choice(random_source.choice(TOPICS).split("\n\n"))
    kind = random_source.choice(["insert", "delete", "rewrite", "word"])
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
    long = [text for text in TOPICS if len(words(text)) > 2_000]
    new = [
        sum((Counter(split(_edited(text, source), 256, 32)) - Counter(split(text, 256, 32))).values())
        for text in long
        for _ in range(8)
    ]
    assert median(new) <= 2
    assert mean(count <= 3 for count in new) >= 0.9


def test_chunks_are_well_filled() -> None:
    chunks = [chunk for text in TOPICS if len(words(text)) > 1_000 for chunk in split(text, 256, 32)]
    assert mean(len(words(chunk)) for chunk in chunks) >= 0.6 * 256


@pytest.mark.parametrize(
    "text",
    [
        "QUJD" * 100_000,
        "\n" * 400_000,
        "a" + " " * 400_000 + "b",
        "漢字かな。" * 80_000,
        "." * 400_000,
        "a\n" * 200_000,
    ],
    ids=["blob", "newlines", "gap", "cjk", "dots", "lines"],
)
def test_a_text_without_words_is_cut_in_linear_time(text: str) -> None:
    started = perf_counter()
    chunks = split(text, 256, 0)
    assert perf_counter() - started < 20
    assert "".join(chunks) == text
    assert max(map(len, chunks)) <= 256 * 64


def test_the_name_tells_apart_what_cuts_apart() -> None:
    names = {
        chunker(*given).name
        for given in [("a", words, 64, 8), ("b", words, 64, 8), ("a", words, 65, 8), ("a", words, 64, 9)]
    }
    assert len(names) == 4


@pytest.mark.parametrize(("tokens", "overlap"), [(0, 0), (8, 8), (8, -1)])
def test_an_overlap_that_does_not_fit_is_refused(tokens: int, overlap: int) -> None:
    with pytest.raises(ConfigError, match=f"tokens is {tokens} and overlap {overlap}"):
        chunker("words", words, tokens, overlap)


def texts_to_cut(kind: str) -> str:
    source = random.Random(kind)
    alphabet = {
        "latin": "abcdefgh",
        "nordic": "aåøæéüñß",
        "cjk": "漢字仮名交文。",
        "greek": "αβγδέ",
        "emoji": "ab😀🎉👍",
    }[kind]
    words = []
    for _ in range(3_000):
        word = "".join(source.choice(alphabet) for _ in range(source.randint(1, 9)))
        chance = source.random()
        end = "." * (chance < 0.1) + ("\n\n" if chance < 0.03 else "\n" if chance < 0.06 else " ")
        words.append(word + end)
    return "".join(words)


CUTS = [("latin", 2163749974), ("nordic", 3553092814), ("cjk", 567768835), ("greek", 2835244447), ("emoji", 700215565)]


@pytest.mark.parametrize(("kind", "digest"), CUTS)
def test_ordinary_texts_are_cut_as_they_were(kind: str, digest: int) -> None:
    """Another cut is another chunk, which is embedded anew: a rule that changes these is another algorithm."""
    text = texts_to_cut(kind)
    found = [ranges(text, words(text), *given) for given in ((256, 32), (64, 0), (20, 19))]
    assert crc32(repr(found).encode()) == digest


FAMILY = "👩🏽\u200d❤️\u200d👨🏿\u200d👧"
CLUSTERS = [FAMILY, "🇩🇪", "👍🏽", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "1\ufe0f\u20e3"]
CLUSTERS += ["e\u0301\u0323", "葛\U000e0100", "नि", "ｶﾞ", "\u1112\u1161\u11ab", "กำ", "a", "漢", " ", "\n", "."]


@given(
    st.lists(st.sampled_from(CLUSTERS), min_size=20, max_size=300),
    st.integers(20, 40),
    st.integers(0, 8),
    st.sampled_from([ranges, structure.ranges]),
)
def test_no_chunk_begins_within_what_is_read_as_one_character(
    characters: list[str], tokens: int, overlap: int, cut: Callable[..., list[tuple[int, int]]]
) -> None:
    text = "".join(characters)
    borders = {0, *accumulate(map(len, characters))}
    for begin, end in cut(text, range(len(text)), tokens, overlap):
        assert begin in borders and end in borders


def test_a_character_longer_than_a_chunk_is_cut_all_the_same() -> None:
    text = "e" + "\u0301" * 1_000
    assert "".join(text[begin:end] for begin, end in ranges(text, range(len(text)), 64, 0)) == text


def test_characters_may_be_parted_only_between_them() -> None:
    stays = whole("🇩🇪🇫🇷a\u0301 b")
    assert [offset for offset in range(9) if stays(offset)] == [0, 2, 4, 6, 7, 8]
    assert all(map(whole("plain"), range(9)))
