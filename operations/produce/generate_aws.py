"""Generated changes into AWS's services: records of a stream, items of a table, objects of a bucket."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from connectors.aws.client import Aws
from connectors.kafka.producer import ensure_topics, produce
from core.formats.recordings import Record
from operations.produce.generate import PARTITIONS, TABLE, Amount, generated
from operations.reporting import Bar
from workloads.articles import Article, Step
from workloads.feeds import Feed, markdown
from workloads.writers.dynamodb import DynamodbWriter
from workloads.writers.kinesis import KinesisWriter
from workloads.writers.s3 import BucketWriter

SHARDS = 2
"""Of a stream made here."""


@dataclass(frozen=True, slots=True)
class Notify:
    """The topic that gets a notification of each object written."""

    bootstrap_servers: str
    topic: str


def to_stream(aws: Aws, stream: str, feed: Feed, amount: Amount, rows: dict[int, Article], bar: Bar) -> str:
    """Write changes to a Kinesis stream, made where it is missing; what was done, in a line.

    Messages without a value, Debezium's tombstones, are left out: a stream has no such thing.
    Raises Unavailable, Throttled and ConfigError.
    """
    writer = KinesisWriter(stream, aws)
    writer.ensure(SHARDS)
    started, count, size = time.monotonic(), 0, 0
    with generated(amount, rows, bar) as batches:
        for batch in batches:
            records = [
                (r.key.decode(), r.value) for r in feed(TABLE, batch) if r.key is not None and r.value is not None
            ]
            writer.put(records)
            count += len(records)
            size += sum(len(value) for _, value in records)
    return f"{count:,} records into stream {stream}, {size:,} bytes, {_rate(count, started)} records/s"


def to_table(aws: Aws, table: str, amount: Amount, rows: dict[int, Article], bar: Bar) -> str:
    """Put and delete items of a DynamoDB table, made where it is missing; what was done, in a line.

    Raises Unavailable, Throttled and ConfigError.
    """
    writer = DynamodbWriter(table, aws)
    writer.ensure()
    started, count = time.monotonic(), 0
    with generated(amount, rows, bar) as batches:
        for batch in batches:
            writer.write((step.id, None if step.article is None else step.article.row()) for step in batch)
            count += len(batch)
    return f"{count:,} writes to table {table}, {_rate(count, started)} writes/s"


def to_bucket(
    aws: Aws, bucket: str, prefix: str, amount: Amount, rows: dict[int, Article], notify: Notify | None, bar: Bar
) -> str:
    """Put and delete Markdown files PREFIX/ID.md of a bucket, made where it is missing; what was done, in a line.

    Raises Unavailable and ConfigError.
    """
    writer = BucketWriter(bucket, aws)
    writer.ensure()
    started = time.monotonic()
    if notify is not None:
        ensure_topics(notify.bootstrap_servers, {notify.topic: PARTITIONS})
    with generated(amount, rows, bar) as batches:
        notifications = _written(writer, prefix, batches, "" if notify is None else notify.topic)
        count = (
            sum(1 for _ in notifications) if notify is None else produce(notify.bootstrap_servers, notifications).events
        )
    done = f"{count:,} writes to bucket {bucket}, {_rate(count, started)} writes/s"
    return done if notify is None else f"{done}, a notification of each in topic {notify.topic}"


def _written(writer: BucketWriter, prefix: str, batches: Iterator[list[Step]], topic: str) -> Iterator[Record]:
    folder = f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""
    for batch in batches:
        files = ((f"{folder}{step.id}.md", None if step.article is None else markdown(step.article)) for step in batch)
        for key, notification in writer.write(files):
            yield Record(topic, key.encode(), notification)


def _rate(count: int, started: float) -> str:
    return f"{count / (time.monotonic() - started):,.0f}"
