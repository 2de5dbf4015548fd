"""The endpoints that a pipeline file names, opened. One that is added has its opener here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core.config.embedding import Bedrock, Embedding, OpenAi, SageMaker, Tei
from udfs.embedding.remote.endpoint import Endpoint

# Imported late: each provider's library is an extra of its own, and takes its time.


def _openai(embedding: Embedding, to: OpenAi, of_questions: bool) -> Endpoint:
    from udfs.embedding.remote.http import OpenAiEndpoint

    return OpenAiEndpoint(embedding, to)


def _tei(embedding: Embedding, to: Tei, of_questions: bool) -> Endpoint:
    from udfs.embedding.remote.http import TeiEndpoint

    return TeiEndpoint(embedding, to)


def _sagemaker(embedding: Embedding, to: SageMaker, of_questions: bool) -> Endpoint:
    from udfs.embedding.remote.aws import SageMakerEndpoint

    return SageMakerEndpoint(embedding, to)


def _bedrock(embedding: Embedding, to: Bedrock, of_questions: bool) -> Endpoint:
    from udfs.embedding.remote.aws import BedrockEndpoint

    return BedrockEndpoint(embedding, to, of_questions)


ENDPOINTS: Mapping[str, Callable[[Embedding, Any, bool], Endpoint]] = {
    "openai": _openai,
    "tei": _tei,
    "sagemaker": _sagemaker,
    "bedrock": _bedrock,
}
"""By the names of `core.config.embedding.Embedding`'s fields, given their settings; the last says `of_questions`."""
