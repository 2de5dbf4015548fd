"""The streams of shards that a pipeline reads, opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from connectors.aws.client import Aws
from connectors.dynamodb.streams import TableStream
from connectors.kinesis.streams import KinesisStream
from core.config.pipeline import Pipeline
from core.errors import ConfigError
from core.shards.log import Begin, ShardStream


@dataclass(frozen=True, slots=True)
class Source:
    """One stream to read: Kinesis's by name or ARN, DynamoDB's by its table's name or its own ARN."""

    kind: Literal["kinesis", "dynamodb"]
    name: str
    aws: Aws
    begin: Begin = "LATEST"


def source_of(pipeline: Pipeline) -> Source:
    """The stream that a pipeline names. Raises ConfigError where it names none."""
    if (kinesis := pipeline.source.kinesis) is not None:
        begin: Begin = "LATEST" if kinesis.position == "LATEST" else "TRIM_HORIZON"
        if kinesis.timestamp is not None:
            begin = int(kinesis.timestamp.timestamp() * 1000)
        return Source("kinesis", kinesis.name, Aws(kinesis.region, kinesis.endpoint), begin)
    if (table := pipeline.source.dynamodb) is not None:
        return Source("dynamodb", table.table, Aws(table.region, table.endpoint), table.position)
    raise ConfigError(["source: names no stream of shards: kinesis or dynamodb"])


def opened(sources: Sequence[Source]) -> dict[str, ShardStream]:
    """Clients by the names that state knows the streams by."""
    return {stream_name(source): _open(source) for source in sources}


def _open(source: Source) -> ShardStream:
    if source.kind == "kinesis":
        return KinesisStream(source.name, source.aws)
    return TableStream(source.name, source.aws)


def stream_name(source: Source) -> str:
    """What state knows a stream by."""
    return f"{source.kind}:{source.name}"
