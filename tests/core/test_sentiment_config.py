"""What a file may say of the model that judges sentiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from core.config.sentiment import OpenAiJudge, Sentiment

OPENAI = {"url": "http://127.0.0.1:8000/v1", "model": "small"}


def test_vader_judges_where_nothing_is_said() -> None:
    sentiment = Sentiment()
    assert (sentiment.model, sentiment.name, sentiment.elsewhere, sentiment.folder) == ("vader", "vader", None, None)


def test_a_name_that_is_not_ours_is_a_folder() -> None:
    assert Sentiment(model="heads/support").folder == Path("heads/support")
    assert Sentiment(model="embedder").folder is None


def test_a_model_elsewhere_has_its_own_name() -> None:
    sentiment = Sentiment.model_validate({"openai": OPENAI})
    assert isinstance(sentiment.elsewhere, OpenAiJudge)
    assert (sentiment.name, sentiment.judged_by, sentiment.folder) == ("small", "openai", None)
    assert Sentiment().judged_by == ""


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ({"model": "vader", "openai": OPENAI}, "either model or openai can be set, not both"),
        ({"model": ""}, "at least 1 character"),
        ({"openai": {"url": "http://user:hunter2@127.0.0.1", "model": "small"}}, "openai.url"),
        ({"openai": {**OPENAI, "max_texts": 0}}, "openai.max_texts"),
        ({"openai": {**OPENAI, "api_key": "a\nb"}}, "the key is empty, or has a character that no header can hold"),
    ],
)
def test_what_cannot_be_is_refused(file: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Sentiment.model_validate(file)
    assert said in str(refused.value)


def test_a_key_shows_itself_to_nobody() -> None:
    assert "hunter2" not in repr(Sentiment.model_validate({"openai": {**OPENAI, "api_key": "hunter2"}}))
