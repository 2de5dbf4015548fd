"""Records a second through the shard source: from a server as fast as it is asked, to a sink that drops them all.

`python -m bench.shard_reader [SHARDS] [SECONDS]`. The server speaks as much of Kinesis as the reader asks; it is a
process of its own on the same cores. Every answer has 5000 records of 300 bytes, and a shard bears five reads a second.
"""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
from pyflink.table import StreamTableEnvironment

from connectors.aws.client import Aws
from connectors.shards.streams import Source
from flink_jobs.engine.environment import MAX_PARALLELISM, local_environment
from flink_jobs.running.jobs import Job, submit
from flink_jobs.sources.shards import shard_source
from stack.layout import free_port

_PAGE = 5000
_WARM_SECONDS = 5.0


def serve(shards: int, tell: Connection) -> None:
    """Listens until it is terminated; tells its port."""
    value = base64.b64encode(b"x" * 300).decode()
    listed = [
        {
            "ShardId": f"shardId-{n:012d}",
            "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "1"},
            "SequenceNumberRange": {"StartingSequenceNumber": "0"},
        }
        for n in range(shards)
    ]
    summary = {
        "StreamName": "s", "StreamARN": "arn:aws:kinesis:eu-central-1:1:stream/s", "StreamStatus": "ACTIVE",
        "RetentionPeriodHours": 24, "StreamCreationTimestamp": 0, "EnhancedMonitoring": [], "OpenShardCount": shards,
    }  # fmt: skip

    def page(number: int) -> bytes:
        now = time.time()
        records = [
            {
                "Data": value,
                "PartitionKey": f"k{n}",
                "SequenceNumber": f"{10**50 + number * _PAGE + n}",
                "ApproximateArrivalTimestamp": now,
            }
            for n in range(_PAGE)
        ]
        answer = {"Records": records, "NextShardIterator": f"{number + 1}", "MillisBehindLatest": 1000}
        return json.dumps(answer).encode()

    # made before: the server must not be what is measured
    pages = [page(number) for number in range(40)]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = self.headers["X-Amz-Target"].rpartition(".")[2]
            if name == "GetRecords":
                body = pages[int(asked["ShardIterator"]) % len(pages)]
            else:
                answers: dict[str, Any] = {
                    "ListShards": {"Shards": listed},
                    "DescribeStreamSummary": {"StreamDescriptionSummary": summary},
                    "GetShardIterator": {"ShardIterator": "0"},
                }
                body = json.dumps(answers[name]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    tell.send(server.server_address[1])
    server.serve_forever()


@dataclass(frozen=True, slots=True)
class Rate:
    """Records by the clock, and by what the job took of the processors; what the server took is not counted."""

    per_second: float
    per_cpu_second: float


def rate(port: int, seconds: float, parallelism: int) -> Rate:
    """Of a job that has run for some seconds, over so many more."""
    with tempfile.TemporaryDirectory() as folder:
        rest = free_port()
        options = {
            "parallelism.default": str(parallelism),
            "pipeline.max-parallelism": str(MAX_PARALLELISM),
            "python.execution-mode": "thread",
            "python.executable": sys.executable,
            "python.client.executable": sys.executable,
            "execution.checkpointing.interval": "5 s",
            "execution.checkpointing.dir": Path(folder).as_uri(),
            "metrics.fetcher.update-interval": "500",
            "taskmanager.numberOfTaskSlots": str(parallelism),
            "rest.address": "127.0.0.1",
            "rest.bind-address": "127.0.0.1",
            "rest.port": str(rest),
            "rest.bind-port": str(rest),
        }
        environment = local_environment(options)
        tables = StreamTableEnvironment.create(environment)
        source = Source("kinesis", "s", Aws("eu-central-1", f"http://127.0.0.1:{port}"), "TRIM_HORIZON")
        read = shard_source(tables, [source], parallelism, MAX_PARALLELISM)
        tables.create_temporary_view("read", tables.from_data_stream(read.events))
        tables.execute_sql("CREATE TEMPORARY TABLE nothing (`value` BYTES) WITH ('connector' = 'blackhole')")
        statements = tables.create_statement_set()
        statements.add_insert_sql("INSERT INTO nothing SELECT `value` FROM `read`")
        statements.attach_as_datastream()
        job = submit(environment, "shards", f"http://127.0.0.1:{rest}")
        try:
            while not job.progress().counts.get("records"):
                time.sleep(0.2)
            time.sleep(_WARM_SECONDS)
            before = _mark(job)
            time.sleep(seconds)
            after = _mark(job)
            records = after.records - before.records
            return Rate(records / (after.clock - before.clock), records / (after.cpu - before.cpu))
        finally:
            job.client.cancel().result()


@dataclass(frozen=True, slots=True)
class _Mark:
    records: int
    clock: float
    cpu: float


def _mark(job: Job) -> _Mark:
    """When the count moves: on a busy machine it stands still for seconds before it is reported anew."""
    first = job.progress().counts["records"]
    while (now := job.progress().counts.get("records", first)) == first:
        time.sleep(0.1)
    jvms = [child for child in psutil.Process().children(recursive=True) if child.name() == "java"]
    times = [jvm.cpu_times() for jvm in jvms]
    return _Mark(now, time.monotonic(), sum(each.user + each.system for each in times))


def main(shards: int = 4, seconds: float = 20) -> None:
    os.environ.update(AWS_ACCESS_KEY_ID="any", AWS_SECRET_ACCESS_KEY="any")
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(shards, there), daemon=True)
    server.start()
    try:
        port = here.recv()
        for parallelism in (1, 2):
            found = rate(port, seconds, parallelism)
            print(
                f"parallelism {parallelism}, {shards} shards: {found.per_second:,.0f} records/s, "
                f"{found.per_cpu_second:,.0f} for each second of a processor"
            )
    finally:
        server.terminate()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
