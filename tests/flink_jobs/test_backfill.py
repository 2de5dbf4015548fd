"""A bucket whose changes nobody heard of, listed into the topic, ends in the store as it is."""

from __future__ import annotations

import csv
from collections.abc import Iterator

import pytest

from connectors.aws.client import Aws
from tests.aws import moto_server
from tests.flink_jobs.conftest import Workshop
from tests.replay import differences


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto_server() as server:
        yield server


def test_objects_that_nobody_heard_of_and_others(workshop: Workshop, aws: Aws) -> None:
    bucket = f"{workshop.prefix}-pages"
    workshop.partitioned(3)
    file = workshop.pipeline(
        source={
            "kafka": {
                "topic": workshop.topic,
                "properties.bootstrap.servers": workshop.bootstrap_servers,
                "scan.startup.mode": "earliest-offset",
                "scan.bounded.mode": "latest-offset",
            }
        },
        format={"s3": {"aws.region": aws.region, "aws.endpoint": aws.endpoint}},
        documents={f"s3.{bucket}": {"text": "{text}", "metadata": ["key"]}},
    )
    topic = ("--topic", workshop.topic, "--bootstrap-servers", workshop.bootstrap_servers)
    end = written(workshop, aws, bucket, "old", 1) | written(workshop, aws, bucket, "live", 2, *topic)
    assert len(end) > 50
    # what is live comes in both ways
    workshop.freshet("backfill", file, f"s3://{bucket}")
    workshop.freshet("run", file)
    assert differences(workshop.rows(), end) == []
    assert not workshop.has_letters()


def written(workshop: Workshop, aws: Aws, bucket: str, folder: str, seed: int, *options: str) -> dict[str, str]:
    """Objects of a folder, as documents."""
    assert aws.endpoint is not None
    rows = workshop.folder / f"{folder}.csv"
    target = ("--bucket", bucket, "--prefix", folder, "--aws-endpoint", aws.endpoint, "--truth", rows)
    workshop.freshet("produce", *target, "--events", "150", "--seed", str(seed), *options)
    with rows.open(newline="", encoding="utf-8") as lines:
        return {
            f"s3.{bucket}/{folder}%2F{row['id']}.md": f"# {row['title']}\n\n{row['body']}\n"
            for row in csv.DictReader(lines)
        }
