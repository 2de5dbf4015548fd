"""What ranks anew, as a server's file names it, opened. One that is added has its opener here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core.config.answer import CohereRanking, FolderRanking, Ranking, Rerank, TeiRanking
from core.errors import not_installed
from serving.answers.ranking.contract import Ranker
from serving.answers.ranking.http import CohereRanker, TeiRanker


def _folder(to: FolderRanking, _: float) -> Ranker:
    # imported late: an extra's, and takes seconds
    try:
        from serving.answers.ranking.folder import FolderRanker
    except ModuleNotFoundError as missing:
        raise not_installed("answer.rerank.folder", missing.name or "sentence_transformers", "model") from missing
    return FolderRanker(to)


RANKERS: Mapping[type[Ranking], Callable[[Any, float], Ranker]] = {
    TeiRanking: TeiRanker,
    CohereRanking: CohereRanker,
    FolderRanking: _folder,
}
"""By the kinds of settings, given those and how many seconds a request to it may take."""


def opened(rerank: Rerank | None) -> Ranker | None:
    """What ranks anew; None where the file names nothing. Raises ConfigError where it can't be opened."""
    return None if rerank is None else RANKERS[type(rerank.chosen)](rerank.chosen, rerank.timeout)
