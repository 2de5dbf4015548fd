"""Records into a Kinesis stream, those of one key in their order.

Sources of the rules: Kinesis Data Streams API reference, "PutRecords": at most 500 records and 5 MiB a request, keys
included; a request may be taken in part, and what it takes has no promised order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from connectors.aws.calls import patiently
from connectors.aws.client import Aws, client
from connectors.aws.errors import NotFound
from core.errors import Throttled, Unavailable
from core.stores.batches import sized
from workloads.feeds import waves

RECORDS = 500
REQUEST_BYTES = 5 * 2**20


class KinesisWriter:
    """Writes to one stream. Connects when first asked."""

    def __init__(self, stream: str, aws: Aws) -> None:
        """Raises ConfigError where no region is known."""
        self._stream = stream
        self._what = f"Kinesis stream {stream}"
        self._client = client("kinesis", aws, "--stream")

    def ensure(self, shards: int) -> None:
        """Make the stream with so many shards where it is missing, and wait until it takes records.

        Raises Unavailable, or ConfigError where that is refused.
        """
        try:
            self._status()
        except NotFound:
            patiently(lambda: self._client.create_stream(StreamName=self._stream, ShardCount=shards), self._what)
        patiently(self._active, self._what)

    def _status(self) -> str:
        answer = patiently(lambda: self._client.describe_stream_summary(StreamName=self._stream), self._what)
        return str(answer["StreamDescriptionSummary"]["StreamStatus"])

    def _active(self) -> None:
        if (status := self._status()) not in ("ACTIVE", "UPDATING"):
            raise Unavailable(f"{self._what} is {status}")

    def put(self, records: Iterable[tuple[str, bytes]]) -> None:
        """Write (partition key, data) pairs; returns once the stream has taken all.

        A request has each key once and follows the one before it, so that records refused and sent again stay in
        the order of their key. A record may come twice, after a request without an answer.
        Raises Unavailable, Throttled or ConfigError.
        """
        for wave in waves(records, RECORDS):
            for request in _requests(wave):
                self._put(request)

    def _put(self, entries: list[dict[str, Any]]) -> None:
        left = entries

        def attempt() -> None:
            nonlocal left
            answer = self._client.put_records(StreamName=self._stream, Records=left)
            codes = [result.get("ErrorCode") for result in answer["Records"]]
            left = [entry for entry, refused in zip(left, codes, strict=True) if refused]
            if left:
                raise Throttled(f"{self._what} refuses records: {next(filter(None, codes))}")

        patiently(attempt, self._what)


def _requests(wave: Mapping[str, bytes]) -> Iterator[list[dict[str, Any]]]:
    for some in sized(wave.items(), lambda pair: len(pair[0].encode()) + len(pair[1]), REQUEST_BYTES):
        yield [{"PartitionKey": key, "Data": data} for key, data in some]
