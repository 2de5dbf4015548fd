"""A queue of moto's, whose messages its own S3 sends, read as the job reads it: deleted once a checkpoint has them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest

from connectors.aws.client import Aws
from connectors.sqs import reader as queue_reader
from connectors.sqs.queue import Message, Queue
from connectors.sqs.reader import CLOCKS_MS, QueueReader
from connectors.sqs.replaying import QueueAgain
from core.change import Event
from core.documents.objects import ObjectChange
from core.errors import ConfigError, Unavailable
from core.formats.s3 import decode
from core.letters import Letter
from tests.aws import notified_queue


def client(service: str, aws: Aws) -> Any:
    return boto3.client(service, region_name=aws.region, endpoint_url=aws.endpoint)


@pytest.fixture
def url(aws: Aws) -> str:
    return str(client("sqs", aws).create_queue(QueueName=f"q{uuid.uuid4().hex[:8]}")["QueueUrl"])


@pytest.fixture
def queue(aws: Aws, url: str) -> Queue:
    return Queue(url, aws)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(queue_reader.THREADS)
    yield pool
    pool.shutdown(wait=False, cancel_futures=True)


def taken(reader: QueueReader, wanted: int, seconds: float = 20) -> list[Message]:
    found: list[Message] = []
    deadline = time.monotonic() + seconds
    while len(found) < wanted:
        assert time.monotonic() < deadline, f"{len(found)} of {wanted} messages"
        found += reader.take(now_ms())
        time.sleep(0.01)
    return found


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def until(condition: Callable[[], bool], reader: QueueReader, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        reader.take(now_ms())
        time.sleep(0.01)


def left(aws: Aws, url: str) -> int:
    """Messages that are there, hidden ones too."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = client("sqs", aws).get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(map(int, counts.values()))


def test_what_a_bucket_notifies_is_read_and_named_as_it_is(aws: Aws) -> None:
    s3, bucket = client("s3", aws), f"b{uuid.uuid4().hex[:8]}"
    url = notified_queue(aws, bucket)
    keys = ["docs/a b+ü.md", "plain.txt"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    s3.delete_object(Bucket=bucket, Key=keys[0])
    queue = Queue(url, aws)
    found = [message for _ in range(4) for message in queue.receive(1, 30)]
    decoded = [change for message in found for change in decode(Event(queue.name, 0, 0, None, message.body))]
    changes = [change for change in decoded if isinstance(change, ObjectChange)]
    assert sorted((change.key, change.gone) for change in changes) == [
        (keys[0], False), (keys[0], True), (keys[1], False),
    ]  # fmt: skip
    assert {change.bucket for change in changes} == {bucket}
    assert all(abs(message.sent_ms - now_ms()) < 60_000 for message in found)


def by_sns(aws: Aws, bucket: str, arn: str) -> None:
    sns = client("sns", aws)
    topic = sns.create_topic(Name=bucket)["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    settings = {"TopicConfigurations": [{"TopicArn": topic, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}]}
    client("s3", aws).put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=settings)


def by_eventbridge(aws: Aws, bucket: str, arn: str) -> None:
    events = client("events", aws)
    events.put_rule(Name=bucket, EventPattern=json.dumps({"source": ["aws.s3"]}), State="ENABLED")
    events.put_targets(Rule=bucket, Targets=[{"Id": "queue", "Arn": arn}])
    settings: dict[str, Any] = {"EventBridgeConfiguration": {}}
    client("s3", aws).put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=settings)


@pytest.mark.parametrize("way", [by_sns, by_eventbridge])
def test_what_comes_by_other_ways_is_read_too(aws: Aws, way: Callable[[Aws, str, str], None]) -> None:
    bucket, sqs, s3 = f"b{uuid.uuid4().hex[:8]}", client("sqs", aws), client("s3", aws)
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": aws.region})
    url = sqs.create_queue(QueueName=bucket)["QueueUrl"]
    way(aws, bucket, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"])
    s3.put_object(Bucket=bucket, Key="docs/a b+ü.md", Body=b"x")
    s3.delete_object(Bucket=bucket, Key="docs/a b+ü.md")
    queue = Queue(url, aws)
    found = [message for _ in range(3) for message in queue.receive(1, 30)]
    decoded = [change for message in found for change in decode(Event(queue.name, 0, 0, None, message.body))]
    changes = [change for change in decoded if isinstance(change, ObjectChange)]
    assert sorted((change.bucket, change.key, change.gone) for change in changes) == [
        (bucket, "docs/a b+ü.md", False), (bucket, "docs/a b+ü.md", True),
    ]  # fmt: skip


def test_messages_are_deleted_when_a_later_checkpoint_has_them_and_not_before(
    aws: Aws, url: str, queue: Queue, threads: ThreadPoolExecutor
) -> None:
    queue.send([b"%d" % number for number in range(25)])
    checkpoint_ms = 0
    reader = QueueReader(queue, lambda: checkpoint_ms, 600, threads)
    first = taken(reader, 25)
    # a queue may give one message twice, and moto does where two ask at once
    assert {int(message.body) for message in first} == set(range(25))
    handed_ms = now_ms()
    reader.handed_on(first, handed_ms)
    # one that began before, or just then, need not have them
    checkpoint_ms = handed_ms + CLOCKS_MS
    for _ in range(30):
        assert reader.take(now_ms()) == []
        time.sleep(0.1)
    assert (reader.deleted, reader.pending, left(aws, url)) == (0, len(first), 25)
    queue.send([b"late"])
    late = taken(reader, 1)
    reader.handed_on(late, now_ms() + 60_000)
    checkpoint_ms = handed_ms + CLOCKS_MS + 1
    until(lambda: reader.deleted == len(first), reader)
    assert (reader.pending, left(aws, url)) == (1, 1)


def test_what_was_not_deleted_comes_again(queue: Queue, threads: ThreadPoolExecutor) -> None:
    queue.send([b"once more"])
    reader = QueueReader(queue, lambda: 0, 2, threads)
    first = taken(reader, 1)
    reader.handed_on(first, now_ms())
    again = taken(reader, 1)
    assert again[0].id == first[0].id
    assert again[0].receipt != first[0].receipt


def test_what_comes_after_the_end_is_given_back(queue: Queue, threads: ThreadPoolExecutor) -> None:
    reader = QueueReader(queue, lambda: 0, 600, threads)
    assert reader.take(now_ms()) == []
    time.sleep(0.3)
    reader.close()
    queue.send([b"too late"])
    threads.shutdown(wait=True)
    assert [message.body for message in queue.receive(2, 30)] == [b"too late"]


def test_many_are_read_by_several_threads(queue: Queue, threads: ThreadPoolExecutor) -> None:
    queue.send([b"%d" % number for number in range(100)])
    reader = QueueReader(queue, lambda: 0, 600, threads)
    assert len({message.id for message in taken(reader, 100)}) == 100
    assert queue.waiting() == 0


def test_a_queue_that_is_not_there_is_named(aws: Aws, url: str, threads: ThreadPoolExecutor) -> None:
    gone = Queue(f"{url}-not", aws)
    for call in (gone.waiting, lambda: gone.receive(1, 30), lambda: gone.send([b"x"])):
        with pytest.raises(ConfigError, match="isn't there: make it, or correct"):
            call()
    reader = QueueReader(gone, lambda: 0, 30, threads)
    with pytest.raises(ConfigError, match="isn't there"):
        taken(reader, 1)


def test_a_server_that_is_away_is_borne_for_a_while(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_reader, "_BACK_OFF_MS", 1)
    reader = QueueReader(
        Queue("http://127.0.0.1:9/1/q", Aws("eu-central-1", "http://127.0.0.1:9")), now_ms, 30, threads
    )
    for _ in range(3):
        until(lambda: bool(reader._asked and reader._asked[0].done()), reader)
    with pytest.raises(Unavailable, match="doesn't answer"):
        taken(reader, 1)


def test_a_message_that_is_too_long_is_refused(queue: Queue) -> None:
    with pytest.raises(ConfigError, match="SQS queue"):
        queue.send([b"x" * 2_000_000])


def test_letters_go_into_the_queue_again_as_they_came(queue: Queue) -> None:
    again = QueueAgain(queue)
    assert again.names == {queue.name}
    bodies = [b'{"number": %d}' % number for number in range(23)]
    again.send([Letter("0:1", 0, None, body, ()) for body in bodies])
    found: list[bytes] = []
    while some := queue.receive(0, 60):
        found += [each.body for each in some]
    assert sorted(found) == sorted(bodies)
    with pytest.raises(ConfigError, match="dead letter 0:1 is no text"):
        again.send([Letter("0:1", 0, None, b"\xff", ())])
