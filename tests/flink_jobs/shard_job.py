"""A job that reads a stream and prints what comes, as JSON lines; run by the tests, in a process of its own.

First it prints, for some parallelisms, the subtasks that Flink itself gives the slots' keys to.

Arguments: the kind of stream, its name, its endpoint, how many rows to print, a folder, and of which number the row is
whose first coming makes the job fail (0: none).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from pyflink.common import Row, Types
from pyflink.datastream import RuntimeContext
from pyflink.datastream.functions import ProcessFunction
from pyflink.java_gateway import get_gateway
from pyflink.table import StreamTableEnvironment

from connectors.aws.client import Aws
from connectors.shards.streams import Source
from core.shards.slots import slot_keys
from flink_jobs.engine.environment import MAX_PARALLELISM, local_environment
from flink_jobs.sources.shards import shard_source

PARALLELISM = 2


class Look(ProcessFunction):
    """Each event as JSON with its time, the watermark and a name of the subtask in this run; fails once on the way."""

    def __init__(self, folder: str, fails_at: int) -> None:
        self._folder = folder
        self._fails_at = fails_at
        self._seen = 0

    def open(self, runtime_context: RuntimeContext) -> None:
        self._subtask = uuid4().hex

    def process_element(self, value: Row, ctx: ProcessFunction.Context) -> Iterator[Any]:
        self._seen += 1
        marker = Path(self._folder) / "failed"
        if self._seen == self._fails_at and not marker.exists():
            marker.touch()
            raise RuntimeError("as the test wants it")
        key, body, topic, partition, offset, headers = value
        yield json.dumps(
            {
                "key": key.decode(),
                "value": body.decode(),
                "topic": topic,
                "partition": partition,
                "offset": offset,
                "headers": {name: text.decode() for name, text in headers.items()},
                "time": ctx.timestamp(),
                "watermark": ctx.timer_service().current_watermark(),
                "subtask": self._subtask,
            }
        )


def main(kind: Any, name: str, endpoint: str, rows: str, folder: str, fails_at: str) -> None:
    environment = local_environment(
        {
            "parallelism.default": str(PARALLELISM),
            "pipeline.max-parallelism": str(MAX_PARALLELISM),
            "python.execution-mode": "thread",
            "python.executable": sys.executable,
            "python.client.executable": sys.executable,
            "execution.checkpointing.interval": "500 ms",
            "execution.checkpointing.dir": Path(folder).as_uri(),
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.delay": "100 ms",
            "restart-strategy.fixed-delay.attempts": "3",
            "table.exec.source.idle-timeout": "10 s",
            "taskmanager.numberOfTaskSlots": str(PARALLELISM),
            "rest.port": "0",
            "rest.bind-port": "0",
        }
    )
    assignment = get_gateway().jvm.org.apache.flink.runtime.state.KeyGroupRangeAssignment
    for parallelism in (1, 2, 3, 7, 128):
        keys = slot_keys(parallelism, MAX_PARALLELISM)
        there = [assignment.assignKeyToParallelOperator(key, MAX_PARALLELISM, parallelism) for key in keys]
        print(json.dumps({"subtasks": there}), flush=True)
    tables = StreamTableEnvironment.create(environment)
    source = Source(kind, name, Aws("eu-central-1", endpoint), "TRIM_HORIZON")
    read = shard_source(tables, [source], PARALLELISM, MAX_PARALLELISM)
    lost = read.lost.map(lambda row: json.dumps({"lost": row[4]}), Types.STRING())
    seen = read.events.process(Look(folder, int(fails_at)), Types.STRING()).union(lost)
    with seen.execute_and_collect("shards") as found:
        for number, row in enumerate(found, 1):
            print(row, flush=True)
            if number == int(rows):
                break


if __name__ == "__main__":
    main(*sys.argv[1:])
