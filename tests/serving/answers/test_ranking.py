"""What ranks anew: TEI's and Cohere's protocols, a cross-encoder of this machine, and how each fails."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.config.answer import Rerank
from core.errors import ConfigError
from serving.answers.ranking.contract import RankingFailed
from serving.answers.ranking.opening import opened
from tests.ranking_server import Ranking, ranking_server, score
from udfs.embedding.model_files import DEFAULT, model_path

QUESTION = "how long does delivery take"
TEXTS = ["A parcel", "Delivery does take long", "How long does delivery take?", *(f"long {each}" for each in range(60))]


@pytest.fixture
def ranking() -> Iterator[Ranking]:
    with ranking_server() as running:
        yield running


def scores(settings: dict[str, Any], texts: list[str] = TEXTS, timeout_s: float = 20) -> list[float]:
    async def ask() -> list[float]:
        ranker = opened(Rerank.model_validate({**settings, "timeout": timeout_s}))
        assert ranker is not None
        try:
            return await ranker.scores(QUESTION, texts)
        finally:
            await ranker.close()

    return asyncio.run(ask())


def test_tei_and_cohere_score_each_text(ranking: Ranking) -> None:
    right = [score(QUESTION, text) for text in TEXTS]
    assert scores({"tei": {"url": ranking.url, "api_key": "k"}}) == right
    # as many texts a request as TEI takes
    assert [len(each["texts"]) for each in ranking.asked] == [32, 31] and ranking.asked[0]["path"] == "/rerank"
    assert ranking.keys[0] == "Bearer k"
    ranking.asked.clear()
    assert scores({"cohere": {"url": f"{ranking.url}/v2", "model": "rerank-v3.5"}}) == right
    (asked,) = ranking.asked
    assert (asked["path"], asked["model"], asked["top_n"]) == ("/v2/rerank", "rerank-v3.5", len(TEXTS))


@pytest.mark.parametrize("kind", ["tei", "cohere"])
@pytest.mark.parametrize(
    "instead",
    [
        (503, {"error": "busy"}),
        (401, {"error": "secret"}),
        (200, b"<html>"),
        (200, [{"index": 0, "score": 1.0}]),
        (200, {"results": [{"index": 7, "relevance_score": 1.0}]}),
    ],
)
def test_what_is_no_ranking_is_said(ranking: Ranking, kind: str, instead: tuple[int, Any]) -> None:
    ranking.instead = instead
    settings = {"url": ranking.url, **({"model": "m"} if kind == "cohere" else {})}
    with pytest.raises(RankingFailed) as failed:
        scores({kind: settings})
    assert "secret" not in str(failed.value)
    ranking.instead = (422, {"error": f"{'x' * 280} no such key: sk-ranking"})
    with pytest.raises(RankingFailed, match="answers 422") as failed:
        scores({kind: {**settings, "api_key": "sk-ranking"}})
    assert "sk-" not in str(failed.value)
    ranking.instead = (422, {"error": "no such key: sk-ranking"})
    with pytest.raises(RankingFailed, match="no such key: …") as failed:
        scores({kind: {**settings, "api_key": "sk-ranking"}})
    assert "sk-" not in str(failed.value)
    with pytest.raises(RankingFailed):
        scores({kind: {**settings, "url": "http://127.0.0.1:9"}}, timeout_s=1)


@pytest.mark.parametrize("settings", [{"tei": {}}, {"cohere": {"model": "m"}}])
def test_of_a_ranking_without_an_end_so_much_is_read_as_one_may_have(
    ranking: Ranking, settings: dict[str, dict[str, str]]
) -> None:
    ((kind, given),) = settings.items()
    ranking.instead = (200, b'{"results": ' + b"[" * 100_000)
    with pytest.raises(RankingFailed, match="answers what is no ranking"):
        scores({kind: {"url": ranking.url, **given}})
    ranking.instead, ranking.sent = (200, b" " * (256 << 20)), 0
    with pytest.raises(RankingFailed, match="answers 200 with more than 4,194,304 bytes"):
        scores({kind: {"url": ranking.url, **given}})
    assert ranking.sent < 64 << 20


def test_a_cross_encoder_of_this_machine(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    torch.manual_seed(7)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    # else weights are so small that all texts score alike
    config = transformers.BertConfig(vocab_size=30_522, num_labels=1, initializer_range=1.0, **size)
    model = transformers.BertForSequenceClassification(config)
    model.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        if (model_path(DEFAULT) / name).is_file():
            shutil.copy(model_path(DEFAULT) / name, tmp_path / name)
    found = scores({"folder": {"path": str(tmp_path)}}, TEXTS[:3], 60)
    alone = [scores({"folder": {"path": str(tmp_path)}}, [text], 60)[0] for text in TEXTS[:2]]
    assert len(set(found)) == 3 and found[:2] == pytest.approx(alone, abs=1e-5)
    torch.nn.init.constant_(model.classifier.bias, float("nan"))
    model.save_pretrained(tmp_path)
    with pytest.raises(RankingFailed, match="gives a score of nan, which orders nothing"):
        scores({"folder": {"path": str(tmp_path)}}, TEXTS[:2], 60)
    with pytest.raises(ConfigError, match="has no cross-encoder"):
        (tmp_path / "config.json").unlink()
        scores({"folder": {"path": str(tmp_path)}})
    with pytest.raises(ConfigError, match="is no folder"):
        scores({"folder": {"path": str(tmp_path / "none")}})
