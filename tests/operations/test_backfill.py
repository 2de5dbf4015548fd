"""`freshet backfill` of buckets: each object is sent at least once, whatever stops it on the way."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from rich.progress import Progress

from connectors.aws.client import Aws
from connectors.kafka.producer import ensure_topics
from connectors.s3.listing import listing
from connectors.s3.objects import S3
from connectors.sqs.queue import Queue
from core.change import BEGINNING, Event
from core.documents.objects import ObjectChange
from core.formats.s3 import decode
from operations.backfill import objects as backfill_objects
from stack.local import Stack
from terminal.backfilling import Left
from tests.aws import moto_server
from tests.topics import consume

KEYS = [f"docs/{number % 7}/seite {number}+ü.md" for number in range(2_000)]


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto_server() as server:
        yield server


def bucket_of(aws: Aws, keys: list[str]) -> str:
    store, name = S3("test", aws), f"docs-{uuid.uuid4().hex[:8]}"
    store.client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": aws.region})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.client.put_object(Bucket=name, Key=key, Body=b"# Hi"), keys))
    return name


@pytest.fixture(scope="module")
def large(aws: Aws) -> str:
    return bucket_of(aws, KEYS)


def _hears_ctrl_c() -> None:
    # tests that run in the background ignore it, and so would what they start
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(frozen=True)
class Desk:
    """A folder with a pipeline file for one bucket, and a topic of its own."""

    folder: Path
    servers: str
    topic: str
    bucket: str
    aws: Aws

    def write(self, **changes: Any) -> None:
        pipeline = {
            "name": "pages",
            "source": {"kafka": {"topic": self.topic, "properties.bootstrap.servers": self.servers}},
            "format": {"s3": {"aws.region": self.aws.region, "aws.endpoint": self.aws.endpoint}},
            "documents": {f"s3.{self.bucket}": {"text": "{text}"}},
            "embedding": {"model": "hash"},
            "store": {"pgvector": {"dsn": "postgresql://nobody@127.0.0.1:1/none", "table": "pages"}},
            "dead_letters": {"kafka": {"topic": "letters"}},
            **changes,
        }
        (self.folder / "pipeline.yaml").write_text(yaml.safe_dump(pipeline), encoding="utf-8")

    def start(self, place: str, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "cli", "backfill", "pipeline.yaml", place, *options],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}, preexec_fn=_hears_ctrl_c,
        )  # fmt: skip

    def run(self, place: str, *options: str, code: int = 0) -> str:
        job = self.start(place, *options)
        printed, _ = job.communicate(timeout=120)
        assert job.returncode == code, printed
        return " ".join(printed.split())

    @property
    def notes(self) -> Path:
        return self.folder / ".freshet" / "pipelines" / "pages" / "backfill.json"

    def sent(self) -> list[ObjectChange]:
        found = []
        for record in consume(self.servers, self.topic):
            (change,) = decode(Event(record.topic, 0, 0, record.key, record.value, {}))
            assert isinstance(change, ObjectChange)
            found.append(change)
        return found


@pytest.fixture
def desk(stack: Stack, aws: Aws, large: str, tmp_path: Path) -> Desk:
    made = Desk(tmp_path, stack.kafka.bootstrap_servers, f"pages-{uuid.uuid4().hex[:8]}", large, aws)
    ensure_topics(made.servers, {made.topic: 2})
    made.write()
    return made


def test_every_object_is_sent_as_a_look_at_it(desk: Desk) -> None:
    printed = desk.run(f"s3://{desk.bucket}")
    assert re.search(rf"2,000 objects of s3://{desk.bucket}/ sent to topic {desk.topic}, [\d,]+ objects/s", printed)
    sent = desk.sent()
    assert sorted(change.key for change in sent) == sorted(KEYS)
    assert {(change.bucket, change.gone, change.position, change.size) for change in sent} == {
        (desk.bucket, False, BEGINNING, 4)
    }
    assert all(change.etag for change in sent)
    # done: the next one begins anew
    assert json.loads(desk.notes.read_bytes()) == {}
    assert "286 objects" in desk.run(f"s3://{desk.bucket}/docs/0/")
    assert len(desk.sent()) == 2_286


def stopped(desk: Desk, place: str, end: signal.Signals) -> str:
    """A backfill that was stopped after its first thousand; what it printed."""
    for _ in range(10):
        job = desk.start(place, "--restart")
        while not desk.notes.exists() and job.poll() is None:
            time.sleep(0.002)
        job.send_signal(end)
        printed, _ = job.communicate(timeout=60)
        if json.loads(desk.notes.read_bytes()):
            assert job.returncode == (130 if end is signal.SIGINT else -signal.SIGKILL), printed
            return " ".join(printed.split())
        desk.notes.unlink()  # it was quicker than this test
    raise AssertionError("each of ten ended before it could be stopped")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_what_was_stopped_goes_on_where_it_was(desk: Desk, end: signal.Signals) -> None:
    place = f"s3://{desk.bucket}/docs"
    printed = stopped(desk, place, end)
    stand = json.loads(desk.notes.read_bytes())[place]
    assert stand["objects"] in (1_000, 2_000)
    assert stand["after"] == sorted(KEYS, key=str.encode)[stand["objects"] - 1]
    assert end is signal.SIGKILL or f"stopped at {stand['objects']:,} objects" in printed
    before = len(desk.sent())
    printed = desk.run(place)
    assert f"going on after '{stand['after']}', with {stand['objects']:,} objects sent before" in printed
    assert "2,000 objects" in printed
    sent = [change.key for change in desk.sent()]
    assert set(sent) == set(KEYS)
    assert len(sent) == before + 2_000 - stand["objects"]


def test_an_unfinished_one_can_begin_anew_and_concerns_its_own_place_alone(desk: Desk) -> None:
    place, other = f"s3://{desk.bucket}/docs/1/", f"s3://{desk.bucket}/docs/2/"
    desk.notes.parent.mkdir(parents=True)
    kept = {place: {"after": "docs/1/zzz", "objects": 5}, other: {"after": "docs/2/s", "objects": 1}}
    desk.notes.write_text(json.dumps(kept))
    assert "going on after 'docs/1/zzz', with 5 objects sent before" in desk.run(place)
    assert desk.sent() == []
    desk.notes.write_text(json.dumps(kept))
    assert "286 objects" in desk.run(place, "--restart")
    assert {change.key.split("/")[1] for change in desk.sent()} == {"1"}
    assert json.loads(desk.notes.read_bytes()) == {other: kept[other]}


@pytest.mark.parametrize(
    ("place", "changes", "message"),
    [
        ("file:docs", {}, "'file:docs' is no place to list: write s3://BUCKET"),
        ("s3://other-bucket/x", {}, "documents.s3.other-bucket is missing"),
        ("s3://pages-of-nobody", {"documents": {"s3.pages-of-nobody": {"text": "{text}"}}}, "can't be listed"),
        ("s3://docs", {"format": "debezium", "documents": {"public.a": {"text": "{a}"}}}, "s3://docs is a place for"),
    ],
)
def test_what_cannot_be_backfilled_is_refused(desk: Desk, place: str, changes: dict[str, Any], message: str) -> None:
    desk.write(**changes)
    assert message in desk.run(place, code=2)


def test_a_topic_that_is_not_there_or_not_one_is_refused(desk: Desk) -> None:
    servers = {"properties.bootstrap.servers": desk.servers}
    desk.write(source={"kafka": {"topic": f"no-{desk.topic}", **servers}})
    assert f"source.kafka.topic is 'no-{desk.topic}', which isn't there" in desk.run(f"s3://{desk.bucket}", code=2)
    desk.write(source={"kafka": {"topic-pattern": "pages-.*", **servers}})
    assert "a backfill needs topic, and one alone" in desk.run(f"s3://{desk.bucket}", code=2)


def test_notes_of_something_else_are_refused(desk: Desk) -> None:
    desk.notes.parent.mkdir(parents=True)
    desk.notes.write_text("[]")
    assert "is not what a backfill wrote" in desk.run(f"s3://{desk.bucket}", code=2)


def test_a_pipeline_that_reads_a_queue_gets_them_there(desk: Desk) -> None:
    sqs = boto3.client("sqs", region_name=desk.aws.region, endpoint_url=desk.aws.endpoint)
    url = sqs.create_queue(QueueName=desk.topic)["QueueUrl"]
    at = {"aws.region": desk.aws.region, "aws.endpoint": desk.aws.endpoint}
    letters = {"topic": "letters", "properties.bootstrap.servers": desk.servers}
    desk.write(source={"sqs": {"queue_url": url, **at}}, dead_letters={"kafka": letters})
    printed = desk.run(f"s3://{desk.bucket}/docs/0/")
    assert f"286 objects of s3://{desk.bucket}/docs/0/ sent to queue {desk.topic}" in printed
    source, found = Queue(url, desk.aws), list[str]()
    while messages := source.receive(1, 600):
        for message in messages:
            (change,) = decode(Event(source.name, 0, 0, None, message.body))
            assert isinstance(change, ObjectChange)
            found.append(change.key)
    assert sorted(found) == sorted(key for key in KEYS if key.startswith("docs/0/"))


def test_what_the_file_names_is_sent_where_no_place_is_given_and_no_faster_than_it_may(desk: Desk) -> None:
    started = time.monotonic()
    printed = desk.run("--rate", "1000")
    assert f"2,000 objects of s3://{desk.bucket}/ sent to topic {desk.topic}" in printed
    assert time.monotonic() - started > 2
    assert sorted(change.key for change in desk.sent()) == sorted(KEYS)


def test_how_long_it_takes_is_shown_when_all_are_counted(desk: Desk) -> None:
    counts: queue.Queue[int] = queue.Queue()
    with backfill_objects._counting(listing(S3("test", desk.aws), desk.bucket), counts.put):
        assert counts.get(timeout=60) == 2_000
    with backfill_objects._counting(listing(S3("test", desk.aws), "no-such-bucket"), counts.put):
        time.sleep(0.5)
    with backfill_objects._counting(listing(S3("test", desk.aws), desk.bucket), counts.put):
        pass
    assert counts.empty(), "what could not be counted, or not to its end, is not shown"
    clock = iter(range(100))
    bar, column = Progress(get_time=lambda: float(next(clock))), Left()
    task = bar.add_task("objects", total=None)
    for completed in (100, 200, 300):
        bar.update(task, completed=completed)
    assert column.render(bar.tasks[0]).plain == "counting …"
    bar.update(task, total=2_000)
    for completed in (400, 500):
        bar.update(task, completed=completed)
    assert re.fullmatch(r"0:00:\d\d left of 2,000", column.render(bar.tasks[0]).plain), column.render(bar.tasks[0])
