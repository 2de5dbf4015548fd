"""SageMaker and Bedrock as boto3 speaks to them, answered by a small server of ours: AWS itself isn't reached."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tokenizers

from core.config.embedding import Embedding
from core.errors import ConfigError, EmbeddingError, Unavailable
from tests.embedding_endpoint import Asked, Endpoint, Reply, endpoint, rows_of
from udfs.embedding.embedder import HashEmbedder, embed_each
from udfs.embedding.remote.aws import BedrockEndpoint, SageMakerEndpoint
from udfs.embedding.remote.embedder import RemoteEmbedder, opened
from udfs.embedding.tokenizing import DEFAULT, model_path

SECRET = "Geheimnis/wJalrXUtnFEMI"
TEXTS = [f"text {number}" for number in range(200)]
TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-multilingual-v3"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)


@pytest.fixture
def server() -> Iterator[Endpoint]:
    with endpoint() as running:
        yield running


def sagemaker(server: Endpoint, **settings: Any) -> Embedding:
    return Embedding.model_validate({"sagemaker": {"endpoint": "minilm", "url": server.address, **settings}})


def bedrock(server: Endpoint, model: str = TITAN, **settings: Any) -> Embedding:
    return Embedding.model_validate({"model": model, "bedrock": {"url": server.address, **settings}, "dimension": 384})


def impatient(embedding: Embedding) -> RemoteEmbedder:
    there = (
        SageMakerEndpoint(embedding, embedding.sagemaker)
        if embedding.sagemaker is not None
        else BedrockEndpoint(embedding, embedding.bedrock)  # type: ignore[arg-type]
    )
    return RemoteEmbedder(embedding.model, there, embedding.limits, 4, 384, patience_s=0.6)


def right(vectors: Any, texts: list[str] = TEXTS) -> bool:
    return bool(np.abs(vectors - HashEmbedder().embed(texts)).max() < 1e-6)


@pytest.mark.parametrize("field", ["inputs", "text_inputs"])
def test_sagemaker_has_the_texts_where_its_container_looks(server: Endpoint, field: str) -> None:
    model = opened(sagemaker(server, request=field))
    assert right(model.embed(TEXTS))
    probe, *others = server.asked
    assert probe.path == "/endpoints/minilm/invocations"
    assert all(set(asked.body) == {field} and len(asked.texts) <= 32 for asked in others)
    signed = probe.headers["Authorization"]
    assert "AKIDEXAMPLE" in signed
    assert "eu-central-1/sagemaker/aws4_request" in signed
    assert model.describe() == "all-MiniLM-L6-v2 at SageMaker endpoint minilm in eu-central-1, 384 dimensions"


def test_titan_has_a_text_a_request(server: Endpoint) -> None:
    assert right(opened(bedrock(server, dimensions=384)).embed(TEXTS[:30]), TEXTS[:30])
    assert sorted(asked.body["inputText"] for asked in server.asked) == sorted(TEXTS[:30])
    assert {(asked.path, asked.body["dimensions"]) for asked in server.asked} == {(f"/model/{TITAN}/invoke", 384)}


@pytest.mark.parametrize("model", [COHERE, "eu.cohere.embed-v4:0"])
def test_cohere_has_up_to_96_texts_a_request(server: Endpoint, model: str) -> None:
    assert right(opened(bedrock(server, model)).embed(TEXTS))
    assert sorted(len(asked.texts) for asked in server.asked) == [8, 96, 96]
    assert {asked.body["input_type"] for asked in server.asked} == {"search_document"}


def test_requests_to_cohere_say_what_is_a_question(server: Endpoint) -> None:
    opened(bedrock(server, COHERE), of_questions=True).embed(["where?"])
    assert server.asked[0].body["input_type"] == "search_query"


def error(status: int, kind: str, **body: Any) -> Reply:
    return Reply(status, {"message": "so it is", "Message": "so it is", **body}, {"x-amzn-ErrorType": kind})


@pytest.mark.parametrize(
    ("status", "kind", "original"),
    [
        (429, "ThrottlingException", None),
        (429, "ModelNotReadyException", None),
        (503, "ServiceUnavailableException", None),
        (500, "InternalServerException", None),
        (408, "ModelTimeoutException", None),
        (424, "ModelError", 500),
        (424, "ModelError", 503),
    ],
)
def test_what_passes_is_waited_for(server: Endpoint, status: int, kind: str, original: int | None) -> None:
    failure = error(status, kind, OriginalStatusCode=original)
    server.fault = lambda asked: failure if asked.number < 2 else None
    embedding = bedrock(server) if original is None else sagemaker(server)
    assert right(opened(embedding).embed(TEXTS[:1]), TEXTS[:1])


@pytest.mark.parametrize(
    ("status", "kind", "original"),
    [(400, "ValidationException", None), (424, "ModelError", 400), (424, "ModelError", 413)],
)
def test_a_refused_text_is_alone(server: Endpoint, status: int, kind: str, original: int | None) -> None:
    bad = TEXTS[7]
    failure = error(status, kind, OriginalStatusCode=original)
    server.fault = lambda asked: failure if bad in asked.texts else None
    model = impatient(bedrock(server, COHERE) if original is None else sagemaker(server))
    vectors, errors = embed_each(model, TEXTS[:20])
    assert list(errors) == [7]
    assert "so it is" in str(errors[7])
    assert right(vectors[8:], TEXTS[8:20])
    server.fault = lambda asked: failure
    with pytest.raises(Unavailable, match="no vector for any text"):
        embed_each(model, TEXTS[:20])


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, "AccessDeniedException"), (404, "ResourceNotFoundException"), (403, "UnrecognizedClientException")],
)
def test_who_is_not_let_in_gets_an_error(server: Endpoint, status: int, kind: str) -> None:
    server.fault = lambda asked: error(status, kind)
    with pytest.raises(ConfigError, match=rf"embedding\.bedrock: Bedrock model {TITAN}.*{kind}: so it is") as raised:
        embed_each(impatient(bedrock(server)), TEXTS)
    assert SECRET not in str(raised.value)


def test_vectors_of_tokens_are_no_vectors_of_texts(server: Endpoint) -> None:
    server.fault = lambda asked: Reply(200, [[[[0.1] * 384] * 5]] * len(asked.texts))
    with pytest.raises(Unavailable, match=r"array of shape \(1, 1, 5, 384\) where 1 vector"):
        embed_each(impatient(sagemaker(server)), TEXTS[:3])


def test_a_vector_with_nan_is_none(server: Endpoint) -> None:
    server.fault = lambda asked: Reply(200, {"embedding": [math.nan] * 384})
    with pytest.raises(Unavailable, match="no JSON"):
        embed_each(impatient(bedrock(server)), TEXTS[:1])


def test_no_credentials_and_no_region_are_named(server: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(ConfigError, match=r"embedding\.bedrock: You must specify a region"):
        opened(bedrock(server))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with pytest.raises(ConfigError, match="Unable to locate credentials"):
        impatient(bedrock(server, region="eu-central-1")).embed(["a"])


def test_sagemaker_has_further_fields_in_each_request(server: Endpoint) -> None:
    model = opened(sagemaker(server, request="text_inputs", fields={"mode": "embedding"}))
    assert right(model.embed(TEXTS[:3]), TEXTS[:3])
    assert all(asked.body["mode"] == "embedding" for asked in server.asked)


def test_a_field_of_ours_is_refused(server: Endpoint) -> None:
    with pytest.raises(ValueError, match="inputs is set by Freshet"):
        sagemaker(server, fields={"inputs": "x"})


COUNTED = tokenizers.Tokenizer.from_file(str(model_path(DEFAULT) / "tokenizer.json"))
COUNTED.no_padding()


def by_token(asked: Asked) -> Reply:
    """As Hugging Face's pipeline answers: a list of one with a vector a token, padded to the longest text of them."""
    known = [len(COUNTED.encode(text).ids) for text in asked.texts]
    rows = []
    for count, row in zip(known, rows_of(asked.texts), strict=True):
        real = [[value * (1 + token % 2 * 2) for value in row] for token in range(count)]
        rows.append([real + [[9.0] * len(row)] * (max(known) - count)])
    return Reply(body=rows)


VARIED = [f"text {number} " + "word " * (number % 7) for number in range(40)]


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("counted", [True, False])
def test_vectors_of_tokens_become_one_of_the_text(server: Endpoint, pooling: str, counted: bool) -> None:
    server.fault = by_token
    settings = {"tokenizer": DEFAULT} if counted else {}
    embedding = Embedding.model_validate(
        {"sagemaker": {"endpoint": "minilm", "url": server.address, "pooling": pooling}, **settings}
    )
    model = opened(embedding)
    assert right(model.embed(VARIED), VARIED)
    # what isn't counted goes alone, and so has no padding
    assert (max(len(asked.texts) for asked in server.asked) == 1) == (pooling == "mean" and not counted)


def test_pooling_of_what_is_no_tokens_is_refused(server: Endpoint) -> None:
    embedding = Embedding.model_validate(
        {"sagemaker": {"endpoint": "minilm", "url": server.address, "pooling": "first"}, "dimension": 384}
    )
    with pytest.raises((EmbeddingError, Unavailable), match=r"leave embedding\.sagemaker\.pooling out"):
        embed_each(impatient(embedding), TEXTS[:2])
