"""A bucket's history, its notifications shuffled and repeated: what is in it at the end stands in the documents."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from connectors.aws.client import Aws
from connectors.s3.listing import listing
from connectors.s3.objects import S3
from core.change import Event, Operation
from core.documents.objects import GateState, ObjectChange, gate
from core.documents.unfolding import ObjectSpec, ObjectState, unfold
from core.formats.s3 import decode, notification
from tests.aws import moto_server
from udfs.parsing.files import Options
from udfs.parsing.loading import Loader

SPEC = ObjectSpec("s3.docs", frozenset({"text", "name"}))


@pytest.fixture(scope="module")
def server() -> Iterator[Aws]:
    with moto_server() as aws:
        yield aws


class Pipeline:
    """The steps as a job has them, over states and documents in memory."""

    def __init__(self, store: S3) -> None:
        self.loader = Loader({"": store.fetch}, lambda bucket, key: Options(("name",)))
        self.gates: dict[str, GateState] = {}
        self.states: dict[str, ObjectState] = {}
        self.documents: dict[tuple[str, ...], tuple[str, Any]] = {}
        self.loads = 0

    def take(self, notifications: list[bytes]) -> None:
        """A batch."""
        batch = []
        for message in notifications:
            for change in decode(Event("t", 0, 0, None, message)):
                assert isinstance(change, ObjectChange)
                self.gates[change.key], to_load = gate(self.gates.get(change.key), change)
                batch += [to_load] if to_load else []
        self.loads += len(batch)
        for loaded in self.loader.load(batch):
            self.states[loaded.key], changes = unfold(self.states.get(loaded.key), loaded, SPEC)
            for each in changes:
                identity = tuple(each.key.values())
                assert each.position > self.documents.get(identity, ("", None))[0]
                text = None if each.operation is Operation.DELETE else (each.row.get("text"), each.row.get("version"))
                self.documents[identity] = (each.position, text)

    def standing(self) -> dict[tuple[str, ...], Any]:
        return {identity: text for identity, (_, text) in self.documents.items() if text is not None}


def happen(store: S3, bucket: str, source: random.Random, steps: int) -> Iterator[bytes]:
    """What people do to a bucket; each time S3's notification of it, with a sequencer that says when."""
    for step in range(steps):
        key = source.choice(["a.txt", "b.csv", "c+d é.txt"])
        versions = store.client.list_object_versions(Bucket=bucket, Prefix=key)
        old = [each["VersionId"] for each in (*versions.get("Versions", ()), *versions.get("DeleteMarkers", ()))]
        kind = source.choice(["put", "put", "delete", "remove a version"])
        if kind == "put":
            names = source.sample("uvwxyz", 3)
            body = "name,text\n" + "".join(f"{name},{source.random()}\n" for name in names)
            store.client.put_object(Bucket=bucket, Key=key, Body=body.encode())
        elif kind == "delete":
            store.client.delete_object(Bucket=bucket, Key=key)
        elif old:
            store.client.delete_object(Bucket=bucket, Key=key, VersionId=source.choice(old))
        sequencer = f'"sequencer":"0061{step:012X}",'.encode()
        yield notification(bucket, key, gone=kind != "put").replace(b'"object":{', b'"object":{' + sequencer)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("versioned", [False, True])
def test_shuffled_and_repeated_notifications_end_right(server: Aws, seed: int, versioned: bool) -> None:
    source = random.Random(seed)
    store, bucket = S3("source.s3", server), f"docs-{uuid4().hex[:12]}"
    store.client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": server.region})
    if versioned:
        store.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    pipeline, waiting = Pipeline(store), list[bytes]()
    for message in happen(store, bucket, source, 40):
        waiting += [message] * source.choice([1, 1, 2])
        if source.random() < 0.2:
            source.shuffle(waiting)
            held = source.randint(0, len(waiting))
            pipeline.take(waiting[held:])
            waiting = waiting[:held]
        if source.random() < 0.1:
            pipeline.take([notification(bucket, found.key, found.size, found.etag) for found in listing(store, bucket)])
    source.shuffle(waiting)
    pipeline.take(waiting)
    fresh = Pipeline(store)
    fresh.take([notification(bucket, found.key) for found in listing(store, bucket)])
    assert pipeline.standing() == fresh.standing()
    pipeline.loader.close()
    fresh.loader.close()
