"""The endpoints that a pipeline file names, opened. One that is added has its opener here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core.config.embedding import Bedrock, Embedding, OpenAi, SageMaker, Tei
from udfs.embedding.remote.endpoint import Endpoint

# Imported late: each provider's library is an extra of its own, and takes its time.


def _openai(embedding: Embedding, to: OpenAi, of_questions: bool) -> Endpoint:
    from udfs.embedding.remote.http import OpenAiEndpoint

    return OpenAiEndpoint(embedding, to, _prompt_name(embedding, of_questions))


def _tei(embedding: Embedding, to: Tei, of_questions: bool) -> Endpoint:
    from udfs.embedding.remote.http import TeiEndpoint

    return TeiEndpoint(embedding, to, _prompt_name(embedding, of_questions))


def _sagemaker(embedding: Embedding, to: SageMaker, of_questions: bool) -> Endpoint:
    from udfs.embedding.remote.aws import SageMakerEndpoint

    return SageMakerEndpoint(embedding, to, _prompt_name(embedding, of_questions))


def _bedrock(embedding: Embedding, to: Bedrock, of_questions: bool) -> Endpoint:
    from udfs.embedding.remote.aws import BedrockEndpoint

    return BedrockEndpoint(embedding, to, of_questions)


def _prompt_name(embedding: Embedding, of_questions: bool) -> str | None:
    return embedding.prompt_names.query if of_questions else embedding.prompt_names.document


ENDPOINTS: Mapping[str, Callable[[Embedding, Any, bool], Endpoint]] = {
    "openai": _openai,
    "tei": _tei,
    "sagemaker": _sagemaker,
    "bedrock": _bedrock,
}
"""By the names of `core.config.embedding.Embedding`'s fields, given their settings; the last says `of_questions`."""
