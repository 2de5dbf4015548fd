"""How one server answers from what is found."""

from __future__ import annotations

from dataclasses import dataclass

from core.answers.template import Template
from core.config.answer import Answer
from serving.answers.counting import Counting
from serving.answers.models.contract import AnsweringModel
from serving.answers.ranking.contract import Ranker


@dataclass(frozen=True, slots=True)
class Answering:
    """How prompts of one server are made.

    overlapping  the indexes whose chunks may repeat the end of the one before
    model        which is asked; None: contexts alone are made
    ranker       ranks anew what was found; None: nothing does
    """

    settings: Answer
    template: Template
    counting: Counting
    overlapping: frozenset[str]
    model: AnsweringModel | None
    ranker: Ranker | None
