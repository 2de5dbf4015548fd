"""VADER: words with a valence each, and rules for what stands around them (Hutto and Gilbert, ICWSM 2014).

Its rules look through all words again for each word that has a valence: twice the text is four times the work. So a
text is judged in pieces, as its authors advise for what is longer than a few sentences, and long before its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from core.config.sentiment import VADER
from udfs.sentiment.contract import Refused

PIECE = 200
"""Words that are judged at once."""

MOST = 2_000
"""Words of a text that are judged, its first, with an emoji's description counted as its words."""


class Vader:
    """Scores by VADER's `compound`: of a text of more than `PIECE` words, the mean of its pieces'."""

    name = VADER

    def __init__(self) -> None:
        self._analyzer = SentimentIntensityAnalyzer()
        self._emojis: dict[str, str] = self._analyzer.emojis

    def score(self, texts: Sequence[str]) -> Sequence[float | Refused]:
        """See `Scorer.score`. A text without a word that VADER knows has 0."""
        return [self._score(text) for text in texts]

    def describe(self) -> str:
        """See `Scorer.describe`."""
        return f"{self.name}, {len(self._analyzer.lexicon):,} words and {len(self._emojis):,} emojis"

    def close(self) -> None:
        """See `Scorer.close`."""

    def _score(self, text: str) -> float:
        words = self._spelt(text).split(maxsplit=MOST)[:MOST]
        pieces = [" ".join(words[at : at + PIECE]) for at in range(0, len(words), PIECE)]
        scores = [float(self._analyzer.polarity_scores(piece)["compound"]) for piece in pieces]
        return sum(scores) / len(scores) if scores else 0.0

    def _spelt(self, text: str) -> str:
        """The text with its emojis' descriptions in their places, as VADER itself would put them there."""
        return text if text.isascii() else "".join(self._parts(text))

    def _parts(self, text: str) -> Iterator[str]:
        spaced = True
        for character in text:
            if (description := self._emojis.get(character)) is None:
                yield character
                spaced = character == " "
                continue
            yield description if spaced else f" {description}"
            spaced = False
