"""Texts to scores: which model judges, and the cache before it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from core.config.embedding import Embedding
from core.config.sentiment import VADER, OpenAiJudge, Sentiment
from core.errors import Unavailable
from udfs.remote.asking import PATIENCE_S
from udfs.sentiment.contract import Refused, Scorer, Verdict, readable

CACHED_SCORES = 65_536

_TRIED = "Thank you."


class Judge:
    """A model behind a cache of what it said of the last texts. One that a batch has twice is judged once.

    hits    texts that were answered without the model
    misses  texts that the model was asked for
    """

    def __init__(self, scorer: Scorer, entries: int = CACHED_SCORES) -> None:
        self.name = scorer.name
        self.hits = 0
        self.misses = 0
        self._scorer = scorer
        self._entries = entries
        self._scores: OrderedDict[bytes, float] = OrderedDict()

    def judge(self, texts: Sequence[str]) -> list[Verdict]:
        """A verdict for each text, in order. No text raises anything; raises as `Scorer.score` does."""
        read = [readable(text) for text in texts]
        keys = [blake2b(text.encode(), digest_size=16).digest() if text.strip() else None for text in read]
        known: dict[bytes, Verdict] = {key: self._scores.get(key) for key in keys if key is not None}
        new = {key: text for key, text in zip(keys, read, strict=True) if key is not None and known[key] is None}
        verdicts: dict[bytes, Verdict] = {**known, **self._asked(new)}
        self.misses += len(new)
        self.hits += sum(key is not None for key in keys) - len(new)
        self._remember(verdicts)
        return [None if key is None else verdicts[key] for key in keys]

    def describe(self) -> str:
        """The model and what it takes, for people to read."""
        return self._scorer.describe()

    def _asked(self, texts: Mapping[bytes, str]) -> dict[bytes, float | Refused]:
        return dict(zip(texts, self._scorer.score(list(texts.values())), strict=True)) if texts else {}

    def _remember(self, verdicts: Mapping[bytes, Verdict]) -> None:
        for key, verdict in verdicts.items():
            if isinstance(verdict, float):
                self._scores[key] = verdict
                self._scores.move_to_end(key)
        while len(self._scores) > self._entries:
            self._scores.popitem(last=False)


def scored(judge: Judge, texts: Iterable[str | None]) -> tuple[list[float | None], list[Refused]]:
    """A score for each text of a column, None where it is blank, missing or refused; and the refusals."""
    verdicts = judge.judge(["" if text is None else text for text in texts])
    refused = [each for each in verdicts if isinstance(each, Refused)]
    return [None if isinstance(each, Refused) else each for each in verdicts], refused


@lru_cache(maxsize=4)
def judge(sentiment: Sentiment, embedding: Embedding | None = None) -> Judge:
    """What judges as a file says it; the same object each time, so a process loads a model once.

    embedding  what a head's vectors are made with; None: the model that it was trained on, on this machine

    Raises ConfigError where a head isn't there, is none, or was trained on vectors of another model than `embedding`'s,
    and as the embedder does.
    """
    return Judge(_scorer(sentiment, embedding))


def tried(sentiment: Sentiment, patience_s: float) -> str:
    """Have the model judge a text, and describe it. One elsewhere is asked for `patience_s`.

    Raises as `judge`, and Unavailable where a model elsewhere doesn't answer, or has no score for any text.
    """
    scorer = _scorer(sentiment, None, patience_s)
    try:
        for refused in scorer.score([_TRIED]):
            if isinstance(refused, Refused):
                raise Unavailable(refused.reason)
        return scorer.describe()
    finally:
        scorer.close()


def _openai(to: OpenAiJudge, patience_s: float) -> Scorer:
    from udfs.sentiment.chat import ChatScorer

    brief = {"timeout": min(to.timeout, patience_s)} if patience_s < PATIENCE_S else {}
    return ChatScorer(to.model_copy(update=brief), patience_s)


ELSEWHERE: Mapping[str, Callable[[Any, float], Scorer]] = {"openai": _openai}
"""Models elsewhere, opened, by the names of `core.config.sentiment.Sentiment`'s fields, given their settings, and how
long one that is away is asked again.
"""


def _scorer(sentiment: Sentiment, embedding: Embedding | None, patience_s: float = PATIENCE_S) -> Scorer:
    if sentiment.elsewhere is not None:
        return ELSEWHERE[sentiment.judged_by](sentiment.elsewhere, patience_s)
    # imported late: rules need no model, and a model no rules
    if sentiment.model == VADER:
        from udfs.sentiment.vader import Vader

        return Vader()
    from udfs.sentiment.head import opened

    return opened(sentiment.folder, embedding)
