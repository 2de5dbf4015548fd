"""DynamoDB Streams from moto's server: what a table's stream lists and gives, and what its records look like."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from connectors.aws.client import Aws, client
from connectors.dynamodb.streams import TableStream, record
from connectors.shards.streams import opened, source_of
from core.config.source import DynamodbStreams
from core.errors import ConfigError
from core.shards.log import Shard, Start


@pytest.fixture
def dynamodb(aws: Aws) -> Any:
    return client("dynamodb", aws, "test")


def table(dynamodb: Any, streams: bool = True) -> str:
    name = f"t{uuid4().hex[:8]}"
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "id", "AttributeType": "S"},
            {"AttributeName": "at", "AttributeType": "N"},
        ],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": streams, **({"StreamViewType": "NEW_AND_OLD_IMAGES"} if streams else {})},
    )
    return name


def test_an_items_life_as_lambda_shows_it(aws: Aws, dynamodb: Any) -> None:
    name = table(dynamodb)
    key = {"id": {"S": "x"}, "at": {"N": "1"}}
    dynamodb.put_item(TableName=name, Item={**key, "body": {"S": "one"}, "raw": {"B": b"\x00\xff"}})
    dynamodb.put_item(TableName=name, Item={**key, "body": {"S": "two"}})
    dynamodb.delete_item(TableName=name, Key=key)
    stream = TableStream(name, aws)
    (shard,) = stream.shards()
    assert shard == Shard(shard.id)
    batch = stream.read(stream.iterator(shard.id, Start()), 10)
    events = [json.loads(each.value) for each in batch.records]
    assert [each["eventName"] for each in events] == ["INSERT", "MODIFY", "REMOVE"]
    assert events[0]["dynamodb"]["NewImage"] == {**key, "body": {"S": "one"}, "raw": {"B": "AP8="}}
    assert events[1]["dynamodb"]["OldImage"]["body"] == {"S": "one"}
    assert events[2]["dynamodb"]["Keys"] == key and "NewImage" not in events[2]["dynamodb"]
    assert {each["eventSourceARN"] for each in events} == {stream.arn}
    assert type(events[0]["dynamodb"]["ApproximateCreationDateTime"]) is int
    assert batch.records[0].key == b'{"at":{"N":"1"},"id":{"S":"x"}}'
    assert [each.number for each in batch.records] == [each["dynamodb"]["SequenceNumber"] for each in events]
    assert abs(batch.records[0].arrived_ms - datetime.now(UTC).timestamp() * 1000) < 60_000
    again = stream.read(stream.iterator(shard.id, Start(at=batch.records[1].number)), 10)
    assert [each.number for each in again.records] == [each.number for each in batch.records[1:]]
    assert again.iterator is not None and stream.read(again.iterator, 10).last == ""


def test_a_stream_may_be_named_by_its_arn(aws: Aws, dynamodb: Any) -> None:
    stream = TableStream(table(dynamodb), aws)
    by_arn = TableStream(stream.arn, aws)
    assert by_arn.name == stream.name and by_arn.shards() == stream.shards()


def test_a_table_without_a_stream_or_none_at_all_is_refused(aws: Aws, dynamodb: Any) -> None:
    without = table(dynamodb, streams=False)
    with pytest.raises(ConfigError, match=f"{without} has no stream: enable one with StreamViewType"):
        TableStream(without, aws).shards()
    with pytest.raises(ConfigError, match="DynamoDB table nowhere isn't there"):
        TableStream("nowhere", aws).shards()


def test_what_the_service_says_of_who_deleted_is_kept() -> None:
    given = {
        "eventID": "1",
        "eventName": "REMOVE",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-central-1",
        "userIdentity": {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"},
        "dynamodb": {
            "ApproximateCreationDateTime": datetime(2026, 1, 1, 0, 0, 1, 900_000, tzinfo=UTC),
            "Keys": {"id": {"B": b"\xff"}},
            "OldImage": {"id": {"B": b"\xff"}, "set": {"BS": [b"a", b"b"]}, "none": {"NULL": True}},
            "SequenceNumber": "4421584500000000017450439091",
            "StreamViewType": "OLD_IMAGE",
        },
    }
    made = record(given, "arn:stream")
    value = json.loads(made.value)
    assert value["userIdentity"]["PrincipalId"] == "dynamodb.amazonaws.com"
    assert value["dynamodb"]["OldImage"] == {
        "id": {"B": "/w=="},
        "set": {"BS": ["YQ==", "Yg=="]},
        "none": {"NULL": True},
    }
    assert value["dynamodb"]["ApproximateCreationDateTime"] == 1_767_225_601
    assert made.arrived_ms == 1_767_225_601_000 and made.key == b'{"id":{"B":"/w=="}}'


def test_records_are_asked_for_where_the_pipeline_file_says() -> None:
    elsewhere = "https://vpce-1.streams.dynamodb.eu-central-1.vpce.amazonaws.com"
    settings = {"table": "articles", "aws.region": "eu-central-1"}
    for given, at in (
        (settings, "https://streams.dynamodb."),
        ({**settings, "aws.streams.endpoint": elsewhere}, elsewhere),
    ):
        (stream,) = opened([source_of(DynamodbStreams.model_validate(given))]).values()
        assert isinstance(stream, TableStream)
        assert stream._client.meta.endpoint_url.startswith(at)
        # the table itself is asked at the service's own address, which a network has a gateway to
        assert stream._tables.meta.endpoint_url == "https://dynamodb.eu-central-1.amazonaws.com"
