"""Where a pipeline's events come from, as the pipeline file says it.

A source that is added has its settings here, an `Origin`, and a field of `Source`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from core.config.secrets import Reference
from core.config.variants import one

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

    _references: dict[str, Reference] = PrivateAttr(default_factory=dict)

    def refer(self, setting: str, reference: Reference) -> None:
        """Remember what a setting refers to: as its file is read, once."""
        self._references[setting] = reference

    def locate(self, where: Callable[[tuple[str, ...]], str]) -> None:
        """Remember where in its file what a later step may refuse stands: as its file is read, once.

        where  says of a setting's path the file and the line
        """

    def references(self, *settings: str) -> Mapping[str, Reference]:
        """Those of the settings that refer to secrets in the file, with what they refer to."""
        return {name: self._references[name] for name in settings if name in self._references}


class Origin(Model):
    """A source's settings, and what it promises.

    at          the setting that says where its servers are, "" if none
    elsewhere   why a job that runs on another machine can't read it; "" where it can
    backfilled  why there is nothing to backfill; "" where there may be
    """

    at: ClassVar[str] = ""
    elsewhere: ClassVar[str] = ""
    backfilled: ClassVar[str] = ""

    @property
    def servers(self) -> tuple[str, ...]:
        """Where they are, as `host:port` or URLs; none where they are a service's own."""
        return ()

    def misfit(self, format_: str, tells_order: bool) -> str:
        """Why events of a format can't come from here; "" where they can.

        tells_order  whether the events themselves say what orders a key's changes, whenever they arrive
        """
        return WITH_FILES if format_ == FILES else ""

    @property
    def is_bounded(self) -> bool:
        """Whether it is read to where it ends now, and no further."""
        return False

    def no_beginning(self) -> str:
        """Why a run can't read it from the beginning, which --rebuild does; "" where it can."""
        return ""


FILES = "files"
"""The format of a watched folder, and of nothing else."""

CONVERSATIONS = "conversations"
"""The format whose events tell of no rows. Their times are by the log's clock."""

WITH_FILES = "source.file and format: files go together, and neither with another one"


class Kafka(Origin):
    """Topics of Kafka. Options that have no field here are passed to Flink's Kafka connector as they are."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)
    at: ClassVar[str] = "properties.bootstrap.servers"

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

    @property
    def servers(self) -> tuple[str, ...]:
        """See `Origin.servers`."""
        return tuple(each.strip() for each in self.bootstrap_servers.split(","))

    @property
    def is_bounded(self) -> bool:
        """See `Origin.is_bounded`."""
        return self.options.get("scan.bounded.mode", "unbounded") != "unbounded"

    def no_beginning(self) -> str:
        """See `Origin.no_beginning`."""
        mode = self.options.get("scan.startup.mode", "group-offsets")
        return (
            "" if mode == "earliest-offset" else f"source.kafka.scan.startup.mode is {mode}: set it to earliest-offset"
        )


def option(value: Any) -> str:
    """A value of YAML as Flink's options are written."""
    return str(value).lower() if isinstance(value, bool) else str(value)


class AwsClient(Model):
    """Whom AWS clients ask. Credentials, and a region that isn't given, come from the usual chain."""

    region: str | None = Field(None, alias="aws.region", min_length=1)
    endpoint: str | None = Field(None, alias="aws.endpoint", pattern=r"^https?://[^\s/@]+/?$")


class AwsOrigin(AwsClient, Origin):
    """A source that is a service of AWS."""

    at: ClassVar[str] = "aws.endpoint"

    @property
    def servers(self) -> tuple[str, ...]:
        """See `Origin.servers`."""
        return (self.endpoint,) if self.endpoint else ()


InitialPosition = Literal["LATEST", "TRIM_HORIZON", "AT_TIMESTAMP"]


class Kinesis(AwsOrigin):
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

    def misfit(self, format_: str, tells_order: bool) -> str:
        """See `Origin.misfit`."""
        if format_ == CONVERSATIONS and self.connector is not None:
            return (
                "source.kinesis.connector is flink, whose time is not that of arrival, which conversations are counted "
                "by: leave connector out"
            )
        if self.connector is not None and not tells_order:
            return super().misfit(format_, tells_order) or (
                f"source.kinesis.connector is flink, which doesn't tell how records arrived, and {format_} is "
                "ordered by that: leave connector out"
            )
        return super().misfit(format_, tells_order)

    def no_beginning(self) -> str:
        """See `Origin.no_beginning`."""
        return _not_from_the_horizon("source.kinesis", self.position)


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds")


def _not_from_the_horizon(source: str, position: InitialPosition) -> str:
    setting = f"{source}.source.init.position"
    return "" if position == "TRIM_HORIZON" else f"{setting} is {position}: set it to TRIM_HORIZON"


class DynamodbStreams(AwsOrigin):
    """The DynamoDB Streams of a table. `streams_endpoint` is where records are asked for, if not where the table is."""

    table: str = Field(pattern=r"^[A-Za-z0-9_.-]{3,255}$")
    streams_endpoint: str | None = Field(None, alias="aws.streams.endpoint", pattern=r"^https?://[^\s/@]+/?$")
    position: Literal["LATEST", "TRIM_HORIZON"] = Field("TRIM_HORIZON", alias="source.init.position")

    def misfit(self, format_: str, tells_order: bool) -> str:
        """See `Origin.misfit`."""
        if format_ not in (FILES, "dynamodb"):
            return f"source.dynamodb is for format: dynamodb alone, not {format_}: a table's stream has its own records"
        return super().misfit(format_, tells_order)

    @property
    def servers(self) -> tuple[str, ...]:
        """See `Origin.servers`."""
        return tuple(each for each in (self.endpoint, self.streams_endpoint) if each)

    def no_beginning(self) -> str:
        """See `Origin.no_beginning`."""
        return _not_from_the_horizon("source.dynamodb", self.position)


class Sqs(AwsOrigin):
    """A queue that a bucket's notifications go to."""

    queue_url: str = Field(pattern=r"^https?://[^\s/@]+/\S+$")

    def misfit(self, format_: str, tells_order: bool) -> str:
        """See `Origin.misfit`."""
        if format_ not in (FILES, "s3"):
            return f"source.sqs is for format: s3 alone, not {format_}: a queue keeps no order"
        return super().misfit(format_, tells_order)

    def no_beginning(self) -> str:
        """See `Origin.no_beginning`."""
        return "source.sqs: a queue has no beginning: run --mixed, and then have `freshet backfill` tell of each object"


class Folder(Origin):
    """A folder on this machine, watched. `path` is relative to where the job is started."""

    elsewhere: ClassVar[str] = "source.file is a folder of this machine"
    backfilled: ClassVar[str] = "source.file: the job tells all files of its folder by itself"

    path: str = Field(min_length=1)

    def misfit(self, format_: str, tells_order: bool) -> str:
        """See `Origin.misfit`."""
        return "" if format_ == FILES else WITH_FILES


class Source(Model):
    """Where change events come from: one of these."""

    kafka: Kafka | None = None
    kinesis: Kinesis | None = None
    dynamodb: DynamodbStreams | None = None
    sqs: Sqs | None = None
    file: Folder | None = None

    @model_validator(mode="after")
    def _one(self) -> Source:
        one(self, Origin)
        return self

    @property
    def name(self) -> str:
        """Which of them it is."""
        return one(self, Origin)[0]

    @property
    def chosen(self) -> Origin:
        """Its settings."""
        return one(self, Origin)[1]
