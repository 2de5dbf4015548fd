"""The pipeline file, as typed models; `core.config_file.load` reads it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from core.documents import DocumentSpec, columns
from core.formats.debezium_format import UNAVAILABLE, Binaries, DebeziumFormat, Decimals, Intervals, Times

_HOST = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?")
_UNIT_MS = {"s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_OURS = ("connector", "key.format", "value.format", "key.fields", "value.fields-include", "topic", "topic-pattern")
_OURS_IN_FLINK = ("python.execution-mode", "pipeline.max-parallelism", "parallelism.default")

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]

Table = Annotated[str, Field(pattern=r"^[^.]+\.[^.]+$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Kafka(_Model):
    """A Kafka source. Options that aren't fields here are the Flink Kafka connector's own, passed to it as they are."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    topic: str | None = None
    topic_pattern: str | None = Field(None, alias="topic-pattern", validate_default=True)
    bootstrap_servers: str = Field(alias="properties.bootstrap.servers", min_length=1)

    @field_validator("topic_pattern")
    @classmethod
    def _one_of_two(cls, topic_pattern: str | None, info: ValidationInfo) -> str | None:
        if (info.data.get("topic") is None) == (topic_pattern is None):
            raise ValueError("either topic or topic-pattern must be set, and only one of them")
        return topic_pattern

    @model_validator(mode="after")
    def _not_ours(self) -> Kafka:
        taken = [name for name in self.model_extra or {} if name in _OURS]
        if taken:
            raise ValueError(f"{', '.join(taken)} is set by Freshet; leave it out")
        return self

    @property
    def options(self) -> dict[str, str]:
        """The connector's own options, as text."""
        return {name: _option(value) for name, value in (self.model_extra or {}).items()}


def _option(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class Source(_Model):
    """Where change events come from."""

    kafka: Kafka


class Chunk(_Model):
    """How long a chunk is, and how much of the one before it repeats, both in the model's tokens."""

    tokens: int = Field(256, ge=8, le=100_000)
    overlap: int = Field(32, ge=0)

    @model_validator(mode="after")
    def _overlap_fits(self) -> Chunk:
        if self.overlap >= self.tokens:
            raise ValueError(f"overlap is {self.overlap}, must be less than tokens ({self.tokens})")
        return self


class Document(_Model):
    """How one table's rows become documents."""

    text: str = Field(min_length=1)
    metadata: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    chunk: Chunk = Chunk()
    types: dict[str, str] = {}
    sweep: bool = True

    @field_validator("text")
    @classmethod
    def _names_columns(cls, text: str) -> str:
        if not columns(text):
            raise ValueError("names no column; put one in braces, as in '{body}'")
        return text

    def spec(self, table: str) -> DocumentSpec:
        """The same, for `core.documents`."""
        return DocumentSpec(table, self.text, self.metadata, self.key)


class Embedding(_Model):
    """The model: a sentence-transformers name, a path, or `hash` (a deterministic embedder for tests)."""

    model: str = Field("all-MiniLM-L6-v2", min_length=1)


class Pgvector(_Model):
    """PostgreSQL with pgvector. `table` may be qualified with a schema."""

    dsn: str = Field(min_length=1)
    table: str = Field(pattern=r"^[^.\x00]+(\.[^.\x00]+)?$", max_length=120)


class Aws(_Model):
    """Where requests are signed for: Amazon OpenSearch Service. Credentials come from boto3's chain."""

    region: str = Field(min_length=1)
    service: Literal["es"] = "es"


class OpenSearch(_Model):
    """OpenSearch with its k-NN plugin. Settings are named as opensearch-py names them."""

    hosts: tuple[str, ...] = Field(min_length=1)
    index: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=200)
    user: str | None = None
    password: str | None = None
    ca_certs: str | None = None
    verify_certs: bool = True
    aws: Aws | None = None

    @field_validator("hosts")
    @classmethod
    def _are_urls(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for at, host in enumerate(hosts):
            if not _HOST.fullmatch(host):
                # not quoted: it may hold a password
                raise ValueError(f"the URL number {at + 1} isn't https://host:port; user and password have settings")
        return hosts

    @model_validator(mode="after")
    def _one_login(self) -> OpenSearch:
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password must be set both or neither")
        if self.user is not None and self.aws is not None:
            raise ValueError("either user and password or aws can be set, not both")
        return self


class Store(_Model):
    """Where vectors go: to each store that is named."""

    pgvector: Pgvector | None = None
    opensearch: OpenSearch | None = None

    @model_validator(mode="after")
    def _at_least_one(self) -> Store:
        if self.pgvector is None and self.opensearch is None:
            raise ValueError("names no store; it must have pgvector, opensearch or both")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The stores that are named."""
        return tuple(name for name in ("pgvector", "opensearch") if getattr(self, name) is not None)

    def place(self, name: str) -> str:
        """Where in the store chunks go, in its own words."""
        places = {
            "pgvector": self.pgvector and f"table {self.pgvector.table}",
            "opensearch": self.opensearch and f"index {self.opensearch.index}",
        }
        return places[name] or ""


class SourceDatabase(_Model):
    """The PostgreSQL database that the changes come from; its user needs no more than SELECT on the tables."""

    dsn: str = Field(min_length=1)


class Reselect(_Model):
    """Where rows are read again: values that did not travel with a change, and what `freshet verify` compares with."""

    postgres: SourceDatabase


class Debezium(_Model):
    """What the connector was told about values, under its own options' names and with its own defaults."""

    unavailable_value_placeholder: str = Field(UNAVAILABLE, alias="unavailable.value.placeholder", min_length=1)
    decimal_handling_mode: Decimals = Field("precise", alias="decimal.handling.mode")
    time_precision_mode: Times = Field("adaptive", alias="time.precision.mode")
    binary_handling_mode: Binaries = Field("bytes", alias="binary.handling.mode")
    interval_handling_mode: Intervals = Field("numeric", alias="interval.handling.mode")


class Format(_Model):
    """How events are written, where its name alone doesn't tell."""

    debezium: Debezium = Debezium()


class DeadLetterTopic(_Model):
    """The topic that rejected events go to, on the source's cluster."""

    topic: Name


class DeadLetters(_Model):
    """Where rejected events go."""

    kafka: DeadLetterTopic


class Pipeline(_Model):
    """A pipeline file."""

    name: Name
    source: Source
    format: Format
    documents: dict[Table, Document] = Field(min_length=1)
    embedding: Embedding = Embedding()
    store: Store
    dead_letters: DeadLetters
    reselect: Reselect | None = None
    delete_retention: str = Field("7 d", pattern=r"^[1-9][0-9]{0,5} ?(s|min|h|d)$")
    parallelism: int = Field(1, ge=1, le=128)
    flink: dict[str, str | int | float | bool] = {}

    @field_validator("format", mode="before")
    @classmethod
    def _by_name(cls, format_: Any) -> Any:
        if isinstance(format_, str):
            if format_ != "debezium":
                raise ValueError("input should be 'debezium', or a mapping with debezium's options")
            return Format()
        return format_

    @field_validator("flink")
    @classmethod
    def _not_ours(cls, flink: dict[str, Any]) -> dict[str, Any]:
        taken = [name for name in flink if name in _OURS_IN_FLINK]
        if taken:
            raise ValueError(f"{', '.join(taken)} is set by Freshet, because kept state depends on it; leave it out")
        return flink

    @property
    def delete_retention_ms(self) -> int:
        """How long deleted documents are remembered, so that late changes stay refused."""
        number, unit = re.split(r"(?<=\d) ?(?=[a-z])", self.delete_retention)
        return int(number) * _UNIT_MS[unit]

    @property
    def debezium(self) -> DebeziumFormat:
        """How events and their values are written, for `core.formats.debezium`."""
        types = {table: document.types for table, document in self.documents.items() if document.types}
        return DebeziumFormat(**self.format.debezium.model_dump(), types=types)

    @property
    def flink_options(self) -> dict[str, str]:
        """Flink's own options, as text."""
        return {name: _option(value) for name, value in self.flink.items()}
