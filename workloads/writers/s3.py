"""Objects into a bucket, and out of it, by several threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import botocore.exceptions as failures

from connectors.aws.client import Aws
from connectors.s3.objects import S3
from core.errors import ConfigError, brief
from core.formats.s3 import notification
from workloads.feeds import waves

THREADS = 8
_AT_ONCE = 1_000
_MARKDOWN = "text/markdown; charset=utf-8"


class BucketWriter:
    """Writes Markdown files to one bucket. Connects when first asked."""

    def __init__(self, bucket: str, aws: Aws) -> None:
        """Raises ConfigError where no region is known."""
        self._bucket = bucket
        self._store = S3("--bucket", aws)

    def ensure(self) -> None:
        """Make the bucket where it is missing. Raises Unavailable, or ConfigError where that is refused."""
        client = self._store.client
        try:
            self._store.patiently(lambda: client.head_bucket(Bucket=self._bucket))
        except failures.ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
                raise self._refused("HeadBucket", error) from error
            # that region alone can't be said
            region = client.meta.region_name
            place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
            self._asked("CreateBucket", lambda: client.create_bucket(Bucket=self._bucket, **place))

    def write(self, objects: Iterable[tuple[str, bytes | None]]) -> Iterator[tuple[str, bytes]]:
        """Put (key, content) pairs, or delete the object where the content is None; those of one key in order.

        Yields key and notification of each, after it was done. Raises Unavailable or ConfigError.
        """
        with ThreadPoolExecutor(THREADS, thread_name_prefix="put") as pool:
            for wave in waves(objects, _AT_ONCE):
                yield from zip(wave, pool.map(self._write, wave.keys(), wave.values()), strict=True)

    def _write(self, key: str, content: bytes | None) -> bytes:
        client, which = self._store.client, {"Bucket": self._bucket, "Key": key}
        if content is None:
            self._asked("DeleteObject", lambda: client.delete_object(**which))
            return notification(self._bucket, key, gone=True)
        answer = self._asked("PutObject", lambda: client.put_object(**which, Body=content, ContentType=_MARKDOWN))
        return notification(self._bucket, key, len(content), answer["ETag"].strip('"'), answer.get("VersionId"))

    def _asked(self, action: str, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            return self._store.patiently(call)
        except (failures.ClientError, failures.ParamValidationError) as error:
            raise self._refused(action, error) from error

    def _refused(self, action: str, error: Exception) -> ConfigError:
        return ConfigError([f"bucket {self._bucket!r} refuses s3:{action}: {brief(error, 200)}"])
