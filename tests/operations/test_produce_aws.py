"""`freshet produce` into moto's servers and a real Kafka: each target ends as the truth says, by any format."""

from __future__ import annotations

import csv
import json
import random
import threading
import uuid
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer
from boto3.dynamodb.types import TypeDeserializer
from typer.testing import CliRunner

from cli.produce import produce
from connectors.aws.client import Aws, client
from connectors.s3.listing import listing
from connectors.s3.objects import S3
from core.change import Change, Event, Operation, Skip, Truncate
from core.documents.objects import Fetched, ObjectChange
from core.formats import dms, rows, s3
from core.formats.debezium import decoding as debezium
from core.formats.dms import DmsFormat
from core.formats.dynamodb import decoding as dynamodb
from core.formats.rows import RowsFormat
from stack.local import Stack
from tests.aws import moto_server
from tests.pages import ROOT, blocks
from tests.topics import consume
from workloads.writers.kinesis import KinesisWriter

app = typer.Typer()
app.command()(produce)

KEYS = {"public.articles": ("id",)}
ROWS = RowsFormat("public.articles", operation_field="op", keys=KEYS)
DECODERS: dict[str, Any] = {
    "debezium": lambda event: (debezium.decode(event),),
    "rows": lambda event: rows.decode(event, ROWS),
    "dms": lambda event: dms.decode(event, DmsFormat(include_null_and_empty=True, keys=KEYS)),
    "dynamodb": lambda event: dynamodb.decode(event),
}


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto_server() as server:
        yield server


@pytest.fixture
def name() -> str:
    return f"w{uuid.uuid4().hex[:8]}"


def run(aws: Aws, *arguments: object) -> str:
    given = ["--aws-endpoint", aws.endpoint, "--aws-region", aws.region, *arguments]
    result = CliRunner().invoke(app, [str(each) for each in given], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def truth_of(path: Path) -> dict[int, dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return {int(row["id"]): row for row in csv.DictReader(lines)}


def shards(aws: Aws, stream: str) -> list[list[dict[str, Any]]]:
    kinesis = client("kinesis", aws, "test")
    found = []
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        which = {"StreamName": stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator, records = kinesis.get_shard_iterator(**which)["ShardIterator"], []
        while batch := kinesis.get_records(ShardIterator=iterator, Limit=1000):
            records += batch["Records"]
            iterator = batch["NextShardIterator"]
            if not batch["Records"]:
                break
        found.append(records)
    return found


@pytest.mark.parametrize("written", DECODERS)
def test_records_of_a_stream_amount_to_the_truth(aws: Aws, name: str, tmp_path: Path, written: str) -> None:
    printed = run(aws, "--stream", name, "--format", written, "--events", 400, "--truth", tmp_path / "truth.csv")
    assert f"400 records into stream {name}" in printed
    found = shards(aws, name)
    assert len(found) == 2
    assert all(found)
    table: dict[int, str] = {}
    for records in found:
        for offset, record in enumerate(records):
            event = Event(name, 0, offset, record["PartitionKey"].encode(), record["Data"], {})
            for change in DECODERS[written](event):
                assert not isinstance(change, Skip | Truncate), record
                key = int(change.key["id"])
                if change.operation is Operation.DELETE:
                    del table[key]
                else:
                    table[key] = change.row["body"]
    assert table == {key: row["body"] for key, row in truth_of(tmp_path / "truth.csv").items()}
    assert len(table) > 50


@pytest.mark.parametrize("written", ["rows", "dms", "dynamodb"])
def test_events_of_a_topic_are_in_the_format_asked_for(stack: Stack, name: str, tmp_path: Path, written: str) -> None:
    topic, truth = f"{name}.public.articles", tmp_path / "truth.csv"
    arguments = ["--bootstrap-servers", stack.kafka.bootstrap_servers, "--topic", topic, "--format", written]
    result = CliRunner().invoke(app, [*arguments, "--events", "300", "--truth", str(truth)])
    assert result.exit_code == 0, result.output
    assert "300 events into 1 topic" in result.stdout
    decode = DECODERS[written] if written != "rows" else lambda event: rows.decode(event, RowsFormat("public.articles"))
    keys = set()
    for offset, each in enumerate(consume(stack.kafka.bootstrap_servers, topic)):
        for change in decode(Event(topic, each.partition or 0, offset, each.key, each.value, {})):
            assert isinstance(change, Change)
            number = int(change.key["id"])
            (keys.discard if change.operation is Operation.DELETE else keys.add)(number)
    assert keys == truth_of(truth).keys()


def test_items_of_a_table_are_the_truth_and_its_stream_tells_each_change(aws: Aws, name: str, tmp_path: Path) -> None:
    printed = run(aws, "--table", name, "--events", 300, "--seed", 4, "--truth", tmp_path / "truth.csv")
    assert f"300 writes to table {name}" in printed
    database, plain = client("dynamodb", aws, "test"), TypeDeserializer().deserialize
    items = [page for each in database.get_paginator("scan").paginate(TableName=name) for page in each["Items"]]
    found = {int(item["id"]["N"]): {key: str(plain(value)) for key, value in item.items()} for item in items}
    assert found == truth_of(tmp_path / "truth.csv")
    described = database.describe_table(TableName=name)["Table"]
    assert described["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    streams = client("dynamodbstreams", aws, "test")
    arn = described["LatestStreamArn"]
    (shard,) = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    which = {"StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
    records = streams.get_records(ShardIterator=streams.get_shard_iterator(**which)["ShardIterator"])["Records"]
    assert len(records) == 300


def test_objects_of_a_bucket_are_the_truth_and_each_is_notified(
    stack: Stack, aws: Aws, name: str, tmp_path: Path
) -> None:
    servers = stack.kafka.bootstrap_servers
    notified = ("--topic", f"{name}.pages", "--bootstrap-servers", servers)
    printed = run(
        aws, "--bucket", name, "--prefix", "docs/ä", *notified, "--events", 300, "--truth", tmp_path / "t.csv"
    )
    assert f"300 writes to bucket {name}" in printed
    assert f"a notification of each in topic {name}.pages" in printed
    store = S3("test", aws)
    found = {}
    for each in listing(store, name):
        fetched = store.fetch(name, each.key, lambda size: None)
        assert isinstance(fetched, Fetched)
        assert fetched.content_type == "text/markdown; charset=utf-8"
        found[each.key] = (fetched.etag, fetched.content.decode())
    truth = truth_of(tmp_path / "t.csv")
    assert {key: text for key, (_, text) in found.items()} == {
        f"docs/ä/{key}.md": f"# {row['title']}\n\n{row['body']}\n" for key, row in truth.items()
    }
    last: dict[str, ObjectChange] = {}
    count = 0
    for record in consume(servers, f"{name}.pages"):
        (change,) = s3.decode(Event(record.topic, 0, 0, record.key, record.value, {}))
        assert isinstance(change, ObjectChange)
        assert record.key == change.key.encode()
        last[change.key] = change
        count += 1
    assert count == 300
    assert {key: change.etag for key, change in last.items() if not change.gone} == {
        key: etag for key, (etag, _) in found.items()
    }


def test_a_bucket_without_notifications_and_a_target_that_is_there_already(aws: Aws, name: str) -> None:
    for _ in range(2):
        run(aws, "--bucket", name, "--events", 5)
    assert {each.key for each in listing(S3("test", aws), name)} >= {"1.md"}
    for target in ("--stream", "--table"):
        for _ in range(2):
            run(aws, target, name, "--events", 5)


def test_the_commands_of_the_page_do_what_it_says(stack: Stack, aws: Aws, tmp_path: Path) -> None:
    """They are in `ELSEWHERE` of tests/test_docs.py, whose stack has no AWS."""
    page = ROOT / "docs" / "produce.md"
    lines = [line for block in blocks(page) if block.language == "bash" for line in block.text.splitlines()]
    typed = [line for line in lines if line.startswith("freshet produce ")]
    assert len(typed) == len(lines) - 1 == 6
    here = {"http://127.0.0.1:5000": aws.endpoint, "127.0.0.1:9092": stack.kafka.bootstrap_servers}
    for line in typed:
        words = [here.get(word, word) for word in line.split()[2:]]
        words = [str(tmp_path / word) if word.endswith(".csv") else word for word in words]
        result = CliRunner().invoke(app, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output


@contextmanager
def taking_half(taken: dict[str, list[str]]) -> Iterator[Aws]:
    """A server of PutRecords that takes each record or refuses it, at random, and has requests that fail whole."""
    chance, lock = random.Random(5), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                results = [self.take(each) for each in asked["Records"]]
            body = json.dumps({"FailedRecordCount": 0, "Records": results}).encode()
            self.send_response(500 if chance.random() < 0.1 and not any("ShardId" in each for each in results) else 200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def take(self, entry: dict[str, str]) -> dict[str, str]:
            if chance.random() < 0.4:
                return {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Slow down"}
            taken[entry["PartitionKey"]].append(entry["Data"])
            return {"SequenceNumber": "1", "ShardId": "shardId-000000000000"}

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Aws("eu-central-1", f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_records_that_a_stream_refuses_come_again_in_the_order_of_their_key(aws: Aws) -> None:
    taken: dict[str, list[str]] = defaultdict(list)
    chance = random.Random(1)
    records = [(f"key {chance.randrange(20)}", str(number).encode()) for number in range(120)]
    with taking_half(taken) as half:
        KinesisWriter("orders", half).put(records)
    expected: dict[str, list[str]] = defaultdict(list)
    for key, data in records:
        expected[key].append(b64encode(data).decode())
    assert taken == expected
