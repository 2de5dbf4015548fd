"""Amazon Kinesis Data Streams: a stream's shards and records, and the official Flink connector's table of one.

Sources of the rules: Kinesis Data Streams API reference (ListShards, GetShardIterator, GetRecords) and its quotas: five
reads a second and 2 MB a second of a shard, an iterator lives five minutes; the KPL's aggregated record format.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from functools import cache
from pathlib import PurePath
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from google.protobuf.message import DecodeError

from connectors.aws.client import Aws, client
from connectors.aws.errors import shard_error, stream_error
from core.config.source import Kinesis
from core.errors import ConfigError
from core.shards.log import Batch, Record, Shard, Start, Trimmed

JAR = "flink-sql-connector-aws-kinesis-streams"
_COORDINATES = f"org.apache.flink:{JAR}:6.0.0-2.0"
_MAGIC = b"\xf3\x89\x9a\xc2"
_DIGEST = 16
_HOUR_MS = 3_600_000


class KinesisStream:
    """One stream, by its name or ARN: a `core.shards.log.ShardStream`. Connects when first asked."""

    feed = "kinesis"
    pace_ms = 200

    def __init__(self, stream: str, aws: Aws) -> None:
        """Connects to nothing yet."""
        self.name = stream.rpartition("/")[2]
        self._which = {"StreamARN": stream} if stream.startswith("arn:") else {"StreamName": stream}
        self._what = f"Kinesis stream {self.name}"
        self.client = client("kinesis", aws, self._what)
        self._retention_ms = 0

    @property
    def retention_ms(self) -> int:
        """As the stream says, asked once."""
        if not self._retention_ms:
            self._retention_ms = self._retention()
        return self._retention_ms

    def _retention(self) -> int:
        return int(self._summary()["RetentionPeriodHours"]) * _HOUR_MS

    def made(self) -> str:
        """The ARN and when the stream was made: one of the same name that was made anew differs."""
        summary = self._summary()
        return f"{summary['StreamARN']} of {summary['StreamCreationTimestamp'].astimezone(UTC).isoformat()}"

    def _summary(self) -> Mapping[str, Any]:
        try:
            summary: Mapping[str, Any] = self.client.describe_stream_summary(**self._which)["StreamDescriptionSummary"]
        except (ClientError, BotoCoreError) as error:
            raise stream_error(error, self._what) from error
        return summary

    def shards(self) -> list[Shard]:
        """Every shard whose records are kept."""
        listed: list[Shard] = []
        asked: Mapping[str, str] = self._which
        while True:
            try:
                answer = self.client.list_shards(**asked)
            except (ClientError, BotoCoreError) as error:
                raise stream_error(error, self._what) from error
            listed.extend(_shard(each) for each in answer["Shards"])
            if not answer.get("NextToken"):
                return listed
            asked = {"NextToken": answer["NextToken"]}

    def iterator(self, shard: str, start: Start) -> str:
        """Raises Trimmed, NoSuchShard."""
        if start.at:
            where: dict[str, Any] = {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": start.at}
        elif start.since_ms:
            where = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": start.since_ms / 1000}
        else:
            where = {"ShardIteratorType": "TRIM_HORIZON"}
        try:
            return str(self.client.get_shard_iterator(**self._which, ShardId=shard, **where)["ShardIterator"])
        except ClientError as error:
            if start.at and error.response["Error"].get("Code") == "InvalidArgumentException":
                raise Trimmed(f"{self._what}: {shard} has no record {start.at}") from error
            raise shard_error(error, f"{self._what}, {shard}") from error
        except BotoCoreError as error:
            raise shard_error(error, self._what) from error

    def read(self, iterator: str, limit: int) -> Batch:
        """At most 10 MB. Raises ExpiredIterator, NoSuchShard."""
        try:
            answer = self.client.get_records(ShardIterator=iterator, Limit=limit)
        except (ClientError, BotoCoreError) as error:
            raise shard_error(error, self._what) from error
        records = answer["Records"]
        last = records[-1]["SequenceNumber"] if records else ""
        return Batch(
            list(unfolded(records)), last, answer.get("NextShardIterator") or None, answer.get("MillisBehindLatest")
        )


def _shard(listed: Mapping[str, Any]) -> Shard:
    parents = (listed.get("ParentShardId"), listed.get("AdjacentParentShardId"))
    closed = "EndingSequenceNumber" in listed["SequenceNumberRange"]
    return Shard(listed["ShardId"], tuple(parent for parent in parents if parent), closed)


def unfolded(records: Sequence[Mapping[str, Any]]) -> Iterator[Record]:
    """The records, aggregates of the KPL (Kinesis Producer Library) taken apart; a broken one as it came."""
    for record in records:
        arrived_ms = int(record["ApproximateArrivalTimestamp"].timestamp() * 1000)
        number, data = record["SequenceNumber"], record["Data"]
        parts = _parts(data) if data.startswith(_MAGIC) else None
        if parts is None:
            yield Record(number, record["PartitionKey"].encode(), data, arrived_ms)
            continue
        for sub, (key, value) in enumerate(parts):
            yield Record(number, key.encode(), value, arrived_ms, sub)


def _parts(data: bytes) -> list[tuple[str, bytes]] | None:
    """Partition key and data of each record in an aggregate; None where it is not a sound one."""
    body, digest = data[len(_MAGIC) : -_DIGEST], data[-_DIGEST:]
    if hashlib.md5(body, usedforsecurity=False).digest() != digest:
        return None
    try:
        aggregate = _messages().AggregatedRecord.FromString(body)
        keys = aggregate.partition_key_table
        return [(keys[part.partition_key_index], part.data) for part in aggregate.records]
    except (DecodeError, IndexError):
        return None


@cache
def _messages() -> Any:
    # The library's own loop prints what it can't take apart, and drops it: only its messages are used. They are found
    # by a path that it puts first into sys.path, where ours must be.
    path = list(sys.path)
    try:
        from aws_kinesis_agg import deaggregator
    finally:
        sys.path[:] = path
    return deaggregator.messages_pb2


def flink_source_ddl(name: str, kinesis: Kinesis, consumer: str) -> str:
    """`CREATE TABLE` of the official connector, for its enhanced fan-out: one column of bytes, as it has no metadata.

    A record's time is that of its reading. `consumer` is the name it registers, unless the options say another.
    """
    options = {
        "aws.region": (kinesis.arn or "").split(":")[3],
        "source.reader.type": "EFO",
        "source.efo.consumer.name": consumer,
        **kinesis.options,
        "connector": "kinesis",
        "format": "raw",
    }
    listed = ", ".join(f"{_literal(key)} = {_literal(value)}" for key, value in options.items())
    quoted = name.replace("`", "``")
    time = "`ts` AS CAST(CURRENT_TIMESTAMP AS TIMESTAMP_LTZ(3)), WATERMARK FOR `ts` AS `ts`"
    return f"CREATE TEMPORARY TABLE `{quoted}` (`value` BYTES, {time}) WITH ({listed})"


def check_flink_jar(jars: Sequence[str]) -> None:
    """Raises ConfigError where none of these paths is the official connector's JAR, which Freshet doesn't bring."""
    if not any(PurePath(jar).name.startswith(JAR) for jar in jars):
        raise ConfigError(
            [
                f"source.kinesis.connector is flink, and flink.pipeline.jars doesn't name {JAR}: get {_COORDINATES}, "
                "and name its file there, or leave connector out to read with Freshet's own reader"
            ]
        )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
