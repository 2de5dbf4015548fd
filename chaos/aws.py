"""The server that plays AWS in a chaos run: its process, and what is done to it."""

from __future__ import annotations

import os
import signal
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import httpx

from chaos.strikes import Fault, Strike
from connectors.aws.client import Aws
from stack import process
from stack.layout import Layout, free_ports, layout_of, prepare

REGION = "eu-central-1"

_READY_SECONDS = 60.0
_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "chaos", "AWS_SECRET_ACCESS_KEY": "chaos"}
_ROOT = Path(__file__).parents[1]


def service(layout: Layout) -> process.Service:
    """How the server is recognised and stopped."""
    mark = f"-Xfreshet={layout.of('chaos-aws')}"
    return process.Service("AWS", mark, layout.log("chaos-aws"), layout.pid("chaos-aws"), ((signal.SIGTERM, 5.0),))


@contextmanager
def served(folder: Path) -> Iterator[Aws]:
    """The server, for as long as it is needed: what it has is in memory alone. It takes any credentials."""
    layout, port = layout_of(folder), free_ports().aws
    prepare(layout)
    # clients of this process and of the job find no credentials but these
    os.environ.pop("AWS_PROFILE", None)
    os.environ.update(_CREDENTIALS)
    of, aws = service(layout), Aws(REGION, f"http://127.0.0.1:{port}")
    code = f"import sys; sys.path.insert(0, {str(_ROOT)!r}); from chaos.aws_server import main; main()"
    command = [sys.executable, of.mark, "-c", code, str(port)]
    try:
        process.ensure(of, partial(process.spawn, of, command), lambda: _answers(aws), _READY_SECONDS, lambda _: None)
        yield aws
    finally:
        process.stop(of)


def _answers(aws: Aws) -> bool:
    try:
        return httpx.get(f"{aws.endpoint}/moto-api/", timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def reshard(aws: Aws, stream: str, choice: int, merges: bool) -> str:
    """Split a shard of a stream, roll one over, or merge two where `merges`; what was done."""
    return str(_posted(aws, "reshard", {"stream": stream, "choice": choice, "merges": merges}))


def refuse(aws: Aws, share: float, seconds: float) -> None:
    """From now on that share of all calls fails, some of them after they were done."""
    _posted(aws, "refuse", {"share": share, "seconds": seconds})


def expire(aws: Aws) -> None:
    """No iterator given so far holds any longer."""
    _posted(aws, "expire", {})


def values(aws: Aws, stream: str) -> Iterator[tuple[str, int, str]]:
    """All that a stream of Kinesis ever took: shard, sequence number and data."""
    for shard, number, record in _posted(aws, "records", {"stream": stream}):
        yield shard, number, b64decode(record["Data"]).decode()


def changes(aws: Aws, table: str) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """All changes of a table that DynamoDB Streams has: shard, sequence number and record."""
    yield from _posted(aws, "records", {"stream": table})


def strike(aws: Aws, stream: str, strike: Strike, choices: Random, merges: bool) -> None:
    """Refuse calls, and let iterators expire; or reshard a stream several times."""
    if strike.fault is Fault.AWS_BUSY:
        refuse(aws, choices.uniform(0.2, 0.8), strike.lasts_s)
        expire(aws)
        time.sleep(strike.lasts_s)
    elif strike.fault is Fault.RESHARD:
        times = choices.randint(1, 4)
        for _ in range(times):
            reshard(aws, stream, choices.getrandbits(32), merges)
            time.sleep(strike.lasts_s / times)


def _posted(aws: Aws, action: str, given: dict[str, Any]) -> Any:
    # a frozen server answers when it goes on
    return httpx.post(f"{aws.endpoint}/chaos/{action}", json=given, timeout=60).raise_for_status().json()
