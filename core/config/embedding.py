"""What makes vectors of texts, as the pipeline file says it: a model of this machine, or one behind an endpoint."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from core.config.embedding_limits import Limits
from core.config.source import Model

_OF_REMOTE = ("dimension", "max_texts", "max_tokens", "max_bytes", "concurrency", "timeout", "tokenizer")
_PROVIDERS = ("openai", "tei", "sagemaker", "bedrock")


def _fits_a_header(key: SecretStr) -> SecretStr:
    # HTTP clients quote a header that they can't send
    if not re.fullmatch(r"[!-~]+", key.get_secret_value()):
        raise ValueError("the key is empty, or has a character that no header can hold: a line's end, perhaps")
    return key


Key = Annotated[SecretStr, AfterValidator(_fits_a_header)]
"""A key that goes into a header; it shows itself to nobody."""

Url = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+[^\s?#@]*$")]
"""The address of a server, without user, password and query."""


class OpenAi(Model):
    """A server with OpenAI's `/v1/embeddings`: vLLM, TEI, `freshet model serve`, OpenAI itself. `url` ends before it.

    dimensions       asked for with each request, of models that can shorten their vectors
    encoding_format  `float` for servers that don't know base64, which is a quarter of the bytes
    """

    url: Url
    api_key: Key | None = None
    dimensions: int | None = Field(None, ge=1, le=16_000)
    encoding_format: Literal["base64", "float"] = "base64"


class Tei(Model):
    """Text Embeddings Inference, by its own `/embed`."""

    url: Url
    api_key: Key | None = None


class SageMaker(Model):
    """A SageMaker endpoint, by its name. Credentials, and a region that isn't given, come from the usual chain.

    request  the field that holds the texts: `inputs` of Hugging Face's containers, or `text_inputs` of JumpStart's
    url      another server that speaks the same protocol
    """

    endpoint: str = Field(pattern=r"^[A-Za-z0-9-]{1,63}$")
    region: str | None = Field(None, min_length=1)
    request: Literal["inputs", "text_inputs"] = "inputs"
    url: Url | None = None


class Bedrock(Model):
    """Bedrock's Titan and Cohere models. Credentials, and a region that isn't given, come from the usual chain.

    model_id    where it isn't `embedding.model`: an inference profile's ARN
    dimensions  asked for with each request, of models that can shorten their vectors
    """

    region: str | None = Field(None, min_length=1)
    model_id: str | None = Field(None, min_length=1)
    dimensions: int | None = Field(None, ge=1, le=16_000)
    url: Url | None = None


class Embedding(Model):
    """The model: a sentence-transformers name, a path, or `hash` (a deterministic embedder for tests).

    With one of the providers it is the name by which the endpoint knows the model, and the other settings are of use:

    dimension    numbers in a vector; without it the endpoint is asked once, when a process starts
    max_texts    in a request; what isn't said is what the provider documents, as are the next two
    concurrency  the most requests in flight, in each Python worker
    timeout      seconds until an answer
    tokenizer    what counts a chunk's tokens: a model's folder or name, or a tokenizer.json
    text         of a profile, with its values' names in braces; documents have texts of their own
    """

    model: str = Field("all-MiniLM-L6-v2", min_length=1)
    text: str | None = Field(None, min_length=1)
    openai: OpenAi | None = None
    tei: Tei | None = None
    sagemaker: SageMaker | None = None
    bedrock: Bedrock | None = None
    dimension: int | None = Field(None, ge=1, le=16_000)
    max_texts: int | None = Field(None, ge=1, le=100_000)
    max_tokens: int | None = Field(None, ge=1)
    max_bytes: int | None = Field(None, ge=1_000)
    concurrency: int = Field(16, ge=1, le=256)
    timeout: float = Field(60, gt=0, le=3_600)
    tokenizer: Path | None = None

    @model_validator(mode="after")
    def _one_provider(self) -> Embedding:
        named = [name for name in _PROVIDERS if getattr(self, name) is not None]
        if len(named) > 1:
            raise ValueError(f"either {' or '.join(named)} can be set, not both")
        unused = [name for name in _OF_REMOTE if name in self.model_fields_set]
        if not named and unused:
            raise ValueError(f"{', '.join(unused)} needs an endpoint: one of {', '.join(_PROVIDERS)}")
        if self.bedrock is not None and self.bedrock_family is None:
            raise ValueError("model is no model of Bedrock's that is known: amazon.titan-embed-… or cohere.embed-…")
        if self.dimensions is not None and self.dimension not in (None, self.dimensions):
            raise ValueError(f"dimension is {self.dimension}, but dimensions, which is asked for, is {self.dimensions}")
        return self

    @property
    def remote(self) -> bool:
        """Whether the model is behind an endpoint."""
        return any(getattr(self, name) is not None for name in _PROVIDERS)

    @property
    def dimensions(self) -> int | None:
        """What requests ask for, of models that can shorten their vectors."""
        provider = self.openai or self.bedrock
        return None if provider is None else provider.dimensions

    @property
    def bedrock_family(self) -> Literal["titan", "cohere"] | None:
        """Whose requests the model understands. Names may have a region before them, as in eu.cohere.embed-v4:0."""
        if "cohere.embed" in self.model:
            return "cohere"
        return "titan" if "amazon.titan-embed" in self.model else None

    @property
    def limits(self) -> Limits:
        """What a request may hold: as the file says, else as the provider documents it.

        OpenAI: 2,048 texts and 300,000 tokens. TEI: 32 texts (--max-client-batch-size) and 2 MB (--payload-limit).
        SageMaker: 6 MB; 32 texts, as TEI's containers have it. Bedrock: one text of Titan's, 96 of Cohere's.
        """
        if self.openai is not None:
            documented = Limits(2_048, 300_000, None)
        elif self.tei is not None:
            documented = Limits(32, None, 2_000_000)
        elif self.sagemaker is not None:
            documented = Limits(32, None, 6_000_000)
        else:
            documented = Limits(96 if self.bedrock_family == "cohere" else 1, None, None)
        # Titan's request holds one text, whatever the file says
        most = 1 if self.bedrock_family == "titan" and self.bedrock is not None else self.max_texts
        return Limits(
            most or documented.texts, self.max_tokens or documented.tokens, self.max_bytes or documented.bytes
        )
