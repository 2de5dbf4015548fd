"""The shard source in a real Flink job, on streams of moto's server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from connectors.aws.client import Aws, client
from flink_jobs.sources.shards import partition
from tests.aws import moto_server

ROOT = Path(__file__).parents[2]
OFFICIAL = os.environ.get("FRESHET_KINESIS_JAR", "")


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto_server() as server:
        yield server


def job(kind: str, name: str, aws: Aws, rows: int, folder: Path, fails_at: int = 0) -> tuple[list[Any], list[Any]]:
    """What Flink says of the slots, and the rows that came."""
    arguments = [kind, name, aws.endpoint or "", str(rows), str(folder), str(fails_at)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.flink_jobs.shard_job", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-5000:]
    printed = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [each["subtasks"] for each in printed if "subtasks" in each], [each for each in printed if "key" in each]


def test_a_stream_of_kinesis_comes_once_in_order_although_the_job_fails_on_the_way(aws: Aws, tmp_path: Path) -> None:
    kinesis, name = client("kinesis", aws, "test"), f"s{uuid4().hex[:8]}"
    kinesis.create_stream(StreamName=name, ShardCount=4)
    began = time.time() * 1000
    for batch in range(12):
        entries = [{"PartitionKey": f"k{n % 40}", "Data": f"{batch * 400 + n}".encode()} for n in range(400)]
        assert kinesis.put_records(StreamName=name, Records=entries)["FailedRecordCount"] == 0
    subtasks, rows = job("kinesis", name, aws, 4800, tmp_path, fails_at=1500)
    assert subtasks == [list(range(len(each))) for each in subtasks] and len(subtasks) == 5
    assert (tmp_path / "failed").exists()
    values: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        values[row["key"]].append(int(row["value"]))
    assert values == {f"k{n}": list(range(n, 4800, 40)) for n in range(40)}
    assert {(row["topic"], row["headers"]["kinesis.shard"], row["partition"]) for row in rows} == {
        (name, f"shardId-{n:012d}", n) for n in range(4)
    }
    read_by: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        read_by[row["subtask"]].add(row["partition"])
    assert set(map(frozenset, read_by.values())) >= {frozenset((0, 1)), frozenset((2, 3))}
    assert all(shards <= {0, 1} or shards <= {2, 3} for shards in read_by.values())
    assert all(row["headers"]["kinesis.sequence-number"].isdigit() for row in rows)
    assert all(began - 1000 <= row["time"] == row["offset"] <= time.time() * 1000 for row in rows)


def test_the_watermark_follows_what_has_arrived(aws: Aws, tmp_path: Path) -> None:
    kinesis, name = client("kinesis", aws, "test"), f"s{uuid4().hex[:8]}"
    kinesis.create_stream(StreamName=name, ShardCount=2)
    entries = [{"PartitionKey": f"k{n}", "Data": b"x"} for n in range(100)]
    kinesis.put_records(StreamName=name, Records=entries)
    arguments = ["kinesis", name, aws.endpoint or "", "101", str(tmp_path), "0"]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.flink_jobs.shard_job", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        rows = []
        for line in running.stdout:
            if '"key"' not in line:
                continue
            rows.append(json.loads(line))
            if len(rows) >= 100:
                # time passes, and it is the time of what is read to its end
                time.sleep(1)
                kinesis.put_records(StreamName=name, Records=entries)
    assert running.returncode == 0
    assert rows[0]["watermark"] < rows[0]["time"]
    assert all(row["watermark"] <= row["time"] for row in rows), "nothing is late"
    assert rows[99]["time"] < rows[100]["time"]


def test_a_tables_stream_comes_as_json(aws: Aws, tmp_path: Path) -> None:
    dynamodb, name = client("dynamodb", aws, "test"), f"t{uuid4().hex[:8]}"
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    for number in range(5):
        dynamodb.put_item(TableName=name, Item={"id": {"S": "x"}, "body": {"S": f"text {number}"}})
    _, rows = job("dynamodb", name, aws, 5, tmp_path)
    records = [json.loads(row["value"]) for row in rows]
    assert [each["dynamodb"]["NewImage"]["body"]["S"] for each in records] == [f"text {n}" for n in range(5)]
    assert {(row["topic"], row["key"]) for row in rows} == {(name, '{"id":{"S":"x"}}')}
    assert [row["headers"]["dynamodb.sequence-number"] for row in rows] == [
        each["dynamodb"]["SequenceNumber"] for each in records
    ]


def test_a_shards_number_is_its_own_in_kinesis_and_small_enough_elsewhere() -> None:
    assert partition("shardId-000000000012") == 12
    assert 0 <= partition("shardId-00000001541626099285-f35f62ef") < 2**31


@pytest.mark.skipif(not OFFICIAL, reason="the official connector's JAR isn't here: set FRESHET_KINESIS_JAR")
def test_the_official_connector_takes_its_table() -> None:
    code = """
import sys
from pathlib import Path
from pyflink.table import StreamTableEnvironment
from connectors.kinesis.streams import check_flink_jar, flink_source_ddl
from core.config.source import Kinesis
from flink_jobs.engine.environment import local_environment
jar = Path(sys.argv[1]).resolve().as_uri()
check_flink_jar([jar])
tables = StreamTableEnvironment.create(local_environment({"pipeline.jars": jar}))
arn = "arn:aws:kinesis:eu-central-1:123456789012:stream/orders"
kinesis = Kinesis.model_validate({"connector": "flink", "stream.arn": arn})
tables.execute_sql(flink_source_ddl("e", kinesis, "freshet-orders"))
print(tables.from_path("e").explain())
"""
    command = [sys.executable, "-c", code, OFFICIAL]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "TableSourceScan" in done.stdout, done.stderr[-3000:]
