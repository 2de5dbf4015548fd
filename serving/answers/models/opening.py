"""The answering models that a server's file names, opened. One that is added has its opener here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core.config.answer import Answer, Answering, BedrockChat, OpenAiChat, SageMakerChat
from core.errors import not_installed
from serving.answers.models.contract import AnsweringModel
from serving.answers.models.openai import OpenAiModel
from serving.answers.models.timely import Timely

# Imported late: boto3 is an extra's, and takes its time.


def _openai(to: OpenAiChat, timeout_s: float) -> AnsweringModel:
    return OpenAiModel(to, timeout_s)


def _sagemaker(to: SageMakerChat, timeout_s: float) -> AnsweringModel:
    try:
        from serving.answers.models.sagemaker import SageMakerModel
    except ImportError as missing:
        raise not_installed("answer.sagemaker", missing.name or "boto3", "aws") from missing
    return SageMakerModel(to, timeout_s)


def _bedrock(to: BedrockChat, timeout_s: float) -> AnsweringModel:
    try:
        from serving.answers.models.bedrock import BedrockModel
    except ImportError as missing:
        raise not_installed("answer.bedrock", missing.name or "boto3", "aws") from missing
    return BedrockModel(to, timeout_s)


MODELS: Mapping[type[Answering], Callable[[Any, float], AnsweringModel]] = {
    OpenAiChat: _openai,
    SageMakerChat: _sagemaker,
    BedrockChat: _bedrock,
}
"""By the kinds of settings, given those and how many seconds to wait for the next piece of an answer."""


def opened(answer: Answer) -> AnsweringModel | None:
    """The answering model; None where the file names none. Raises ConfigError where its client can't be made."""
    if answer.model is None:
        return None
    return Timely(MODELS[type(answer.model)](answer.model, answer.timeout), answer.timeout)
