"""A bucket whose notifications go to a queue, read by a job that is killed: equal at the end, and the queue empty."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest

from connectors.aws.client import Aws
from tests.aws import moto_server, notified_queue
from tests.flink_jobs.conftest import Workshop, eventually, kill
from tests.replay import differences
from workloads.articles import Step, history
from workloads.feeds import markdown
from workloads.texts import texts

QUICK = {"execution.checkpointing.interval": "500 ms", "execution.checkpointing.min-pause": "100 ms"}


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto_server() as server:
        yield server


def client(service: str, aws: Aws) -> Any:
    return boto3.client(service, region_name=aws.region, endpoint_url=aws.endpoint)


def pipeline(workshop: Workshop, aws: Aws, bucket: str, url: str, **changes: Any) -> Path:
    at = {"aws.region": aws.region, "aws.endpoint": aws.endpoint}
    letters = {"topic": workshop.dead_letters, "properties.bootstrap.servers": workshop.bootstrap_servers}
    settings: dict[str, Any] = {
        "source": {"sqs": {"queue_url": url, **at}},
        "format": {"s3": at},
        "documents": {f"s3.{bucket}": {"text": "{text}", "metadata": ["key"]}},
        "dead_letters": {"kafka": letters},
        "flink": QUICK,
        "parallelism": 2,
        **changes,
    }
    return workshop.pipeline(**settings)


def away(workshop: Workshop, expected: dict[str, str]) -> list[str]:
    try:
        return differences(workshop.rows(), expected)
    except psycopg.errors.UndefinedTable:
        return ["nothing is there yet"]


def left(aws: Aws, url: str) -> int:
    """Messages that are in the queue, hidden ones too."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = client("sqs", aws).get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(map(int, counts.values()))


@pytest.mark.timeout(400)
def test_a_bucket_by_way_of_its_queue(workshop: Workshop, aws: Aws) -> None:
    bucket = f"{workshop.prefix}-pages"
    url, s3 = notified_queue(aws, bucket), client("s3", aws)
    articles = [(text.title, text.paragraphs) for text in texts()]
    steps = list(islice(history(articles, "a.public.documents", 7, time.time_ns), 160))

    def write(part: list[Step]) -> None:
        for step in part:
            key = f"docs/page {step.id}+ü.md"
            if step.article is None:
                s3.delete_object(Bucket=bucket, Key=key)
            else:
                s3.put_object(Bucket=bucket, Key=key, Body=markdown(step.article))

    rows = {step.id: step.article for step in steps}
    end = {
        f"s3.{bucket}/docs%2Fpage {number}+ü.md": markdown(article).decode()
        for number, article in rows.items()
        if article
    }
    file = pipeline(workshop, aws, bucket, url)
    assert "✓ source.sqs" in workshop.freshet("check", file)
    write(steps[:80])
    with workshop.running(file) as job:
        eventually(lambda: workshop.prepared() and len(workshop.rows()) > 0, "the first documents")
        kill(job)
    write(steps[80:])
    with workshop.running(file):
        try:
            eventually(lambda: not away(workshop, end), "the store to equal the bucket")
        except AssertionError:
            raise AssertionError(away(workshop, end)[:5], len(end)) from None
        # what was received before the kill is hidden for half a minute
        eventually(lambda: left(aws, url) == 0, "the queue to be empty")
    assert not workshop.has_letters()


def test_a_queue_that_is_not_there(workshop: Workshop, aws: Aws) -> None:
    file = pipeline(workshop, aws, "none", f"{aws.endpoint}/123456789012/none")
    assert "SQS queue none isn't there" in workshop.freshet("run", file, ok=False)
