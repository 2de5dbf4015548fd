"""Kinesis from moto's server: what it lists, gives and refuses; aggregates; the official connector's table."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from aws_kinesis_agg.aggregator import RecordAggregator
from botocore.exceptions import ClientError, EndpointConnectionError

from connectors.aws.client import Aws
from connectors.aws.errors import NotFound, named, shard_error, stream_error
from connectors.kinesis.streams import KinesisStream, check_flink_jar, flink_source_ddl, unfolded
from core.config.source import Kinesis
from core.errors import ConfigError, Throttled, Unavailable
from core.shards.log import ExpiredIterator, NoSuchShard, Shard, Start, Trimmed

ARN = "arn:aws:kinesis:eu-central-1:123456789012:stream/orders"


@pytest.fixture
def stream(aws: Aws, kinesis: Any) -> KinesisStream:
    name = f"s{uuid4().hex[:8]}"
    kinesis.create_stream(StreamName=name, ShardCount=2)
    return KinesisStream(name, aws)


def test_records_come_in_order_with_key_value_number_and_time(stream: KinesisStream, kinesis: Any) -> None:
    assert stream.shards() == [Shard("shardId-000000000000"), Shard("shardId-000000000001")]
    assert stream.retention_ms == 24 * 3_600_000
    put = [
        kinesis.put_record(StreamName=stream.name, PartitionKey="ä", Data=f"value {number}\0".encode())
        for number in range(3)
    ]
    (shard,) = {answer["ShardId"] for answer in put}
    first = stream.read(stream.iterator(shard, Start()), 2)
    assert [record.value for record in first.records] == [b"value 0\0", b"value 1\0"]
    assert first.last == put[1]["SequenceNumber"] == first.records[1].number
    assert first.records[0].key == "ä".encode() and first.records[0].sub is None
    assert abs(first.records[0].arrived_ms - datetime.now(UTC).timestamp() * 1000) < 60_000
    assert first.iterator is not None
    second = stream.read(first.iterator, 2)
    assert [record.value for record in second.records] == [b"value 2\0"] and second.behind_ms == 0
    assert second.iterator is not None and stream.read(second.iterator, 2).last == ""
    again = stream.read(stream.iterator(shard, Start(at=first.last)), 10)
    assert [record.value for record in again.records] == [b"value 1\0", b"value 2\0"]


def test_reading_can_begin_at_a_time(stream: KinesisStream, kinesis: Any) -> None:
    put = kinesis.put_record(StreamName=stream.name, PartitionKey="x", Data=b"old")
    arrived_ms = stream.read(stream.iterator(put["ShardId"], Start()), 9).records[0].arrived_ms
    kinesis.put_record(StreamName=stream.name, PartitionKey="x", Data=b"new")
    batch = stream.read(stream.iterator(put["ShardId"], Start(since_ms=arrived_ms + 1)), 9)
    assert [record.value for record in batch.records][-1:] == [b"new"]


def test_a_split_shard_is_closed_and_named_by_its_children(stream: KinesisStream, kinesis: Any) -> None:
    kinesis.split_shard(StreamName=stream.name, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**125))
    shards = {shard.id: shard for shard in stream.shards()}
    assert shards["shardId-000000000000"].closed
    assert [shard.parents for shard in shards.values()] == [(), (), *[("shardId-000000000000",)] * 2]


def test_a_stream_may_be_named_by_its_arn(aws: Aws, stream: KinesisStream) -> None:
    arn = ARN.replace("orders", stream.name)
    by_arn = KinesisStream(arn, aws)
    assert by_arn.name == stream.name and by_arn.shards() == stream.shards()


def test_what_is_not_there_is_named(aws: Aws, stream: KinesisStream) -> None:
    with pytest.raises(ConfigError, match="Kinesis stream nowhere isn't there"):
        KinesisStream("nowhere", aws).shards()
    with pytest.raises(NoSuchShard):
        stream.iterator("shardId-000000000009", Start())
    away = KinesisStream("orders", Aws("eu-central-1", "http://127.0.0.1:9"))
    with pytest.raises(Unavailable, match="Kinesis stream orders doesn't answer"):
        away.shards()


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("ProvisionedThroughputExceededException", 400, Throttled),
        ("LimitExceededException", 400, Throttled),
        ("ExpiredIteratorException", 400, ExpiredIterator),
        ("TrimmedDataAccessException", 400, Trimmed),
        ("ResourceNotFoundException", 400, NoSuchShard),
        ("InternalFailure", 500, Unavailable),
        ("AccessDeniedException", 400, ConfigError),
    ],
)
def test_each_refusal_has_its_meaning(code: str, status: int, expected: type[Exception]) -> None:
    answer: Any = {"Error": {"Code": code, "Message": "why"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = shard_error(ClientError(answer, "GetRecords"), "Kinesis stream orders")
    assert type(error) is expected and "Kinesis stream orders" in str(error)


def test_what_is_not_there_has_a_name_for_each_who_asks() -> None:
    answer: Any = {"Error": {"Code": "ResourceNotFoundException", "Message": "no such"}}
    error = ClientError(answer, "DescribeTable")
    assert type(named(error, "DynamoDB table t")) is NotFound
    assert type(stream_error(error, "Kinesis stream s")) is ConfigError
    assert type(shard_error(error, "Kinesis stream s, shard 1")) is NoSuchShard


def test_a_server_that_is_away_is_unavailable() -> None:
    assert type(shard_error(EndpointConnectionError(endpoint_url="http://x"), "orders")) is Unavailable


def given(data: bytes) -> dict[str, Any]:
    return {
        "SequenceNumber": "49590338271490256608559692538361571095921575989136588898",
        "PartitionKey": "outer",
        "Data": data,
        "ApproximateArrivalTimestamp": datetime(2026, 1, 1, tzinfo=UTC),
    }


def aggregated(*records: tuple[str, bytes]) -> bytes:
    aggregator = RecordAggregator()
    for key, value in records:
        aggregator.add_user_record(key, value)
    data: bytes = aggregator.clear_and_get().get_contents()[2]
    return data


def test_an_aggregate_is_taken_apart() -> None:
    data = aggregated(("a", b"1"), ("b", b"2"), ("a", b"3"))
    assert [(record.key, record.value, record.sub) for record in unfolded([given(data)])] == [
        (b"a", b"1", 0),
        (b"b", b"2", 1),
        (b"a", b"3", 2),
    ]


def test_what_only_looks_like_an_aggregate_comes_as_it_is() -> None:
    sound = aggregated(("a", b"1"))
    magic = sound[:4]
    wrong_index = bytes.fromhex("0a01611a0608051a02313100")[:-1]
    for data in (
        magic,
        magic + b"short",
        sound[:-1] + b"\0",
        magic + b"\xff\xff" + hashlib.md5(b"\xff\xff").digest(),
        magic + wrong_index + hashlib.md5(wrong_index).digest(),
    ):
        (record,) = unfolded([given(data)])
        assert (record.key, record.value, record.sub) == (b"outer", data, None), base64.b64encode(data)


def test_taking_apart_leaves_the_import_path_alone() -> None:
    code = "import sys; before = list(sys.path); from connectors.kinesis.streams import _messages; _messages()"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; assert sys.path == before"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_official_connectors_table() -> None:
    settings = {"connector": "flink", "stream.arn": ARN, "source.init.position": "TRIM_HORIZON", "aws.http.x": True}
    ddl = flink_source_ddl("events", Kinesis.model_validate(settings), "freshet-orders")
    assert ddl.startswith("CREATE TEMPORARY TABLE `events` (`value` BYTES, `ts` AS ")
    for option in (f"'stream.arn' = '{ARN}'", "'aws.region' = 'eu-central-1'", "'format' = 'raw'"):
        assert option in ddl
    for option in ("'connector' = 'kinesis'", "'source.init.position' = 'TRIM_HORIZON'", "'aws.http.x' = 'true'"):
        assert option in ddl
    assert "'source.efo.consumer.name' = 'freshet-orders'" in ddl
    assert "METADATA" not in ddl and "PARTITIONED" not in ddl


def test_without_the_official_connectors_jar_it_is_refused() -> None:
    check_flink_jar(["file:///jars/flink-sql-connector-aws-kinesis-streams-6.0.0-2.0.jar"])
    with pytest.raises(ConfigError, match=r"org\.apache\.flink:flink-sql-connector-aws-kinesis-streams:6\.0\.0-2\.0"):
        check_flink_jar(["file:///jars/flink-sql-connector-kafka-4.0.1-2.0.jar"])
