"""The feed of S3: objects that are put and deleted, and notifications in Kafka that come late, swapped and twice.

Sources of the rules: Amazon S3's user guide, "Event notification types and destinations" (at least once, in any order),
"Event message structure" and "EventBridge event message structure", "Deleting object versions".
"""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any
from urllib.parse import quote_plus

from chaos import aws
from chaos.feed import WRITING_S, Place, Waiting, Work, committed
from chaos.kafka import PARTITIONS, Sender, grown, messages_in
from chaos.outbox import Outbox
from chaos.strikes import AWS, JOB, KAFKA, STORES, Fault, Strike
from chaos.table import Act, acts, first, write
from chaos.writers import together
from connectors.kafka import clients as kafka_clients
from connectors.kafka.producer import ensure_topics
from connectors.s3.objects import S3
from core.config.pipeline import Pipeline
from core.documents.objects import ToLoad
from core.documents.step import step
from core.documents.unfolding import unfold
from core.plans import Plan
from core.stores.verification import key_of
from flink_jobs.steps.objects import loading
from udfs.embedding.tokenizing import document_chunker
from udfs.parsing.loading import Loader
from workloads.writers.s3 import BucketWriter

_WRITERS = 3
_FIRST_SEQUENCER = 0x55AED6DCD90281E5
_PUT_S = 0.03
_SLOW_FILES = 4
# libxml2 looks for each attribute among all before it
_SLOW = f"<p {' '.join(f'a{number}' for number in range(45_000))}>It says little."
_TABLES = 6  # of the keys, files of several rows


@dataclass(frozen=True, slots=True)
class Notification:
    """What S3 notifies of: an object that was put, or deleted where it is `gone`."""

    key: str
    sequencer: int
    gone: bool
    version: str | None
    marker: bool = False


class Objects:
    """A `chaos.feed.Feed`. Half of the acts have a bucket that keeps versions.

    Each writer has keys of its own, so that a key's sequencers are in the order of what was done to it.
    """

    faults: Mapping[Fault, int] = {**JOB, **STORES, **KAFKA, **AWS, Fault.SLOW_FILE: 8, Fault.INDEX: 5}

    def __init__(self, place: Place, choices: Random) -> None:
        """Make bucket and topic, and put the first objects."""
        assert place.aws is not None
        self._place, self._aws = place, place.aws
        self._bucket = place.name.replace("_", "-")
        self._table = f"s3.{self._bucket}"
        self._servers = place.stack.kafka.bootstrap_servers
        self._store = S3("chaos", place.aws)
        self._loader: Loader | None = None
        self._versions: dict[str, list[str]] = {}
        self._sequencer = _FIRST_SEQUENCER
        self._lock = threading.Lock()
        BucketWriter(self._bucket, place.aws).ensure()
        if choices.random() < 0.5:
            kept = {"Bucket": self._bucket, "VersioningConfiguration": {"Status": "Enabled"}}
            self._store.patiently(lambda: self._store.client.put_bucket_versioning(**kept))
        ensure_topics(self._servers, {place.name: PARTITIONS})
        self._sender = Sender(self._servers, place.name, choices.getrandbits(64))
        self._outbox = Outbox[Notification](self._send, Random(choices.getrandbits(64)), late_s=1.0, repeats=0.2)
        self.markers = [f"{self._table}/markers%2F{number}.txt" for number in range(2 * PARTITIONS)]
        self._outbox.start()
        for act in first(choices):
            self._do(act)

    def settings(self) -> dict[str, Any]:
        """From the oldest notification on."""
        topic = {"topic": self._place.name, "properties.bootstrap.servers": self._servers}
        return {
            "source": {"kafka": {**topic, "scan.startup.mode": "earliest-offset"}},
            "format": {"s3": {**self._place.at_aws, "key": ["id"]}},
            "documents": {self._table: {"text": "{text}", "metadata": ["key", "etag", "version"]}},
        }

    def work(self, choices: Random) -> Work:
        """Some writers at once, and what tells of it."""
        every = first(Random(0))
        keys = [[act.key for act in every[writer::_WRITERS]] for writer in range(_WRITERS)]
        plans = [acts(Random(choices.getrandbits(64)), WRITING_S, False, mine, _PUT_S) for mine in keys]

        def run(until: float) -> int:
            changes: list[int] = []
            calls = [lambda plan=plan: changes.append(write(plan, until, self._do)) for plan in plans]
            together(calls)
            self._outbox.flush()
            return sum(changes)

        return run

    def _do(self, act: Act) -> int:
        """Put an object, delete it, or, instead of a change of its language, delete an old version for good."""
        key = f"docs/page {act.key}+ü.md" if act.key > _TABLES else f"tables/{act.key}.csv"
        if act.row is None and act.key > _TABLES:
            self._delete(key)
        elif act.row is not None and "lang" in act.row and not act.whole:
            return self._delete_version(key)
        else:
            row = act.row or {}
            # a file of rows keeps its rows: of those that leave it, a job that lost its state can't know
            text = f"# {row.get('title')}\n\n{row.get('body')}\n" if act.key > _TABLES else _rows(row)
            self._put(key, text)
        return 1

    def _put(self, key: str, text: str) -> None:
        asked = {"Bucket": self._bucket, "Key": key, "Body": text.encode()}
        answer = self._store.patiently(lambda: self._store.client.put_object(**asked))
        version = answer.get("VersionId")
        if version:
            self._versions.setdefault(key, []).append(version)
        self._tell(Notification(key, self._next(), False, version))

    def _delete(self, key: str) -> None:
        answer = self._store.patiently(lambda: self._store.client.delete_object(Bucket=self._bucket, Key=key))
        version = answer.get("VersionId")
        self._tell(Notification(key, self._next(), True, version, version is not None))

    def _delete_version(self, key: str) -> int:
        known = self._versions.get(key, [])
        if len(known) < 2:
            return 0
        version = known.pop(0)
        asked = {"Bucket": self._bucket, "Key": key, "VersionId": version}
        self._store.patiently(lambda: self._store.client.delete_object(**asked))
        self._tell(Notification(key, self._next(), True, version))
        return 1

    def _next(self) -> int:
        with self._lock:
            self._sequencer += 0x1001
            return self._sequencer

    def _tell(self, notification: Notification) -> None:
        self._outbox.add(notification)

    def _send(self, batch: list[Notification]) -> None:
        # EventBridge tells another pipeline's bus of the same, in its own shape
        shapes = (_classic, _on_the_bus)
        self._sender.send([(each.key, shapes[each.sequencer % 2](self._bucket, each)) for each in batch])

    def mark(self, text: str) -> None:
        """Objects that each partition tells of."""
        for number in range(2 * PARTITIONS):
            key = f"markers/{number}.txt"
            asked = {"Bucket": self._bucket, "Key": key, "Body": text.encode()}
            self._store.patiently(lambda asked=asked: self._store.client.put_object(**asked))  # type: ignore[misc]
            notification = Notification(key, self._next(), False, None)
            self._sender.put(key, _classic(self._bucket, notification), number % PARTITIONS)
        self._sender.flush()

    def behind(self, pipeline: Pipeline, waiting: Waiting) -> str:
        """By the group's offsets."""
        return committed(pipeline, self._place.group, [self._place.name], waiting)

    def plans(self, pipeline: Pipeline) -> dict[str, Plan]:
        """Of each object that a listing shows, loaded as the job loads it."""
        document, model = pipeline.documents[self._table], pipeline.embedding.model
        chunker, spec = document_chunker(model, document.chunk), document.spec(self._table)
        of_objects = document.object_spec(self._table, pipeline.embedding)
        looks = [ToLoad(self._bucket, each.key) for page in self._store.objects(self._bucket) for each in page]
        # kept, as it starts processes of its own
        self._loader = self._loader or loading(pipeline.format, pipeline.documents, pipeline.source.chosen)()
        changes = [change for found in self._loader.load(looks) for change in unfold(None, found, of_objects)[1]]
        stepped = [each for change in changes for each in step(None, change, spec, model, chunker)[1]]
        return {each.document_id: each for each in stepped if isinstance(each, Plan)}

    def events(self, document: str) -> Iterator[str]:
        """As the topic has them."""
        key = key_of(document)[0]
        for where, value in messages_in(self._servers, self._place.name):
            if quote_plus(key, safe="/") in value or json.dumps(key) in value:
                yield f"{where} {value}"

    def strike(self, strike: Strike, choices: Random) -> None:
        """AWS refuses; the topic grows; or files come that take long to parse, and go meanwhile or later."""
        if strike.fault is Fault.PARTITIONS:
            self._sender.partitions = grown(self._servers, [self._place.name], self._sender.partitions, choices)
            return
        if strike.fault is not Fault.SLOW_FILE:
            aws.strike(self._aws, "", strike, choices, merges=False)
            return
        keys = [f"slow/{choices.getrandbits(32):08x}.html" for _ in range(_SLOW_FILES)]
        for key in keys:
            self._put(key, _SLOW)
        time.sleep(strike.lasts_s)
        for key in keys:
            self._delete(key)

    def mend(self) -> None:
        """Nothing is left stopped."""

    def end(self) -> None:
        """Remove the topic; the bucket goes with its server."""
        if self._loader is not None:
            self._loader.close()
        admin = kafka_clients.admin({"bootstrap.servers": self._servers})
        for deleted in admin.delete_topics([self._place.name]).values():
            deleted.result()


def _rows(row: Any) -> str:
    """A file of three rows, of which one changes."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([("id", "text"), (1, "first"), (2, row.get("title") or row.get("body") or "none"), (3, "third")])
    return text.getvalue()


def _classic(bucket: str, notification: Notification) -> bytes:
    """As a bucket tells a topic, queue or function."""
    removal = "ObjectRemoved:DeleteMarkerCreated" if notification.marker else "ObjectRemoved:Delete"
    found = {
        "key": quote_plus(notification.key, safe="/"),
        "sequencer": f"{notification.sequencer:018X}",
        **({} if notification.version is None else {"versionId": notification.version}),
    }
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventTime": _now(),
        "eventName": removal if notification.gone else "ObjectCreated:Put",
        "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": bucket}, "object": found},
    }
    return json.dumps({"Records": [record]}).encode()


def _on_the_bus(bucket: str, notification: Notification) -> bytes:
    """As EventBridge tells it."""
    found = {
        "key": notification.key,
        "sequencer": f"{notification.sequencer:016x}",
        **({} if notification.version is None else {"version-id": notification.version}),
    }
    event = {
        "version": "0",
        "source": "aws.s3",
        "time": _now(),
        "detail-type": "Object Deleted" if notification.gone else "Object Created",
        "detail": {"version": "0", "bucket": {"name": bucket}, "object": found},
    }
    return json.dumps(event).encode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
