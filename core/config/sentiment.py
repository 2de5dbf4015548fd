"""What judges how a text's writer feels, as the pipeline file says it: rules, a head on vectors, or a model elsewhere.

A judge elsewhere that is added has its settings here, a `Judging`, and a field of `Sentiment`.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from core.config.embedding import Key, Url
from core.config.source import Model
from core.config.variants import named

VADER = "vader"
"""The model that is a list of words and some rules: Hutto and Gilbert (2014)."""

EMBEDDER = "embedder"
"""The model that is a logistic head on the default embedder's vectors, as Freshet ships it."""


class Judging(Model):
    """Settings of a model elsewhere that judges texts."""

    @property
    def name(self) -> str:
        """The model's name, as requests have it."""
        raise NotImplementedError

    @property
    def servers(self) -> tuple[str, ...]:
        """Its server's URL; none where it is a service's own."""
        return ()


class OpenAiJudge(Judging):
    """A chat model behind OpenAI's `/v1/chat/completions`, which answers by a fixed schema. `url` ends before it.

    temperature  None: none is asked for, as some models want it
    max_texts    in a request, which answers a number for each
    concurrency  the most requests in flight, in each Python worker
    timeout      seconds until an answer
    """

    url: Url
    model: str = Field(min_length=1)
    api_key: Key | None = None
    temperature: float | None = Field(0, ge=0, le=2)
    max_texts: int = Field(8, ge=1, le=64)
    concurrency: int = Field(8, ge=1, le=256)
    timeout: float = Field(60, gt=0, le=3_600)

    @property
    def name(self) -> str:
        """See `Judging.name`."""
        return self.model

    @property
    def servers(self) -> tuple[str, ...]:
        """See `Judging.servers`."""
        return (self.url,)


class Sentiment(Model):
    """What judges: a model of this machine by its name, or one elsewhere.

    model  `vader`, `embedder`, or the folder of a logistic head of one's own on an embedder's vectors
    """

    model: str = Field(VADER, min_length=1)
    openai: OpenAiJudge | None = None

    @model_validator(mode="after")
    def _one_model(self) -> Sentiment:
        given = named(self, Judging)
        if given and "model" in self.model_fields_set:
            raise ValueError(f"either model or {' or '.join(given)} can be set, not both")
        return self

    @property
    def elsewhere(self) -> Judging | None:
        """The settings of a model elsewhere; None where the model is of this machine."""
        return next(iter(named(self, Judging).values()), None)

    @property
    def judged_by(self) -> str:
        """The name of the kind of model elsewhere, as in `openai`; "" where the model is of this machine."""
        return next(iter(named(self, Judging)), "")

    @property
    def folder(self) -> Path | None:
        """The folder of a head of one's own; None where something else judges."""
        ours = self.elsewhere is not None or self.model in (VADER, EMBEDDER)
        return None if ours else Path(self.model)

    @property
    def name(self) -> str:
        """What figures and rows call the model."""
        return self.model if self.elsewhere is None else self.elsewhere.name
