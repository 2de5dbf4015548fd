"""Rankings over HTTP: Text Embeddings Inference's `/rerank`, and Cohere's.

Sources: TEI's API, "Get Ranks" (`query`, `texts`, `truncate`; a list of `index` and `score`); Cohere's API reference,
"Rerank" (`model`, `query`, `documents`, `top_n`; `results` of `index` and `relevance_score`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
import msgspec

from core.config.answer import CohereRanking, TeiRanking
from core.config.embedding import Key
from serving.answers.http_bodies import beginning
from serving.answers.ranking.contract import RankingFailed
from udfs.remote.failures import shown

_LARGEST = 4 << 20
_LARGEST_ERROR = 1 << 16
_AT_ONCE = 32
"""Texts of a request to TEI, which takes so many where it isn't told otherwise (--max-client-batch-size)."""

_encode = msgspec.json.Encoder().encode


class _Tei(msgspec.Struct):
    index: int
    score: float


class _Cohere(msgspec.Struct):
    index: int
    relevance_score: float


class _Results(msgspec.Struct):
    results: list[_Cohere]


class _Http:
    """POSTs to one URL; nobody is followed to another address."""

    def __init__(self, url: str, key: Key | None, timeout_s: float) -> None:
        self._url = url.rstrip("/").removesuffix("/rerank") + "/rerank"
        self._key = "" if key is None else key.get_secret_value()
        known = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx.AsyncClient(headers={"Content-Type": "application/json", **known}, timeout=timeout_s)

    async def post(self, body: dict[str, Any], kind: Any) -> Any:
        """The answer, of a kind. Raises RankingFailed."""
        try:
            async with self._client.stream("POST", self._url, content=_encode(body)) as answer:
                content = await beginning(answer, _LARGEST)
        except httpx.HTTPError as error:
            raise RankingFailed(f"{self._url}: {type(error).__name__}: {error}".rstrip(": ")) from None
        if len(content) > _LARGEST:
            raise RankingFailed(f"{self._url} answers {answer.status_code} with more than {_LARGEST:,} bytes")
        if answer.status_code != 200:
            # what is said with 401 may repeat a part of the key
            said = "" if answer.status_code in (401, 403) else f": {shown(content[:_LARGEST_ERROR], self._key)}"
            raise RankingFailed(f"{self._url} answers {answer.status_code}{said}")
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RankingFailed(f"{self._url} answers what is no ranking: {error}") from None

    async def close(self) -> None:
        """Give connections back."""
        await self._client.aclose()


class TeiRanker:
    """A server with TEI's `/rerank`."""

    def __init__(self, to: TeiRanking, timeout_s: float) -> None:
        self._http = _Http(to.url, to.api_key, timeout_s)

    async def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """See `Ranker.scores`."""
        found: list[float] = []
        for begin in range(0, len(texts), _AT_ONCE):
            some = texts[begin : begin + _AT_ONCE]
            body = {"query": question, "texts": some, "truncate": True}
            ranked = await self._http.post(body, list[_Tei])
            found += _in_order([(each.index, each.score) for each in ranked], len(some))
        return found

    async def close(self) -> None:
        """See `Ranker.close`."""
        await self._http.close()


class CohereRanker:
    """A server with Cohere's `/rerank`."""

    def __init__(self, to: CohereRanking, timeout_s: float) -> None:
        self._model = to.model
        self._http = _Http(to.url, to.api_key, timeout_s)

    async def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """See `Ranker.scores`."""
        body = {"model": self._model, "query": question, "documents": texts, "top_n": len(texts)}
        ranked = (await self._http.post(body, _Results)).results
        return _in_order([(each.index, each.relevance_score) for each in ranked], len(texts))

    async def close(self) -> None:
        """See `Ranker.close`."""
        await self._http.close()


def _in_order(ranked: Sequence[tuple[int, float]], count: int) -> list[float]:
    """The scores in the order of the texts. Raises RankingFailed where not each text has one."""
    if sorted(index for index, _ in ranked) != list(range(count)):
        raise RankingFailed(f"{len(ranked)} scores for {count} texts, or they are misnumbered")
    return [score for _, score in sorted(ranked)]
