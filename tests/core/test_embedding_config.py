"""The part `embedding` of a pipeline file."""

from typing import Any

import pytest
from pydantic import ValidationError

from core.config.embedding import Embedding
from core.config.request_limits import Limits

URL = "https://embed.example/v1"


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        ({"openai": {"url": URL}}, Limits(2_048, 300_000, None)),
        ({"openai": {"url": URL}, "max_texts": 8, "max_bytes": 5_000}, Limits(8, 300_000, 5_000)),
        ({"tei": {"url": URL}}, Limits(32, None, 2_000_000)),
        ({"tei": {"url": URL}, "max_tokens": 9}, Limits(32, 9, 2_000_000)),
        ({"sagemaker": {"endpoint": "minilm"}}, Limits(32, None, 6_000_000)),
        ({"bedrock": {}, "model": "amazon.titan-embed-text-v2:0"}, Limits(1)),
        ({"bedrock": {}, "model": "amazon.titan-embed-text-v2:0", "max_texts": 5}, Limits(1)),
        ({"bedrock": {}, "model": "eu.cohere.embed-v4:0"}, Limits(96)),
    ],
)
def test_limits_are_the_providers_where_the_file_says_none(given: dict[str, Any], limits: Limits) -> None:
    embedding = Embedding.model_validate(given)
    assert embedding.remote
    assert embedding.limits == limits
    assert len({embedding, Embedding.model_validate(given)}) == 1


def test_a_model_of_this_machine_is_not_remote() -> None:
    assert not Embedding().remote


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"openai": {"url": URL}, "tei": {"url": URL}}, "either openai or tei can be set, not both"),
        ({"dimension": 384}, "dimension needs an endpoint"),
        ({"tokenizer": "bge", "timeout": 3}, "timeout, tokenizer needs an endpoint"),
        ({"bedrock": {}}, "no model of Bedrock's that is known"),
        ({"openai": {"url": URL, "dimensions": 256}, "dimension": 384}, "dimensions, which is asked for, is 256"),
        ({"openai": {"url": "ftp://x"}}, "url"),
        ({"openai": {"url": "https://x/v1?key=1"}}, "url"),
        ({"openai": {"url": "https://user:Geheimnis@x/v1"}}, "url"),
        ({"openai": {"url": URL, "api_key": "Geheimnis\n"}}, "a line's end, perhaps"),
        ({"tei": {"url": URL, "api_key": ""}}, "the key is empty"),
        ({"sagemaker": {"endpoint": "a/b"}}, "endpoint"),
        ({"openai": {"url": URL, "api-key": "x"}}, "api-key"),
        ({"openai": {"url": URL}, "concurrency": 0}, "concurrency"),
        ({"openai": {"url": URL}, "engine": "torch"}, "engine can't be set: embedding.openai decides for itself"),
        ({"model": "hash", "precision": "bfloat16"}, "precision can't be set: hash is computed in one way"),
        ({"precision": "int8"}, "precision"),
    ],
)
def test_mistakes_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as error:
        Embedding.model_validate(given)
    # as core.config.file tells it; of settings that are secrets it shows no value
    assert "Geheimnis" not in "".join(each["msg"] for each in error.value.errors())


def test_a_key_is_shown_nowhere() -> None:
    embedding = Embedding.model_validate({"openai": {"url": URL, "api_key": "Geheimnis"}})
    assert embedding.openai is not None
    assert embedding.openai.api_key is not None
    assert embedding.openai.api_key.get_secret_value() == "Geheimnis"
    assert "Geheimnis" not in f"{embedding!r}{embedding}{embedding.model_dump_json()}"
