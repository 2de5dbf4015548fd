"""The streams of shards that a pipeline reads, opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from connectors.aws.client import Aws
from connectors.dynamodb.streams import TableStream
from connectors.kinesis.streams import KinesisStream
from core.config.source import DynamodbStreams, Kinesis
from core.shards.log import Begin, ShardStream


@dataclass(frozen=True, slots=True)
class Source:
    """One stream to read: Kinesis's by name or ARN, DynamoDB's by its table's name or its own ARN.

    streams_endpoint  where DynamoDB's shards are asked for, if elsewhere than the table
    """

    kind: Literal["kinesis", "dynamodb"]
    name: str
    aws: Aws
    begin: Begin = "LATEST"
    streams_endpoint: str | None = None


def source_of(settings: Kinesis | DynamodbStreams) -> Source:
    """The stream that a pipeline's source names."""
    aws = Aws(settings.region, settings.endpoint)
    if isinstance(settings, DynamodbStreams):
        return Source("dynamodb", settings.table, aws, settings.position, settings.streams_endpoint)
    begin: Begin = "LATEST" if settings.position == "LATEST" else "TRIM_HORIZON"
    if settings.timestamp is not None:
        begin = int(settings.timestamp.timestamp() * 1000)
    return Source("kinesis", settings.name, aws, begin)


def opened(sources: Sequence[Source]) -> dict[str, ShardStream]:
    """Clients by the names that state knows the streams by."""
    return {stream_name(source): _open(source) for source in sources}


def _open(source: Source) -> ShardStream:
    if source.kind == "kinesis":
        return KinesisStream(source.name, source.aws)
    return TableStream(source.name, source.aws, source.streams_endpoint)


def stream_name(source: Source) -> str:
    """What state knows a stream by."""
    return f"{source.kind}:{source.name}"
