"""moto's server for tests, and clients of it with credentials that are none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import httpx

from connectors.aws.client import Aws
from stack import aws as stack_aws
from stack import layout, process

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "eu-central-1"}


@dataclass(frozen=True)
class _Server:
    folder: Path
    endpoint: str

    def empty(self) -> None:
        """Have it forget all that it has been sent, and let in whoever asks."""
        for what, text in (("reset", ""), ("reset-auth", "inf")):
            httpx.post(f"{self.endpoint}/moto-api/{what}", content=text, timeout=30).raise_for_status()


_free: list[_Server] = []
_all: list[_Server] = []


@contextmanager
def moto_server() -> Iterator[Aws]:
    """A server that nobody else uses meanwhile, without anything in it; boto3's chain finds credentials.

    Started where no other one of this process is free, as each takes seconds; `end_all` stops them.
    """
    before = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)
    server = _free.pop() if _free else _started()
    try:
        yield Aws(CREDENTIALS["AWS_REGION"], server.endpoint)
        server.empty()  # one that a test has broken is not given to another
        _free.append(server)
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def end_all() -> None:
    """Leave no server behind."""
    _free.clear()
    while _all:
        folder = _all.pop().folder
        process.stop(stack_aws.service(layout.layout_of(folder)))
        shutil.rmtree(folder)


def _started() -> _Server:
    folder, port = Path(tempfile.mkdtemp(prefix="moto-")), layout.free_ports().aws
    of, server = layout.layout_of(folder), _Server(folder, stack_aws.endpoint(port))
    _all.append(server)
    layout.prepare(of)
    stack_aws.start(of, port, lambda line: None)
    return server


def notified_queue(aws: Aws, bucket: str) -> str:
    """A new bucket, and the URL of a new queue that it sends its notifications to."""
    s3, sqs = (boto3.client(each, region_name=aws.region, endpoint_url=aws.endpoint) for each in ("s3", "sqs"))
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": aws.region})
    url = str(sqs.create_queue(QueueName=f"{bucket}-changes")["QueueUrl"])
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [events]})
    return url
