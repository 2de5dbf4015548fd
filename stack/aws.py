"""AWS's services as moto plays them: S3, SQS, Kinesis, DynamoDB with its streams and more, in one server.

It keeps everything in memory: what it has is gone when it stops. It takes any credentials, and any region.
"""

import signal
import sys
from functools import partial
from pathlib import Path

import httpx

from stack import process
from stack.layout import Layout

_READY_SECONDS = 60.0


def service(layout: Layout) -> process.Service:
    """How the server is recognised and stopped."""
    # an option of Python's that it ignores, for there is none of the server's that could name the stack
    mark = f"-Xfreshet={layout.of('aws')}"
    return process.Service("AWS", mark, layout.log("aws"), layout.pid("aws"), ((signal.SIGTERM, 10.0),))


def endpoint(port: int) -> str:
    """The address for clients of every service."""
    return f"http://127.0.0.1:{port}"


def is_ready(port: int) -> bool:
    """Whether the server answers."""
    try:
        return httpx.get(f"{endpoint(port)}/moto-api/", timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def is_there(layout: Layout) -> bool:
    """Whether the stack has it: whether it was started once."""
    return layout.of("aws").exists()


def start(layout: Layout, port: int, report: process.Report) -> None:
    """Starts the server where it doesn't run, empty, and waits until it answers.

    Raises Unavailable where it doesn't come up.
    """
    layout.of("aws").mkdir(exist_ok=True)
    of = service(layout)
    command = [sys.executable, of.mark, "-P", str(Path(__file__).with_name("aws_server.py")), "127.0.0.1", str(port)]
    process.ensure(of, partial(process.spawn, of, command), partial(is_ready, port), _READY_SECONDS, report)
