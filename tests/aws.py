"""moto's server for tests, and clients of it with credentials that are none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3

from connectors.aws.client import Aws
from stack import aws as stack_aws
from stack import layout, process

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


def notified_queue(aws: Aws, bucket: str) -> str:
    """A new bucket, and the URL of a new queue that it sends its notifications to."""
    s3, sqs = (boto3.client(each, region_name=aws.region, endpoint_url=aws.endpoint) for each in ("s3", "sqs"))
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": aws.region})
    url = str(sqs.create_queue(QueueName=f"{bucket}-changes")["QueueUrl"])
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [events]})
    return url
