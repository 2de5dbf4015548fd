"""Where a pipeline's events come from and its dead letters go, as the pipeline file says it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

_SOURCES = ("kafka", "kinesis", "dynamodb", "sqs", "file")
_OURS = ("connector", "key.format", "value.format", "key.fields", "value.fields-include", "topic", "topic-pattern")
# Flink's documentation, "Apache Kafka SQL Connector" and, of watermarks, "CREATE Statements"
_KAFKAS = (
    "scan.startup.mode",
    "scan.startup.specific-offsets",
    "scan.startup.timestamp-millis",
    "scan.bounded.mode",
    "scan.bounded.specific-offsets",
    "scan.bounded.timestamp-millis",
    "scan.topic-partition-discovery.interval",
    "scan.parallelism",
)
_KAFKAS_KINDS = ("properties.", "scan.watermark.")

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


def _patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return patterns


TablePatterns = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=500)], ...], AfterValidator(_patterns)]
"""Regular expressions of whole table names, as Debezium's `table.include.list` has them."""


class Model(BaseModel):
    """What a pipeline file's parts have in common: they can't be changed, and know all their settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Kafka(Model):
    """A Kafka source. Options that aren't fields here are the Flink Kafka connector's own, passed to it as they are."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    topic: str | None = None
    topic_pattern: str | None = Field(None, alias="topic-pattern", validate_default=True)
    bootstrap_servers: str = Field(alias="properties.bootstrap.servers", min_length=1)

    @field_validator("topic_pattern")
    @classmethod
    def _one_of_two(cls, topic_pattern: str | None, info: ValidationInfo) -> str | None:
        # a topic that isn't there by now was refused, and that problem is reported
        if "topic" in info.data and (info.data["topic"] is None) == (topic_pattern is None):
            raise ValueError("either topic or topic-pattern must be set, and only one of them")
        return topic_pattern

    @model_validator(mode="after")
    def _not_ours(self) -> Kafka:
        taken = [name for name in self.model_extra or {} if name in _OURS]
        if taken:
            raise ValueError(f"{', '.join(taken)} is set by Freshet; leave it out")
        return self

    @model_validator(mode="after")
    def _the_connectors(self) -> Kafka:
        for name in self.model_extra or {}:
            if name not in _KAFKAS and not name.startswith(_KAFKAS_KINDS):
                near = get_close_matches(name, _KAFKAS, 1)
                there = f"did you mean {near[0]}?" if near else f"there are properties.… and {', '.join(_KAFKAS)}"
                raise ValueError(f"{name} is no option of Flink's connector for Kafka; {there}")
        return self

    @property
    def options(self) -> dict[str, str]:
        """The connector's own options, as text."""
        return {name: option(value) for name, value in (self.model_extra or {}).items()}


def option(value: Any) -> str:
    """A value of YAML as Flink's options are written."""
    return str(value).lower() if isinstance(value, bool) else str(value)


class AwsClient(Model):
    """Whom AWS clients ask. Credentials, and a region that isn't given, come from the usual chain."""

    region: str | None = Field(None, alias="aws.region", min_length=1)
    endpoint: str | None = Field(None, alias="aws.endpoint", pattern=r"^https?://[^\s/@]+/?$")


InitialPosition = Literal["LATEST", "TRIM_HORIZON", "AT_TIMESTAMP"]


class Kinesis(AwsClient):
    """A Kinesis stream. Options are named as Flink's Kinesis connector names them.

    connector  `flink` reads with that connector; then options that aren't fields here are passed to it as they are
    """

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    connector: Literal["flink"] | None = None
    stream: str | None = Field(None, pattern=r"^[A-Za-z0-9_.-]{1,128}$")
    arn: str | None = Field(None, alias="stream.arn", pattern=r"^arn:[a-z-]+:kinesis:[a-z0-9-]+:\d{12}:stream/[\w.-]+$")
    position: InitialPosition = Field("LATEST", alias="source.init.position")
    timestamp: AwareDatetime | None = Field(None, alias="source.init.timestamp")

    @model_validator(mode="after")
    def _timestamp_with_its_position(self) -> Kinesis:
        if self.timestamp is None and self.position == "AT_TIMESTAMP":
            raise ValueError("source.init.timestamp is missing; source.init.position: AT_TIMESTAMP needs it")
        if self.timestamp is not None and self.position != "AT_TIMESTAMP":
            raise ValueError("source.init.timestamp is of use with source.init.position: AT_TIMESTAMP alone")
        return self

    @model_validator(mode="after")
    def _as_its_reader_needs_it(self) -> Kinesis:
        others = ", ".join(self.model_extra or {})
        if self.connector is None and others:
            raise ValueError(f"{others} is no setting of Freshet's own reader; connector: flink takes that connector's")
        if self.connector is None and (self.stream is None or self.arn is not None):
            raise ValueError("must have stream, the stream's name; stream.arn is what connector: flink needs")
        if self.connector == "flink" and (self.arn is None or self.stream is not None):
            raise ValueError("must have stream.arn with connector: flink, and no stream")
        if "format" in (self.model_extra or {}):
            raise ValueError("format is set by Freshet; leave it out")
        return self

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.stream or (self.arn or "").rpartition("/")[2]

    @property
    def options(self) -> dict[str, str]:
        """The options of Flink's connector, as text."""
        given = {
            "stream.arn": self.arn,
            "aws.region": self.region,
            "aws.endpoint": self.endpoint,
            "source.init.position": self.position,
            "source.init.timestamp": None if self.timestamp is None else _iso(self.timestamp),
            **(self.model_extra or {}),
        }
        return {name: option(value) for name, value in given.items() if value is not None}


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds")


class DynamodbStreams(AwsClient):
    """The DynamoDB Streams of a table."""

    table: str = Field(pattern=r"^[A-Za-z0-9_.-]{3,255}$")
    position: Literal["LATEST", "TRIM_HORIZON"] = Field("TRIM_HORIZON", alias="source.init.position")


class Sqs(AwsClient):
    """A queue that a bucket's notifications go to."""

    queue_url: str = Field(pattern=r"^https?://[^\s/@]+/\S+$")


class Folder(Model):
    """A folder on this machine, watched. `path` is relative to where the job is started."""

    path: str = Field(min_length=1)


class Source(Model):
    """Where change events come from: one of these."""

    kafka: Kafka | None = None
    kinesis: Kinesis | None = None
    dynamodb: DynamodbStreams | None = None
    sqs: Sqs | None = None
    file: Folder | None = None

    @model_validator(mode="after")
    def _one(self) -> Source:
        named = [name for name in _SOURCES if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(f"names {' and '.join(named) or 'nothing'}; it must have one of {', '.join(_SOURCES)}")
        return self

    @property
    def name(self) -> str:
        """Which of them it is."""
        return next(name for name in _SOURCES if getattr(self, name) is not None)


class DeadLetterTopic(Model):
    """The topic that rejected events go to: on the source's cluster, or on the one that its own options name."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    topic: Name
    bootstrap_servers: str | None = Field(None, alias="properties.bootstrap.servers", min_length=1)

    @model_validator(mode="after")
    def _client_options_alone(self) -> DeadLetterTopic:
        other = [name for name in self.model_extra or {} if not name.startswith("properties.")]
        if other:
            raise ValueError(f"{other[0]} is no setting; beside topic there are only Kafka's own, properties.…")
        if self.model_extra and self.bootstrap_servers is None:
            raise ValueError("properties.bootstrap.servers is missing; a cluster's other options go with it")
        return self

    @property
    def cluster(self) -> Kafka | None:
        """The cluster, where it isn't the source's."""
        if self.bootstrap_servers is None:
            return None
        return Kafka.model_validate(
            {**(self.model_extra or {}), "topic": self.topic, "properties.bootstrap.servers": self.bootstrap_servers}
        )


class DeadLetters(Model):
    """Where rejected events go."""

    kafka: DeadLetterTopic
