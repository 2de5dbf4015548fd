"""Endpoints of AWS: SageMaker's, and Bedrock's models. Signed by boto3, with its usual chain of credentials."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from core.config.embedding import Bedrock, Embedding, SageMaker, family
from core.errors import ConfigError, FreshetError, Unavailable, not_installed
from core.stores.contract import Vectors
from udfs.embedding.remote.endpoint import matrix
from udfs.embedding.tokenizing import whole_count
from udfs.remote.failures import Busy, Refusal, shown

try:
    import boto3
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError as missing:
    raise not_installed("embedding by SageMaker or Bedrock", missing.name or "boto3", "aws") from missing

_CONNECT_S = 10.0
_BUSY = ("ThrottlingException", "TooManyRequestsException", "Throttling", "ServiceQuotaExceededException")
_STARTING = (
    "ModelNotReadyException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "InternalDependencyException",
)
_REFUSALS = ("ValidationException", "ValidationError")
_MISSING = ("NoCredentialsError", "PartialCredentialsError", "NoRegionError", "ParamValidationError", "ProfileNotFound")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def _client(service: str, region: str | None, url: str | None, embedding: Embedding, setting: str) -> Any:
    settings = Config(
        connect_timeout=min(_CONNECT_S, embedding.timeout),
        read_timeout=embedding.timeout,
        max_pool_connections=embedding.concurrency,
        retries={"total_max_attempts": 1},
        tcp_keepalive=True,
    )
    # a session of its own: boto3's shared one is not for several threads
    session = boto3.session.Session(botocore_session=botocore.session.get_session())
    try:
        return session.client(
            service, region_name=region or os.environ.get("AWS_REGION"), endpoint_url=url, config=settings
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigError([f"{setting}: {error}; set region, or AWS_REGION"]) from None


def _failure(error: ClientError | BotoCoreError, where: str, setting: str) -> FreshetError:
    if not isinstance(error, ClientError):
        if type(error).__name__ in _MISSING:
            return ConfigError([f"{setting}: {error}"])
        return Unavailable(f"{where} doesn't answer: {type(error).__name__}")
    details = error.response.get("Error", {})
    code, status = details.get("Code", ""), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    if code == "ModelError":
        # the container's own answer (SageMaker's InvokeEndpoint): 4xx is about the request, 5xx about the model
        status = int(error.response.get("OriginalStatusCode", status))
        code = f"ModelError ({status})"
    message = shown(f"{where} answers {code}: {details.get('Message', '')}".encode())
    if code in _BUSY or status == 429:
        return Busy(message)
    if code in _STARTING or status == 503:
        return Busy(message, fails=True)
    if code in _REFUSALS or (status in (400, 413, 422) and code.startswith("ModelError")):
        return Refusal(message)
    if status >= 500 or status in (408, 424):
        return Unavailable(message)
    return ConfigError([f"{setting}: {message}: check region, name and permissions"])


class SageMakerEndpoint:
    """InvokeEndpoint with JSON: `{"inputs": […]}`, or `{"text_inputs": […]}` of JumpStart's older models.

    prompt_name  sent beside them, as TEI's containers have it; None: nothing is

    Raises ConfigError where the tokenizer that is to count what is pooled isn't found.
    """

    def __init__(self, embedding: Embedding, to: SageMaker, prompt_name: str | None = None) -> None:
        self._client = _client("sagemaker-runtime", to.region, to.url, embedding, "embedding.sagemaker")
        self._name = to.endpoint
        self._field = to.request
        self._request = {**to.fields, **({} if prompt_name is None else {"prompt_name": prompt_name})}
        self._pooling = to.pooling
        self._count = None if embedding.tokenizer is None or to.pooling is None else whole_count(embedding.tokenizer)
        self.where = f"SageMaker endpoint {to.endpoint} in {self._client.meta.region_name}"

    def ask(self, texts: Sequence[str]) -> Vectors:
        """See `Endpoint.ask`."""
        body = _encode({self._field: texts, **self._request})
        try:
            answer = self._client.invoke_endpoint(
                EndpointName=self._name, ContentType="application/json", Accept="application/json", Body=body
            )["Body"].read()
        except (ClientError, BotoCoreError) as error:
            raise _failure(error, self.where, "embedding.sagemaker") from None
        rows = _json(self.where, answer)
        if isinstance(rows, dict):
            rows = next((rows[name] for name in ("embedding", "embeddings", "vectors") if name in rows), None)
        if self._pooling is not None:
            rows = pooled(self.where, rows, texts, self._pooling, self._count)
        return matrix(self.where, rows, len(texts))

    def close(self) -> None:
        """See `Endpoint.close`."""
        self._client.close()


def pooled(
    where: str, rows: Any, texts: Sequence[str], pooling: Literal["mean", "first"], count: Callable[[str], int] | None
) -> list[Vectors]:
    """A vector a text, shape (dimension,), of answers with a vector a token, shape (tokens, dimension) each.

    Hugging Face's pipeline puts each into a list of one, and pads what goes together: tokens behind those that `count`
    counts are padding; where there are fewer, the container has cut the text. Raises Refusal where the answer is of
    another shape.
    """
    if not isinstance(rows, list) or len(rows) != len(texts):
        raise Refusal(f"{where} answers no list of {len(texts)} texts' tokens: leave embedding.sagemaker.pooling out?")
    found = []
    for text, row in zip(texts, rows, strict=True):
        try:
            tokens: Vectors = np.asarray(row, np.float32)
        except (TypeError, ValueError):
            raise Refusal(f"{where} answers tokens whose vectors are of several lengths") from None
        tokens = tokens[0] if tokens.ndim == 3 and len(tokens) == 1 else tokens
        if tokens.ndim != 2 or not len(tokens):
            raise Refusal(
                f"{where} answers an array of shape {tokens.shape} for a text, where one vector a token was expected: "
                "leave embedding.sagemaker.pooling out"
            )
        real = len(tokens) if count is None else min(len(tokens), count(text))
        found.append(tokens[0] if pooling == "first" else tokens[:real].mean(axis=0))
    return found


class BedrockEndpoint:
    """InvokeModel of Titan Text Embeddings, one text a request, or of Cohere Embed."""

    def __init__(self, embedding: Embedding, to: Bedrock, of_questions: bool = False) -> None:
        self._client = _client("bedrock-runtime", to.region, to.url, embedding, "embedding.bedrock")
        self._model = to.model_id or embedding.model
        self._cohere = family(embedding.model) == "cohere"
        self.where = f"Bedrock model {self._model} in {self._client.meta.region_name}"
        self._request: dict[str, Any] = {}
        if self._cohere:
            self._request = {"input_type": "search_query" if of_questions else "search_document", "truncate": "NONE"}
        if to.dimensions is not None:
            self._request["output_dimension" if self._cohere else "dimensions"] = to.dimensions

    def ask(self, texts: Sequence[str]) -> Vectors:
        """See `Endpoint.ask`."""
        body = {**self._request, "texts": texts} if self._cohere else {**self._request, "inputText": texts[0]}
        try:
            answer = self._client.invoke_model(
                modelId=self._model, contentType="application/json", accept="application/json", body=_encode(body)
            )["body"].read()
        except (ClientError, BotoCoreError) as error:
            raise _failure(error, self.where, "embedding.bedrock") from None
        parsed = _json(self.where, answer)
        if not isinstance(parsed, dict):
            raise Refusal(f"{self.where} answers what is no object with vectors")
        rows = parsed.get("embeddings") if self._cohere else [parsed.get("embedding")]
        if isinstance(rows, dict):
            rows = rows.get("float")
        return matrix(self.where, rows, len(texts))

    def close(self) -> None:
        """See `Endpoint.close`."""
        self._client.close()


def _json(where: str, answer: bytes) -> Any:
    try:
        return _decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(f"{where} answers what is no JSON: {error}") from None
