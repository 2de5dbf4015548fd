"""The same history through DynamoDB Streams, Kinesis and objects in S3 ends in the same store, restarts included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from time import time_ns
from typing import Any

import boto3
import psycopg
import pytest

from connectors.aws.client import Aws
from connectors.kafka.producer import ensure_topics, produce
from core.formats.recordings import Record
from core.formats.s3 import notification
from tests import feeds
from tests.aws import moto_server
from tests.flink_jobs.conftest import Workshop, eventually, kill
from tests.replay import differences
from tests.udfs.test_parsing import pdf
from workloads.articles import Article, Step, history
from workloads.texts import texts

CHANGES = 200
QUICK = {"execution.checkpointing.interval": "500 ms", "execution.checkpointing.min-pause": "100 ms"}
DOCUMENT = {"text": "{title}\n\n{body}", "metadata": ["updated_at"], "key": ["id"]}


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto_server() as server:
        yield server


def client(service: str, aws: Aws) -> Any:
    return boto3.client(service, region_name=aws.region, endpoint_url=aws.endpoint)


def steps(seed: int = 7) -> list[Step]:
    articles = [(text.title, text.paragraphs) for text in texts()]
    return list(islice(history(articles, "a.public.documents", seed, time_ns), CHANGES))


def truth(changes: Sequence[Step], name: Callable[[int], str]) -> dict[str, str]:
    rows: dict[int, Article | None] = {step.id: step.article for step in changes}
    return {name(number): f"{article.title}\n\n{article.body}" for number, article in rows.items() if article}


def away(workshop: Workshop, expected: dict[str, str]) -> list[str]:
    """What keeps the store from being what it should be."""
    try:
        return differences(workshop.rows(), expected)
    except psycopg.errors.UndefinedTable:
        return ["nothing is there yet"]


def pipeline(workshop: Workshop, source: dict[str, Any], **changes: Any) -> Path:
    letters = {"topic": workshop.dead_letters, "properties.bootstrap.servers": workshop.bootstrap_servers}
    return workshop.pipeline(source=source, dead_letters={"kafka": letters}, flink=QUICK, parallelism=2, **changes)


def restarted(
    workshop: Workshop, file: Path, first: Callable[[], None], rest: Callable[[], None], end: dict[str, str]
) -> None:
    """The job is killed between two parts of a history, and catches up."""
    first()
    with workshop.running(file) as job:
        eventually(lambda: workshop.prepared() and len(workshop.rows()) > 0, "the first documents")
        kill(job)
    rest()
    with workshop.running(file):
        try:
            eventually(lambda: not away(workshop, end), "the store to equal the source")
        except AssertionError:
            raise AssertionError(away(workshop, end)[:5], len(end)) from None
    assert not workshop.has_letters()


def test_dynamodb_streams(workshop: Workshop, aws: Aws) -> None:
    table, changes = f"{workshop.prefix}-documents", steps()
    database = client("dynamodb", aws)
    database.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )

    def write(part: Sequence[Step]) -> None:
        for step in part:
            if step.article is None:
                database.delete_item(TableName=table, Key=feeds.typed({"id": step.id}))
            else:
                database.put_item(TableName=table, Item=feeds.typed(feeds.row(step.article)))

    source = {"dynamodb": {"table": table, "aws.region": aws.region, "aws.endpoint": aws.endpoint}}
    document = {name: value for name, value in DOCUMENT.items() if name != "key"}
    file = pipeline(workshop, source, format="dynamodb", documents={table: document})
    end = truth(changes, lambda number: f"{table}/{number}")
    restarted(workshop, file, lambda: write(changes[:90]), lambda: write(changes[90:]), end)


def test_kinesis_with_records_of_debezium(workshop: Workshop, aws: Aws) -> None:
    stream, changes = f"{workshop.prefix}-changes", steps()
    kinesis = client("kinesis", aws)
    kinesis.create_stream(StreamName=stream, ShardCount=3)

    def write(part: Sequence[Step]) -> None:
        records = [record for record in feeds.debezium("", part) if record.value is not None]
        for at in range(0, len(records), 100):
            entries = [
                {"Data": record.value, "PartitionKey": (record.key or b"").decode()}
                for record in records[at : at + 100]
            ]
            assert kinesis.put_records(StreamName=stream, Records=entries)["FailedRecordCount"] == 0

    source = {
        "kinesis": {
            "stream": stream, "aws.region": aws.region, "aws.endpoint": aws.endpoint,
            "source.init.position": "TRIM_HORIZON",
        }
    }  # fmt: skip
    file = pipeline(workshop, source, documents={"public.documents": DOCUMENT})
    end = truth(changes, lambda number: f"public.documents/{number}")
    restarted(workshop, file, lambda: write(changes[:90]), lambda: write(changes[90:]), end)


def test_objects_of_a_bucket_with_notifications_in_any_order(workshop: Workshop, aws: Aws) -> None:
    bucket, changes = f"{workshop.prefix}-pages", steps()
    s3 = client("s3", aws)
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": aws.region})
    topic = workshop.topic
    ensure_topics(workshop.bootstrap_servers, {topic: 3})

    def write(part: Sequence[Step]) -> None:
        notices = []
        for step in part:
            key = f"docs/page {step.id}+ü.md"
            if step.article is None:
                s3.delete_object(Bucket=bucket, Key=key)
            else:
                s3.put_object(Bucket=bucket, Key=key, Body=feeds.markdown(step.article))
            notices.append(Record(topic, key.encode(), notification(bucket, key)))
        # late ones come last, and some twice
        produce(workshop.bootstrap_servers, [*reversed(notices), *notices[::7]])

    file = workshop.pipeline(
        bounded=False,
        format={"s3": {"aws.region": aws.region, "aws.endpoint": aws.endpoint}},
        documents={f"s3.{bucket}": {"text": "{text}", "metadata": ["bucket", "key", "etag"]}},
        flink=QUICK,
        parallelism=2,
    )
    rows = {step.id: step.article for step in changes}
    end = {
        f"s3.{bucket}/docs%2Fpage {number}+ü.md": feeds.markdown(article).decode()
        for number, article in rows.items()
        if article
    }
    restarted(workshop, file, lambda: write(changes[:90]), lambda: write(changes[90:]), end)


def test_objects_that_cannot_be_read_are_dead_letters_and_the_others_go_on(workshop: Workshop, aws: Aws) -> None:
    bucket = f"{workshop.prefix}-mixed"
    s3 = client("s3", aws)
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": aws.region})
    objects = {
        "../up and+down/%2F 🜁.txt": b"a key of its own",
        "broken.parquet": b"PAR1 and no more",
        "encrypted.pdf": pdf("secret", password="secret"),
        "long.txt": b"x" * 2_000,
        "rows.csv": b"id,title,text\n1,one,first\n2,two,second\n",
    }
    for key, body in objects.items():
        s3.put_object(Bucket=bucket, Key=key, Body=body)
    keys = [*objects, "gone before it was read.txt"]
    ensure_topics(workshop.bootstrap_servers, {workshop.topic: 1})
    notices = [Record(workshop.topic, None, notification(bucket, key)) for key in keys]
    produce(workshop.bootstrap_servers, [*notices, Record(workshop.topic, None, b'{"Records": 1}')])

    at = {"aws.region": aws.region, "aws.endpoint": aws.endpoint}
    file = workshop.pipeline(
        format={"s3": {**at, "max_bytes": 1_999, "key": ["id"]}},
        documents={f"s3.{bucket}": {"text": "{text}", "metadata": ["key", "row|"]}},
    )
    workshop.freshet("run", file)

    assert {document.partition("/")[2]: text.strip() for document, _, text in workshop.rows()} == {
        "..%2Fup and+down%2F%252F 🜁.txt": "a key of its own",
        "rows.csv/1": "first",
        "rows.csv/2": "second",
    }
    letters = {headers["freshet.reason"].decode(): (value, headers) for _, value, headers in workshop.letters()}
    stages = sorted(headers["freshet.stage"] for _, headers in letters.values())
    assert stages == [b"decode", b"load", b"load", b"load"]
    for key, why in (("broken.parquet", "Parquet"), ("encrypted.pdf", "encrypted"), ("long.txt", "more than 1,999")):
        ((reason, (value, headers)),) = [each for each in letters.items() if key in each[0]]
        assert why in reason
        assert value == notification(bucket, key)
        assert headers["freshet.document"].decode() == f"{bucket}/{key}"
