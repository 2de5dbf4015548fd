"""A job whose dead letters go to Kinesis or S3: the run counts them, and they are listed, shown and sent again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.aws.client import Aws, client
from tests.aws import moto_server
from tests.flink_jobs.conftest import Workshop
from tests.topics import consume

TORN = b'{"id": \xff' + b"x" * 300


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto_server() as server:
        yield server


def place(kind: str, name: str, aws: Aws) -> dict[str, Any]:
    """A new place's settings."""
    at, made = {"aws.region": aws.region, "aws.endpoint": aws.endpoint}, client(kind, aws, "test")
    if kind == "kinesis":
        made.create_stream(StreamName=name, ShardCount=2)
        return {"stream": name, **at}
    made.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": aws.region})
    return {"bucket": name, "prefix": "documents/", **at}


@pytest.mark.parametrize("kind", ["kinesis", "s3"])
def test_letters_are_there_after_a_run_and_go_back_to_their_topic(workshop: Workshop, aws: Aws, kind: str) -> None:
    file: Path = workshop.pipeline(dead_letters={kind: place(kind, f"{workshop.prefix}-letters", aws)})
    workshop.partitioned(2)
    for key in (b"1", b"2", b"3"):
        workshop.send(key, TORN, {"own": b"\x00\xff"}, partition=1)
    assert "3 dead letters are in" in workshop.freshet("run", file)
    listed = [json.loads(line) for line in workshop.freshet("dead-letters", "list", file, "--json").splitlines()]
    assert sorted(each["key"] for each in listed) == ["1", "2", "3"]
    assert {each["source.offset"] for each in listed} == {"0", "1", "2"}
    shown = workshop.freshet("dead-letters", "show", file, listed[0]["letter"])
    assert "stage: decode" in shown and "header own: " in shown
    assert "3 events to" in workshop.freshet("dead-letters", "replay", file, "--yes")
    again = [
        each for each in consume(workshop.bootstrap_servers, workshop.topic) if "freshet.replay" in dict(each.headers)
    ]
    assert sorted((each.key, each.value, each.partition) for each in again) == [
        (key, TORN, 1) for key in (b"1", b"2", b"3")
    ]
    assert dict(again[0].headers)["own"] == b"\x00\xff"
