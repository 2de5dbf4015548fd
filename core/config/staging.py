"""Stores that documents are staged to, for other systems to follow, as the pipeline file says them."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from core.config.source import AwsClient, Kafka
from core.config.store_promises import KAFKA, KINESIS, StorePromise
from core.config.targets import Target
from core.config.topics import WrittenTopic

Precision = Literal["float32", "float16"]


class StagedTopic(WrittenTopic, Target):
    """Documents with their vectors, or KPIs, as records of compacted topics of Kafka, for other systems to follow.

    largest_record  bytes; a document that has more is several records
    """

    model_config = WrittenTopic.model_config  # else the last base's would hold, which takes no client's options
    at: ClassVar[str] = "properties.bootstrap.servers"
    promise: ClassVar[StorePromise | None] = KAFKA
    staged: ClassVar[bool] = True
    of_vectors: ClassVar[frozenset[str]] = frozenset({"largest_record", "precision"})

    partitions: int = Field(3, ge=1, le=1_000)
    largest_record: int = Field(900_000, ge=10_000, le=30_000_000)
    precision: Precision = "float32"

    @model_validator(mode="after")
    def _has_cluster(self) -> StagedTopic:
        if self.bootstrap_servers is None:
            raise ValueError("properties.bootstrap.servers is missing")
        return self

    @property
    def kafka(self) -> Kafka:
        """The cluster."""
        assert self.cluster is not None
        return self.cluster

    @property
    def servers(self) -> tuple[str, ...]:
        """The cluster's."""
        return self.kafka.servers

    def place(self, pipeline: str) -> str:
        """The topic."""
        return f"topic {self.topic}"


class StagedStream(AwsClient, Target):
    """Documents with their vectors as records of a Kinesis stream, for as long as it keeps them.

    shards           of a stream that is made; None: as many as it needs, on demand
    retention_hours  how long a stream that is made keeps a record
    largest_record   bytes; a document that has more is several records
    """

    at: ClassVar[str] = "aws.endpoint"
    promise: ClassVar[StorePromise | None] = KINESIS
    forgets: ClassVar[str] = "a stream lets each record go after its retention"
    staged: ClassVar[bool] = True

    stream: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")
    shards: int | None = Field(None, ge=1, le=1_000)
    retention_hours: int = Field(168, ge=24, le=8_760)
    largest_record: int = Field(900_000, ge=10_000, le=10 * 2**20)
    precision: Precision = "float32"

    def place(self, pipeline: str) -> str:
        """The stream."""
        return f"Kinesis stream {self.stream}"
