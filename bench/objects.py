"""Objects a second through a backfill: listed in a bucket, written to the topic, loaded, chunked, hashed and stored.

`python -m bench.objects [OBJECTS]`, on the local stack of this folder with moto beside it. The job runs and has loaded
a hundred objects; the clock goes from the start of `freshet backfill` to the last object's rows.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

from bench.rig import Rig, ledger, rig, running, until
from connectors.aws.client import Aws, client
from connectors.kafka.producer import ensure_topics
from core.config.pipeline import Pipeline
from operations.backfill.loading import backfill
from operations.backfill.progress import Options
from operations.reporting import unheard, unseen
from stack import local as stack
from workloads.texts import texts

BUCKET = "bench-objects"
_REGION = "eu-central-1"
_WARM = 100
_MARKS = 10


def _pipeline(rig: Rig, endpoint: str) -> Pipeline:
    topic = f"{rig.prefix}-objects"
    kafka = {"topic": topic, "properties.bootstrap.servers": rig.stack.kafka.bootstrap_servers}
    ensure_topics(rig.stack.kafka.bootstrap_servers, {topic: 2})
    return Pipeline.model_validate(
        {
            "name": topic,
            "source": {"kafka": {**kafka, "scan.startup.mode": "earliest-offset"}},
            "format": {"s3": {"aws.region": _REGION, "aws.endpoint": endpoint}},
            "documents": {f"s3.{BUCKET}": {"text": "{text}", "metadata": ["key", "etag"], "chunk": {"headings": True}}},
            "embedding": {"model": "hash"},
            "store": {"pgvector": {"dsn": rig.dsn, "table": "objects"}},
            "dead_letters": {"kafka": {"topic": f"{topic}.dead-letters"}},
            "parallelism": 2,
        }
    )


def _put(endpoint: str, objects: int) -> None:
    s3, sections = client("s3", Aws(_REGION, endpoint), "endpoint"), texts()
    if BUCKET not in [each["Name"] for each in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": _REGION})

    def put(number: int) -> None:
        section = sections[number % len(sections)]
        text = f"# {section.title} {number}\n\n{section.paragraphs[number % len(section.paragraphs)]}"
        folder = "warm" if number < _WARM else "docs"
        s3.put_object(Bucket=BUCKET, Key=f"{folder}/{number:06d}.md", Body=text.encode())

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(put, range(objects + _WARM)))


def _memory() -> str:
    """MiB that the job's processes hold: the JVM, and the workers with what they parse in."""
    held = {True: 0, False: 0}
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            held[child.name() == "java"] += child.memory_info().rss
    return f"{held[True] // 2**20}+{held[False] // 2**20}"


def measure(rig: Rig, endpoint: str, objects: int) -> None:
    """Prints the rate, and what the job held at every tenth of the way."""
    _put(endpoint, objects)
    pipeline = _pipeline(rig, endpoint)
    count = sql.SQL("SELECT count(*) FROM {}").format(ledger(pipeline))
    with psycopg.connect(rig.dsn, autocommit=True) as connection, running(pipeline) as job:

        def stored(wanted: int) -> bool:
            found: tuple[Any, ...] = connection.execute(count).fetchall()[0]
            return int(found[0]) >= wanted

        backfill(pipeline, [f"s3://{BUCKET}/warm/"], Options(restart=True), unheard, unseen)
        until(partial(stored, _WARM), job, "the first objects", every=0.2)
        before, started, held = _memory(), time.perf_counter(), []
        backfill(pipeline, [f"s3://{BUCKET}/docs/"], Options(restart=True), unheard, unseen)
        written = time.perf_counter() - started
        for mark in range(1, _MARKS + 1):
            wanted = _WARM + objects * mark // _MARKS
            until(partial(stored, wanted), job, f"object {wanted:,}", every=0.2)
            held.append(_memory())
        seconds = time.perf_counter() - started
    print(
        f"{objects:,} objects in {seconds:.1f} s, {objects / seconds:,.0f} objects/s; "
        f"all in the topic after {written:.1f} s\n"
        f"memory of the job, JVM and workers, MiB: {before} before, then {', '.join(held)}"
    )


def main(objects: int = 10_000) -> None:
    """Starts the stack and measures in a folder of its own, which is forgotten."""
    os.environ.update(AWS_ACCESS_KEY_ID="any", AWS_SECRET_ACCESS_KEY="any")
    started = stack.up(Path(), extra=[stack.Extra.AWS])
    assert started.aws is not None
    with rig(started) as bench, tempfile.TemporaryDirectory() as folder, chdir(folder):
        measure(bench, started.aws.endpoint, objects)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
