"""Where conversations are written, as the file of `freshet serve` says it.

A place that is added has its settings here, a `ConversationsTarget`, and a field of `Conversations`.
"""

from __future__ import annotations

from pydantic import ConfigDict, Field, model_validator

from core.config.source import AwsClient, Kafka, Model
from core.config.topics import WrittenTopic
from core.config.variants import one


class ConversationsTarget(Model):
    """Settings of a place where conversations go."""


class ConversationsTopic(WrittenTopic, ConversationsTarget):
    """A topic of Kafka, made where it is missing."""

    model_config = WrittenTopic.model_config  # else the last base's would hold, which takes no client's options

    @model_validator(mode="after")
    def _has_a_cluster(self) -> ConversationsTopic:
        if self.bootstrap_servers is None:
            raise ValueError("properties.bootstrap.servers is missing: the cluster that has the topic")
        return self

    @property
    def kafka(self) -> Kafka:
        """The cluster."""
        assert self.cluster is not None
        return self.cluster


class ConversationsStream(AwsClient, ConversationsTarget):
    """A Kinesis stream, which is there, a record an event."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    stream: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")


class Conversations(Model):
    """Where conversations are written: one of these."""

    kafka: ConversationsTopic | None = None
    kinesis: ConversationsStream | None = None

    @model_validator(mode="after")
    def _one(self) -> Conversations:
        one(self, ConversationsTarget)
        return self

    @property
    def chosen(self) -> ConversationsTarget:
        """Its settings."""
        return one(self, ConversationsTarget)[1]
