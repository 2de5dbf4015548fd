"""Events that a server writes to a Kinesis stream, each once it is taken.

Source of the rules: Kinesis Data Streams API reference, "PutRecord": what was taken has a sequence number, and a later
record of the same partition key has a greater one where it is sent after the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from connectors.aws.calls import once
from connectors.aws.client import Aws, client
from connectors.aws.errors import NotFound
from connectors.kinesis.letters import USUAL_ROOM
from core.errors import ConfigError


class ToStream:
    """Writes to one stream. For one thread."""

    def __init__(self, stream: str, aws: Aws, setting: str) -> None:
        """`setting` names it in errors. Raises ConfigError where it isn't there, Unavailable where nobody answers."""
        self._stream, self._what = stream, f"Kinesis stream {stream}"
        self._client = client("kinesis", aws, setting)
        try:
            once(lambda: self._client.describe_stream_summary(StreamName=stream), self._what)
        except NotFound as error:
            raise ConfigError([f"{error}: make it first, or name another"]) from None

    @property
    def room(self) -> int:
        """Bytes that an event may have, its key included."""
        return USUAL_ROOM

    def write(self, events: Sequence[tuple[bytes, bytes]]) -> None:
        """Write (key, value) pairs, one after the other. Raises Unavailable, Throttled or ConfigError.

        Those before the one that fails are written.
        """
        for key, value in events:
            put = partial(self._client.put_record, StreamName=self._stream, PartitionKey=key.decode()[:256], Data=value)
            once(put, self._what)
