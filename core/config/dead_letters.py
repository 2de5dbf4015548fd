"""Where a pipeline's dead letters go, as the pipeline file says it.

A place that is added has its settings here, a `LettersTarget`, and a field of `DeadLetters`.
"""

from __future__ import annotations

from collections.abc import Collection

from pydantic import ConfigDict, Field, model_validator

from core.config.source import AwsClient, Kafka, Kinesis, Model, Name, Origin, clients_alone, cluster_of
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


class DeadLetterTopic(LettersTarget):
    """A topic of Kafka: on the source's cluster, or on the one that its own options name."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    topic: Name
    bootstrap_servers: str | None = Field(None, alias="properties.bootstrap.servers", min_length=1)

    @model_validator(mode="after")
    def _client_options_alone(self) -> DeadLetterTopic:
        clients_alone(self.model_extra or {}, self.bootstrap_servers)
        return self

    @property
    def place(self) -> str:
        """The topic."""
        return f"topic {self.topic}"

    def misfit(self, source: Origin, tables: Collection[str]) -> str:
        """See `LettersTarget.misfit`."""
        if self.cluster is None and not isinstance(source, Kafka):
            missing = "dead_letters.kafka.properties.bootstrap.servers is missing"
            return f"{missing}: the source has no Kafka cluster of its own"
        return ""

    @property
    def cluster(self) -> Kafka | None:
        """The cluster, where it isn't the source's."""
        return cluster_of(self.topic, self.bootstrap_servers, self.model_extra or {})


class DeadLetterStream(AwsClient, LettersTarget):
    """The Kinesis stream that rejected events go to, a record each."""

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
    """The bucket that rejected events go to, an object each, whose keys begin with `prefix`."""

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
