"""What budgets count: characters, or tokens of the answering model's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from core.answers.context import Budget, Size
from core.config.answer import Answer
from core.config.answer import Budget as BudgetSettings
from core.errors import ConfigError
from serving.answers.shapes import BudgetAsked
from udfs.embedding.tokenizing import LETTERS, Tokenizer, tokenizer_of_remote

_REMEMBERED = 4_096
_SHORT = 4_096
"""Characters of a text that is worth remembering: chunks come again, whole prompts don't. All are 64 MiB at most."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A budget, in which unit it is, and by what it is counted."""

    budget: Budget
    unit: Literal["tokens", "characters"]
    by: str


class Counting:
    """Counts for one server's prompts."""

    def __init__(self, answer: Answer) -> None:
        """Raises ConfigError where the tokenizer that is named isn't there."""
        words = _words(answer)
        self._usual = answer.budget
        self._by = words.name
        self._tokens = _remembering(lambda text: len(words.starts(text)))

    def tokens(self, text: str) -> int:
        """How many tokens a text has, as nearly as is known."""
        return self._tokens(text)

    def of(self, asked: BudgetAsked | None) -> Counted:
        """The budget that is asked for, else the usual one; exactly one of an asked one's fields is given."""
        given: BudgetAsked | BudgetSettings = asked or self._usual
        if given.characters is not None:
            return Counted(Budget(given.characters, len), "characters", "characters")
        return Counted(Budget(given.tokens or 0, self._tokens), "tokens", self._by)


def _words(answer: Answer) -> Tokenizer:
    if answer.model is None and answer.tokenizer is None:
        return LETTERS
    try:
        return tokenizer_of_remote("" if answer.model is None else answer.model.name, answer.tokenizer)
    except ConfigError as error:
        # it says by which setting a pipeline names one
        raise ConfigError([f"answer.tokenizer: {each.partition(': ')[2]}" for each in error.problems]) from error


def _remembering(count: Size) -> Size:
    remembered = lru_cache(_REMEMBERED)(count)
    return lambda text: remembered(text) if len(text) <= _SHORT else count(text)
