"""How questions are answered from what is found, as the file of `freshet serve` says it.

A kind of answering model that is added has its settings here, an `Answering`, and a field of `Answer`; one that ranks
anew a `Ranking`, and a field of `Rerank`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from core.config.embedding import Key, Url
from core.config.source import Model
from core.config.variants import kinds, named, one


class Budget(Model):
    """What a prompt may have at most: so many tokens of the answering model's, or so many characters."""

    tokens: int | None = Field(None, ge=16, le=1_000_000)
    characters: int | None = Field(None, ge=64, le=4_000_000)

    @model_validator(mode="after")
    def _one(self) -> Budget:
        if (self.tokens is None) == (self.characters is None):
            raise ValueError("either tokens or characters must be given, and only one of them")
        return self


class Answering(Model):
    """Settings of an answering model, wherever it is."""

    @property
    def name(self) -> str:
        """The model's name, as requests and answers have it."""
        raise NotImplementedError


class OpenAiChat(Answering):
    """A server with OpenAI's `/v1/chat/completions`: vLLM, llama.cpp, Ollama, OpenAI itself. `url` ends before it."""

    url: Url
    model: str = Field(min_length=1)
    api_key: Key | None = None

    @property
    def name(self) -> str:
        """See `Answering.name`."""
        return self.model


class SageMakerChat(Answering):
    """A SageMaker endpoint that takes `inputs` and `parameters`: TGI, DJL, JumpStart's Llama 2 and Flan-T5.

    request      the field that holds what is asked: `inputs`, or `text_inputs` of JumpStart's older Flan-T5, whose
                 parameters stand beside it
    dialogs      whether `inputs` is a list of lists of messages, as JumpStart's Llama 2 chat has it; else one text
    stream       whether the container streams tokens, as TGI and DJL do; else an answer comes in one piece
    accept_eula  said with each request, as JumpStart's Llama 2 wants it
    url          another server that speaks the same protocol
    """

    endpoint: str = Field(pattern=r"^[A-Za-z0-9-]{1,63}$")
    region: str | None = Field(None, min_length=1)
    request: Literal["inputs", "text_inputs"] = "inputs"
    dialogs: bool = False
    stream: bool = True
    accept_eula: bool = False
    url: Url | None = None

    @property
    def name(self) -> str:
        """See `Answering.name`."""
        return self.endpoint


class BedrockChat(Answering):
    """A model of Bedrock's, by Converse. Credentials, and a region that isn't given, come from the usual chain."""

    model: str = Field(min_length=1)
    region: str | None = Field(None, min_length=1)
    url: Url | None = None

    @property
    def name(self) -> str:
        """See `Answering.name`."""
        return self.model


class Ranking(Model):
    """Settings of what ranks passages anew by a question."""


class TeiRanking(Ranking):
    """Text Embeddings Inference's `/rerank`."""

    url: Url
    api_key: Key | None = None


class CohereRanking(Ranking):
    """A server with Cohere's `/rerank`: Cohere itself, vLLM, Jina. `url` ends before it."""

    url: Url
    model: str = Field(min_length=1)
    api_key: Key | None = None


class FolderRanking(Ranking):
    """A cross-encoder of this machine, by its folder, as sentence-transformers saves it."""

    path: Path


class Rerank(Model):
    """What ranks anew what was found: one of these.

    candidates  so many chunks of each index are ranked anew
    timeout     seconds until its ranking; then the search's own holds
    """

    tei: TeiRanking | None = None
    cohere: CohereRanking | None = None
    folder: FolderRanking | None = None
    candidates: int = Field(50, ge=1, le=500)
    timeout: float = Field(5, gt=0, le=60)

    @model_validator(mode="after")
    def _one(self) -> Rerank:
        one(self, Ranking)
        return self

    @property
    def chosen(self) -> Ranking:
        """Its settings."""
        return one(self, Ranking)[1]


class Answer(Model):
    """From questions to answers: what is found for them, what a model is given of it, and which model that is.

    prompt     a file with the prompt's template; None: ours
    budget     of the whole prompt
    order      in which passages stand in it
    k          so many chunks of each index are looked at, where a request doesn't say
    mode       by what they are found
    tokenizer  what counts tokens: a model's folder or name, or a tokenizer.json; None: the answering model's, if its
               files are on this machine
    timeout    seconds until the model's first token, and between two
    rerank     what ranks anew what was found
    """

    openai: OpenAiChat | None = None
    sagemaker: SageMakerChat | None = None
    bedrock: BedrockChat | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    prompt: Path | None = None
    budget: Budget = Budget(tokens=2_000)
    order: Literal["best_last", "best_first"] = "best_last"
    k: int = Field(20, ge=1, le=200)
    mode: Literal["vector", "hybrid", "text"] = "vector"
    tokenizer: Path | None = None
    timeout: float = Field(60, gt=0, le=600)
    rerank: Rerank | None = None

    @model_validator(mode="after")
    def _one_model(self) -> Answer:
        given = named(self, Answering)
        if len(given) > 1:
            raise ValueError(f"either {' or '.join(given)} can be set, not both")
        only = [name for name in ("temperature", "top_p", "max_tokens") if getattr(self, name) is not None]
        if only and not given:
            there = ", ".join(kinds(type(self), Answering))
            raise ValueError(f"{', '.join(only)} needs an answering model: one of {there}")
        return self

    @property
    def model(self) -> Answering | None:
        """The answering model's settings; None: there is none, and contexts alone are made."""
        return next(iter(named(self, Answering).values()), None)
