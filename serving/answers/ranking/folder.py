"""A cross-encoder of this machine, by its folder: one thread computes it, one question after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import isfinite
from typing import Any

from sentence_transformers import CrossEncoder

from core.config.answer import FolderRanking
from core.errors import ConfigError
from serving.answers.ranking.contract import RankingFailed


class FolderRanker:
    """A cross-encoder as sentence-transformers saves it."""

    def __init__(self, to: FolderRanking) -> None:
        """Load it. Raises ConfigError where the folder has none."""
        folder = to.path.expanduser()
        if not folder.is_dir():
            raise ConfigError([f"answer.rerank.folder.path: {to.path} is no folder"])
        try:
            self._model: Any = CrossEncoder(str(folder), local_files_only=True)
        except Exception as error:  # transformers raises whatever the file's reader does
            raise ConfigError([f"answer.rerank.folder.path: {to.path} has no cross-encoder: {error}"]) from None
        self._thread = ThreadPoolExecutor(1, "ranking")

    async def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """See `Ranker.scores`."""
        pairs = [(question, text) for text in texts]
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._computed, pairs)

    async def close(self) -> None:
        """See `Ranker.close`."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _computed(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        try:
            scores = [float(each) for each in self._model.predict(list(pairs), show_progress_bar=False)]
        except Exception as error:
            raise RankingFailed(f"the cross-encoder failed: {type(error).__name__}: {error}") from error
        # weights of half precision overflow on long texts: such a score has no place in an order
        if (wrong := next((each for each in scores if not isfinite(each)), None)) is not None:
            raise RankingFailed(f"the cross-encoder gives a score of {wrong}, which orders nothing")
        return scores
