"""Where a pipeline's dead letters go, as the pipeline file says it.

A place that is added has its settings here, a `LettersTarget`, and a field of `DeadLetters`.
"""

from __future__ import annotations

from collections.abc import Collection

from pydantic import Field, model_validator

from core.config.source import AwsClient, Kinesis, Model, Origin
from core.config.topics import WrittenTopic
from core.config.variants import one


class LettersTarget(Model):
    """Settings of a place where dead letters go, and what it promises."""

    @property
    def place(self) -> str:
        """Where they go, in the place's own words, as in `topic articles.dead-letters`."""
        raise NotImplementedError

    def misfit(self, source: Origin, tables: Collection[str]) -> str:
        """Why letters of what a source tells of these tables can't go here; "" where they can."""
        return ""

    def is_topic(self, name: str) -> bool:
        """Whether they go to a topic of this name."""
        return False


class DeadLetterTopic(WrittenTopic, LettersTarget):
    """A topic of Kafka: on the source's cluster, or on the one that its own options name."""

    model_config = WrittenTopic.model_config  # else the last base's would hold, which takes no client's options

    @property
    def place(self) -> str:
        """The topic."""
        return f"topic {self.topic}"

    def misfit(self, source: Origin, tables: Collection[str]) -> str:
        """See `LettersTarget.misfit`."""
        missing = self.without_cluster(source)
        return f"dead_letters.kafka.{missing}" if missing else ""

    def is_topic(self, name: str) -> bool:
        """See `LettersTarget.is_topic`."""
        return name == self.topic


class DeadLetterStream(AwsClient, LettersTarget):
    """A Kinesis stream, a record a letter."""

    stream: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")

    @property
    def place(self) -> str:
        """The stream."""
        return f"Kinesis stream {self.stream}"

    def misfit(self, source: Origin, tables: Collection[str]) -> str:
        """See `LettersTarget.misfit`: what the job reads it can't write its letters into."""
        if isinstance(source, Kinesis) and source.name == self.stream:
            return f"dead_letters.kinesis.stream is {self.stream}, which is the source's own: letters need another one"
        return ""


class DeadLetterObjects(AwsClient, LettersTarget):
    """A bucket of S3, an object a letter, whose keys begin with `prefix`."""

    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    prefix: str = Field("", pattern=r"^([A-Za-z0-9_.=-]{1,100}/){0,5}$")

    @property
    def place(self) -> str:
        """The bucket, and the prefix."""
        return f"s3://{self.bucket}/{self.prefix}"

    def misfit(self, source: Origin, tables: Collection[str]) -> str:
        """See `LettersTarget.misfit`: a letter of the documents' bucket would be a document, and a letter again."""
        if f"s3.{self.bucket}" in tables:
            return f"dead_letters.s3.bucket is {self.bucket}, whose objects are documents: letters need another one"
        return ""


class DeadLetters(Model):
    """Where rejected events go: one of these."""

    kafka: DeadLetterTopic | None = None
    kinesis: DeadLetterStream | None = None
    s3: DeadLetterObjects | None = None

    @model_validator(mode="after")
    def _one(self) -> DeadLetters:
        one(self, LettersTarget)
        return self

    @property
    def name(self) -> str:
        """Which of them it is."""
        return one(self, LettersTarget)[0]

    @property
    def chosen(self) -> LettersTarget:
        """Its settings."""
        return one(self, LettersTarget)[1]
