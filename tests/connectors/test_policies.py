"""The policies that the docs show, under a server that enforces them: they suffice, and none of their actions is idle.

moto looks at actions. Their resources it compares for S3 alone: for the other services it takes nothing but "*", so
that is what the tests give them. And it knows an action by the call's name, where IAM has one action for several calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from connectors.aws.client import Aws, client
from connectors.dynamodb.rows import Tables
from connectors.dynamodb.streams import TableStream
from connectors.kinesis.letters import LettersStream
from connectors.kinesis.streams import KinesisStream
from connectors.opening.dead_letters import LettersPlace
from connectors.s3.letters import LettersBucket
from connectors.s3.listing import listing
from connectors.s3.objects import S3, Fetched
from connectors.sqs.queue import Queue
from core.errors import FreshetError, ObjectError
from core.letters import Message
from core.shards.log import Start

DOCS = Path(__file__).parents[2] / "docs"
CALLS = {
    "sqs:DeleteMessage": "sqs:DeleteMessageBatch",
    "sqs:ChangeMessageVisibility": "sqs:ChangeMessageVisibilityBatch",
}
"""Of IAM's actions those that moto knows by the name of the call."""

Statement = dict[str, Any]


def policies(page: str, service: str) -> list[Statement]:
    """What a page allows of a service."""
    blocks = re.findall(r"```json\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    found = [json.loads(each) for each in blocks if '"Effect"' in each]
    statements = [each for policy in found for each in policy.get("Statement", [policy])]
    return [each for each in statements if actions(each)[0].startswith(f"{service}:")]


def actions(statement: Statement) -> list[str]:
    named = statement["Action"]
    return [named] if isinstance(named, str) else list(named)


@pytest.fixture
def allowed(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A context in which clients have the credentials of somebody with these actions on these resources alone."""

    @contextmanager
    def only(granted: dict[str, str]) -> Iterator[None]:
        iam, name = client("iam", aws, "iam"), f"u{uuid4().hex[:8]}"
        iam.create_user(UserName=name)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        statements = [{"Effect": "Allow", "Action": each, "Resource": where} for each, where in granted.items()]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy)
        with monkeypatch.context() as patched:
            patched.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
            patched.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
            assert httpx.post(f"{aws.endpoint}/moto-api/reset-auth", content="0").is_success
            try:
                yield
            finally:
                assert httpx.post(f"{aws.endpoint}/moto-api/reset-auth", content="inf").is_success

    return only


def holds(allowed: Callable[..., Any], granted: dict[str, str], use: Callable[[], None]) -> None:
    """All of it suffices; without any one action it is refused, and the refusal says so."""
    with allowed(granted):
        use()
    for lacking in granted:
        rest = {each: where for each, where in granted.items() if each != lacking}
        refusal = pytest.raises((FreshetError, ObjectError), match=r"(?i)denied|not authorized|may not|can't be listed")
        with allowed(rest), refusal:
            use()


def everywhere(statements: list[Statement]) -> dict[str, str]:
    return {CALLS.get(each, each): "*" for statement in statements for each in actions(statement)}


def test_the_policy_of_kinesis(aws: Aws, allowed: Callable[..., Any]) -> None:
    name, kinesis = f"s{uuid4().hex[:8]}", client("kinesis", aws, "test")
    kinesis.create_stream(StreamName=name, ShardCount=1)
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"v")

    def use() -> None:
        stream = KinesisStream(name, aws)
        (shard,) = stream.shards()
        assert stream.retention_ms
        assert [each.value for each in stream.read(stream.iterator(shard.id, Start()), 10).records] == [b"v"]

    holds(allowed, everywhere(policies("feeds.md", "kinesis")), use)


def test_the_policy_of_dynamodb_streams(aws: Aws, allowed: Callable[..., Any]) -> None:
    name = table(aws)

    def use() -> None:
        stream = TableStream(name, aws)
        (shard,) = stream.shards()
        assert len(stream.read(stream.iterator(shard.id, Start()), 10).records) == 1

    holds(allowed, everywhere(policies("feeds.md", "dynamodb")), use)


def test_the_policy_of_verify_over_dynamodb(aws: Aws, allowed: Callable[..., Any]) -> None:
    name = table(aws)

    def use() -> None:
        tables = Tables(aws)
        assert tables.key(name) == ("id",)
        assert sum(len(page) for page in tables.pages(name, ("id",), 10)) == 1
        assert tables.raw_row(name, {"id": "x"})

    holds(allowed, everywhere(policies("verify.md", "dynamodb")), use)


def test_the_policy_of_a_queue(aws: Aws, allowed: Callable[..., Any]) -> None:
    sqs = client("sqs", aws, "test")
    url = sqs.create_queue(QueueName=f"q{uuid4().hex[:8]}")["QueueUrl"]
    for _ in range(10):
        sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": str(at), "MessageBody": "m"} for at in range(10)])

    def use() -> None:
        queue = Queue(url, aws)
        assert queue.waiting()
        first, *_ = queue.receive(0, 30)
        queue.give_back([first.receipt])
        queue.delete([first.receipt])

    holds(allowed, everywhere(policies("s3.md", "sqs")), use)


def test_the_policy_of_a_bucket(aws: Aws, allowed: Callable[..., Any]) -> None:
    bucket, s3 = f"b{uuid4().hex[:8]}", client("s3", aws, "test")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": aws.region})
    s3.put_object(Bucket=bucket, Key="a", Body=b"text")

    def use() -> None:
        store = S3("source.s3", aws)
        assert isinstance(store.fetch(bucket, "a", lambda _: None), Fetched)
        assert [each.key for each in listing(store, bucket)] == ["a"]

    granted = {
        each: statement["Resource"].replace("handbook", bucket)
        for statement in policies("s3.md", "s3")
        for each in actions(statement)
    }
    assert set(granted) == {"s3:GetObject", "s3:ListBucket"}
    holds(allowed, granted, use)
    elsewhere = {each: where.replace(bucket, "another") for each, where in granted.items()}
    with allowed(elsewhere), pytest.raises(ObjectError, match="may not be read"):
        S3("source.s3", aws).fetch(bucket, "a", lambda _: None)


@pytest.mark.parametrize("service", ["kinesis", "s3"])
def test_the_policies_of_dead_letters(aws: Aws, allowed: Callable[..., Any], service: str) -> None:
    name, made = f"articles-{uuid4().hex[:8]}", client(service, aws, "test")
    place: LettersPlace = LettersStream(name, aws) if service == "kinesis" else LettersBucket(name, "articles/", aws)
    if service == "kinesis":
        made.create_stream(StreamName=name, ShardCount=1)
    else:
        made.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": aws.region})

    def use() -> None:
        place.room()
        writer = place.sink("letters")
        assert not isinstance(writer, str)
        writer.write(Message(b"k", b"v", {}))
        with place.letters() as there:
            found = next(there.read())
            assert there.at(found.place) == found

    statements = policies("dead-letters.md", service)
    granted = {
        each: "*" if service == "kinesis" else statement["Resource"].replace("articles-dead-letters", name)
        for statement in statements
        for each in actions(statement)
    }
    holds(allowed, granted, use)


def table(aws: Aws) -> str:
    """A table with a stream, and an item in it."""
    dynamodb, name = client("dynamodb", aws, "test"), f"t{uuid4().hex[:8]}"
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    dynamodb.put_item(TableName=name, Item={"id": {"S": "x"}})
    return name
