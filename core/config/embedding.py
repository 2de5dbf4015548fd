"""What makes vectors of texts, as the pipeline file says it: a model of this machine, or one behind an endpoint.

An endpoint that is added has its settings here, a `Provider`, and a field of `Embedding`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from core.config.request_limits import Limits
from core.config.source import Model
from core.config.variants import kinds, named

EngineName = Literal["auto", "torch", "openvino"]
"""What computes a model of this machine; `auto`: the fastest whose vectors are those of torch."""

Precision = Literal["auto", "float32", "bfloat16"]
"""Of a model's arithmetic; `auto`: as exact as the device is made for, which is float32 on a CPU."""

_OF_LOCAL = ("engine", "precision")
_OF_REMOTE = ("dimension", "max_texts", "max_tokens", "max_bytes", "concurrency", "timeout", "tokenizer")


def fits_a_header(key: str) -> bool:
    """Whether a key can be sent: letters, digits and signs of ASCII, and no white space."""
    return re.fullmatch(r"[!-~]+", key) is not None


def _fitting(key: SecretStr) -> SecretStr:
    # HTTP clients quote a header that they can't send
    if not fits_a_header(key.get_secret_value()):
        raise ValueError("the key is empty, or has a character that no header can hold: a line's end, perhaps")
    return key


Key = Annotated[SecretStr, AfterValidator(_fitting)]
"""A key that goes into a header; it shows itself to nobody."""

Url = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+[^\s?#@]*$")]
"""The address of a server, without user, password and query."""


class Provider(Model):
    """Settings of an endpoint that embeds, and what it promises.

    at             the setting that says where its server is, "" where it is a service's own
    knows_prompts  whether a request may name a prompt
    """

    at: ClassVar[str] = ""
    knows_prompts: ClassVar[bool] = True

    @property
    def servers(self) -> tuple[str, ...]:
        """Its server's URL; none where it is a service's own."""
        return ()

    @property
    def shortens(self) -> int | None:
        """Numbers in a vector that requests ask for, of models that can shorten theirs."""
        return None

    def documented(self, model: str) -> Limits:
        """What a request may hold, as the provider documents it."""
        return Limits(1)

    def takes_one_text(self, model: str, counted: bool) -> bool:
        """Whether a request holds one text, whatever the file says. `counted`: it names what counts a text's tokens."""
        return False

    def longest_text(self, model: str) -> int | None:
        """The most characters of a text that the model takes; None where it goes by tokens alone."""
        return None

    def misfit(self, model: str) -> str:
        """Why it can't have a model of that name; "" where it can."""
        return ""

    def tells_questions_apart(self, model: str) -> bool:
        """Whether the model embeds a question otherwise than what is found by it."""
        return False


class OpenAi(Provider):
    """A server with OpenAI's `/v1/embeddings`: vLLM, TEI, `freshet model serve`, OpenAI itself. `url` ends before it.

    dimensions       asked for with each request, of models that can shorten their vectors
    encoding_format  `float` for servers that don't know base64, which is a quarter of the bytes
    """

    at: ClassVar[str] = "url"

    url: Url
    api_key: Key | None = None
    dimensions: int | None = Field(None, ge=1, le=16_000)
    encoding_format: Literal["base64", "float"] = "base64"

    @property
    def servers(self) -> tuple[str, ...]:
        """See `Provider.servers`."""
        return (self.url,)

    @property
    def shortens(self) -> int | None:
        """See `Provider.shortens`."""
        return self.dimensions

    def documented(self, model: str) -> Limits:
        """2,048 texts and 300,000 tokens, as OpenAI has it."""
        return Limits(2_048, 300_000, None)


class Tei(Provider):
    """Text Embeddings Inference, by its own `/embed`."""

    at: ClassVar[str] = "url"

    url: Url
    api_key: Key | None = None

    @property
    def servers(self) -> tuple[str, ...]:
        """See `Provider.servers`."""
        return (self.url,)

    def documented(self, model: str) -> Limits:
        """32 texts (--max-client-batch-size) and 2 MB (--payload-limit)."""
        return Limits(32, None, 2_000_000)


class SageMaker(Provider):
    """A SageMaker endpoint, by its name. Credentials, and a region that isn't given, come from the usual chain.

    request  the field that holds the texts: `inputs` of Hugging Face's containers, or `text_inputs` of JumpStart's
    fields   further fields of each request, as JumpStart's `mode: embedding`
    pooling  of containers that answer a vector a token, as Hugging Face's for feature extraction do: the mean of a
             text's tokens, or the first. Texts that go together are padded: the mean is of as many tokens as
             `embedding.tokenizer` counts, and without that each text goes alone
    url      another server that speaks the same protocol
    """

    endpoint: str = Field(pattern=r"^[A-Za-z0-9-]{1,63}$")
    region: str | None = Field(None, min_length=1)
    request: Literal["inputs", "text_inputs"] = "inputs"
    fields: dict[str, str | int | float | bool] = Field(default_factory=dict)
    pooling: Literal["mean", "first"] | None = None
    url: Url | None = None

    def __hash__(self) -> int:
        """By what it says: `fields` is a dict, which has no hash of its own."""
        return hash(self.model_dump_json())

    @field_validator("fields")
    @classmethod
    def _not_ours(cls, fields: dict[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
        if ours := [name for name in ("inputs", "text_inputs", "prompt_name") if name in fields]:
            raise ValueError(f"{ours[0]} is set by Freshet; leave it out: request and prompt_names are the settings")
        return fields

    def documented(self, model: str) -> Limits:
        """6 MB; 32 texts, as TEI's containers have it."""
        return Limits(32, None, 6_000_000)

    def takes_one_text(self, model: str, counted: bool) -> bool:
        """See `Provider.takes_one_text`."""
        return self.pooling == "mean" and not counted


class Bedrock(Provider):
    """Bedrock's Titan and Cohere models. Credentials, and a region that isn't given, come from the usual chain.

    model_id    where it isn't `embedding.model`: an inference profile's ARN
    dimensions  asked for with each request, of models that can shorten their vectors
    """

    knows_prompts: ClassVar[bool] = False

    region: str | None = Field(None, min_length=1)
    model_id: str | None = Field(None, min_length=1)
    dimensions: int | None = Field(None, ge=1, le=16_000)
    url: Url | None = None

    @property
    def shortens(self) -> int | None:
        """See `Provider.shortens`."""
        return self.dimensions

    def documented(self, model: str) -> Limits:
        """One text of Titan's, 96 of Cohere's."""
        return Limits(96 if family(model) == "cohere" else 1)

    def takes_one_text(self, model: str, counted: bool) -> bool:
        """See `Provider.takes_one_text`."""
        return family(model) == "titan"

    def longest_text(self, model: str) -> int | None:
        """2,048 characters of Cohere's models of the third version: Bedrock User Guide, "Cohere Embed models"."""
        return 2_048 if family(model) == "cohere" and model.endswith("-v3") else None

    def misfit(self, model: str) -> str:
        """See `Provider.misfit`."""
        known = "amazon.titan-embed-… or cohere.embed-…"
        return "" if family(model) else f"model is no model of Bedrock's that is known: {known}"

    def tells_questions_apart(self, model: str) -> bool:
        """See `Provider.tells_questions_apart`."""
        return family(model) == "cohere"


def family(model: str) -> Literal["titan", "cohere", ""]:
    """Whose requests a model of Bedrock's understands. Names may have a region before them: eu.cohere.embed-v4:0."""
    if "cohere.embed" in model:
        return "cohere"
    return "titan" if "amazon.titan-embed" in model else ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What says to a model whether a text is a question or a document.

    text  stands before it when it is embedded
    name  by which an endpoint knows what it puts before it, where that is left to it
    """

    text: str = ""
    name: str = ""

    @property
    def mark(self) -> str:
        """What tells apart the names of what was embedded behind different prompts: `+` and 8 hexadecimal digits."""
        return f"+{blake2b(f'{self.name}|{self.text}'.encode(), digest_size=4).hexdigest()}"

    def __str__(self) -> str:
        """For people to read."""
        return f"the endpoint's prompt {self.name!r}" if self.name else repr(self.text)


def mark_of(rounded: str) -> str:
    """What tells apart the names of what was embedded in another precision than float32; "" of float32 itself."""
    return f"~{rounded}" if rounded else ""


class Sides(Model):
    """What is said of questions, and of documents; None: as the model's own files say."""

    query: str | None = None
    document: str | None = None


class Embedding(Model):
    """The model: a sentence-transformers name, a path, or `hash` (a deterministic embedder for tests).

    prompts       what stands before a text when it is embedded; else what the model's own files say
    prompt_names  the same by a name: of the model's own, or of those that its endpoint knows
    engine        what computes a model of this machine
    precision     of its arithmetic

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
    prompts: Sides = Sides()
    prompt_names: Sides = Sides()
    engine: EngineName = "auto"
    precision: Precision = "auto"
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
        given = named(self, Provider)
        if len(given) > 1:
            raise ValueError(f"either {' or '.join(given)} can be set, not both")
        unused = [name for name in _OF_REMOTE if name in self.model_fields_set]
        if not given and unused:
            raise ValueError(f"{', '.join(unused)} needs an endpoint: one of {', '.join(kinds(type(self), Provider))}")
        for provider in given.values():
            if misfit := provider.misfit(self.model):
                raise ValueError(misfit)
        if self.dimensions is not None and self.dimension not in (None, self.dimensions):
            raise ValueError(f"dimension is {self.dimension}, but dimensions, which is asked for, is {self.dimensions}")
        return self

    @model_validator(mode="after")
    def _an_engine_has_a_model(self) -> Embedding:
        given = [name for name in _OF_LOCAL if getattr(self, name) != "auto"]
        if given and (self.remote or self.model == "hash"):
            whose = f"embedding.{self.provided_by} decides for itself" if self.remote else "hash is computed in one way"
            raise ValueError(f"{', '.join(given)} can't be set: {whose}; leave it out")
        return self

    @model_validator(mode="after")
    def _one_prompt_a_side(self) -> Embedding:
        for side in Sides.model_fields:
            if getattr(self.prompts, side) is not None and getattr(self.prompt_names, side) is not None:
                raise ValueError(f"either prompts.{side} or prompt_names.{side} can be set, not both")
        if self.provider is not None and not self.provider.knows_prompts and self.prompt_names != Sides():
            raise ValueError(f"prompt_names: {self.provided_by} knows no prompts by name; set prompts, or leave it out")
        return self

    @property
    def rounded(self) -> str:
        """The precision that marks the vectors, where they differ from float32's by more than engines do; else "".

        What `auto` takes on a GPU isn't in it: it was never written down, and is nearer than `verify` looks.
        """
        return "bfloat16" if self.precision == "bfloat16" else ""

    @property
    def asks_otherwise(self) -> bool:
        """Whether requests to the endpoint say that a text is a question."""
        by_model = self.provider is not None and self.provider.tells_questions_apart(self.model)
        return by_model or self.prompt_names != Sides()

    @property
    def provider(self) -> Provider | None:
        """The endpoint that has the model; None where the model is of this machine."""
        return next(iter(named(self, Provider).values()), None)

    @property
    def provided_by(self) -> str:
        """The name of the endpoint's kind, as in `tei`; "" where the model is of this machine."""
        return next(iter(named(self, Provider)), "")

    @property
    def remote(self) -> bool:
        """Whether the model is behind an endpoint."""
        return self.provider is not None

    @property
    def dimensions(self) -> int | None:
        """What requests ask for, of models that can shorten their vectors."""
        return None if self.provider is None else self.provider.shortens

    @property
    def limits(self) -> Limits:
        """What a request may hold: as the file says, else as the provider documents it."""
        provider = self.provider or Provider()
        documented = provider.documented(self.model)
        alone = provider.takes_one_text(self.model, self.tokenizer is not None)
        most = 1 if alone else self.max_texts or documented.texts
        return Limits(most, self.max_tokens or documented.tokens, self.max_bytes or documented.bytes)
