"""moto's server for tests, and clients of it with credentials that are none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.stack import aws as stack_aws
from cli.stack import layout, process
from connectors.aws import Aws

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "eu-central-1"}


@contextmanager
def moto_server(directory: Path) -> Iterator[Aws]:
    """A server of its own, stopped at the end; meanwhile boto3's chain finds credentials."""
    of, port = layout.layout_of(directory), layout.free_ports().aws
    layout.prepare(of)
    before = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)
    try:
        stack_aws.start(of, port, lambda line: None)
        yield Aws(CREDENTIALS["AWS_REGION"], stack_aws.endpoint(port))
    finally:
        process.stop(stack_aws.service(of))
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
