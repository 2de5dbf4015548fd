"""Amazon DynamoDB Streams: a table's stream as shards and records of JSON, as AWS Lambda shows them.

Sources of the rules: DynamoDB Streams API reference (DescribeStream, GetShardIterator, GetRecords) and developer guide:
a shard rolls over within hours, records are kept for 24 hours, an iterator lives 15 minutes, a shard bears two readers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from connectors.aws.client import Aws, client
from connectors.aws.errors import shard_error, stream_error
from core.errors import ConfigError
from core.shards.log import Batch, Record, Shard, Start

_MOST_RECORDS = 1000
_encode = msgspec.json.Encoder().encode
_encode_key = msgspec.json.Encoder(order="sorted").encode


class TableStream:
    """The stream of a table, by the table's name or the stream's ARN: a `core.shards.log.ShardStream`."""

    feed = "dynamodb"
    pace_ms = 200
    retention_ms = 24 * 3_600_000

    def __init__(self, table: str, aws: Aws, streams_endpoint: str | None = None) -> None:
        """Connects to nothing yet. `streams_endpoint` is where shards are asked for, if elsewhere than the table."""
        arn = table if table.startswith("arn:") else ""
        self.name = arn.split("/")[1] if arn else table
        self._what = f"DynamoDB table {self.name}"
        self._tables = client("dynamodb", aws, self._what)
        self._client = client("dynamodbstreams", Aws(aws.region, streams_endpoint or aws.endpoint), self._what)
        self._arn = arn

    @property
    def arn(self) -> str:
        """The stream's. Raises ConfigError where the table has none."""
        if not self._arn:
            try:
                table = self._tables.describe_table(TableName=self.name)["Table"]
            except (ClientError, BotoCoreError) as error:
                raise stream_error(error, self._what) from error
            if not table.get("StreamSpecification", {}).get("StreamEnabled"):
                raise ConfigError(
                    [f"{self._what} has no stream: enable one with StreamViewType NEW_AND_OLD_IMAGES (or NEW_IMAGE)"]
                )
            self._arn = table["LatestStreamArn"]
        return self._arn

    def shards(self) -> list[Shard]:
        """Every shard of the stream, which lists 100 a page."""
        listed: list[Shard] = []
        asked: dict[str, str] = {}
        while True:
            try:
                answer = self._client.describe_stream(StreamArn=self.arn, **asked)["StreamDescription"]
            except (ClientError, BotoCoreError) as error:
                raise stream_error(error, self._what) from error
            listed.extend(_shard(each) for each in answer["Shards"])
            if not answer.get("LastEvaluatedShardId"):
                return listed
            asked = {"ExclusiveStartShardId": answer["LastEvaluatedShardId"]}

    def iterator(self, shard: str, start: Start) -> str:
        """Raises Trimmed, NoSuchShard. A time can't be asked for: the shard comes from its oldest record on."""
        where = {"ShardIteratorType": "TRIM_HORIZON"}
        if start.at:
            where = {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "SequenceNumber": start.at}
        try:
            answer = self._client.get_shard_iterator(StreamArn=self.arn, ShardId=shard, **where)
        except (ClientError, BotoCoreError) as error:
            raise shard_error(error, f"{self._what}, {shard}") from error
        return str(answer["ShardIterator"])

    def read(self, iterator: str, limit: int) -> Batch:
        """At most 1000 records or 1 MB. Raises ExpiredIterator, Trimmed, NoSuchShard."""
        try:
            answer = self._client.get_records(ShardIterator=iterator, Limit=min(limit, _MOST_RECORDS))
        except (ClientError, BotoCoreError) as error:
            raise shard_error(error, self._what) from error
        records = [record(each, self.arn) for each in answer["Records"]]
        return Batch(records, records[-1].number if records else "", answer.get("NextShardIterator") or None)


def _shard(listed: Mapping[str, Any]) -> Shard:
    parent = listed.get("ParentShardId")
    closed = "EndingSequenceNumber" in listed["SequenceNumberRange"]
    return Shard(listed["ShardId"], (parent,) if parent else (), closed)


def record(given: Mapping[str, Any], arn: str) -> Record:
    """A record of GetRecords: its value is the whole as JSON, its key the item's keys as JSON with sorted names.

    Binary values are base64, times seconds since 1970, and `eventSourceARN`, which GetRecords leaves out, is the
    stream's. `arrived_ms` is in whole seconds: the service rounds it down.
    """
    change = dict(given["dynamodb"])
    created = change["ApproximateCreationDateTime"].timestamp()
    change["ApproximateCreationDateTime"] = int(created)
    whole = {**given, "dynamodb": change, "eventSourceARN": given.get("eventSourceARN", arn)}
    return Record(change["SequenceNumber"], _encode_key(change["Keys"]), _encode(whole), int(created) * 1000)
