"""The stream of a staged store: made, followed to its end, read at places, and written to.

Sources of the rules: Kinesis Data Streams API reference, "CreateStream", "PutRecords" (at most 500 records and 10 MiB a
request, some of which may be refused, in no promised order) and "IncreaseStreamRetentionPeriod".
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from connectors import patience
from connectors.aws import calls
from connectors.aws.client import Aws
from connectors.aws.errors import NotFound
from connectors.kinesis.letters import USUAL_ROOM
from connectors.kinesis.staged.following import Follower
from connectors.kinesis.staged.records import LEDGER, data_of, noted, partition_key, read
from connectors.kinesis.streams import KinesisStream
from connectors.patience import ONCE_MORE, Answer, for_seconds
from connectors.staged.log import OfDocument, OfLedger, Sent
from core.config.staging import StagedStream
from core.errors import ConfigError, DecodeError, StoreGone, Throttled, Unavailable
from core.stores.batches import sized
from core.stores.staged import Place

SETTING = "store.kinesis"
PACE_S = 0.2
"""Between two questions to a shard, which answers five a second, whoever asks."""

_REQUEST = 500
_REQUEST_BYTES = 4 * 2**20
_SHOWN_S = 10.0
_MADE_S = 120.0
_USUAL_HOURS = 24
_HOUR_MS = 3_600_000
_READABLE_A_SHARD = 5


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class KinesisLog:
    """A stream of documents, in which its ledger is too: a `connectors.staged.log.Log`."""

    setting = SETTING

    def __init__(
        self, target: StagedStream, patience_s: float, pace_s: float = PACE_S, now_ms: Callable[[], int] = _now_ms
    ) -> None:
        """Connects to nothing. Raises ConfigError where no region is known."""
        self._target, self._patience_s, self._pace_s, self._now_ms = target, patience_s, pace_s, now_ms
        self.place = f"{SETTING}.stream: {target.stream}"
        self.largest_record = target.largest_record
        self.rest_s = 50 * pace_s
        self._retention_ms = 0
        self._stream = KinesisStream(target.stream, Aws(target.region, target.endpoint))
        self._client = self._stream.client
        self.close()

    @property
    def readable_at_once(self) -> int:
        """See `Log.readable_at_once`: each record is a question to its shard."""
        return _READABLE_A_SHARD

    def once(self, call: Callable[[], Answer]) -> Answer:
        """See `Log.once`."""
        return patience.patiently(call, ONCE_MORE, of="kinesis")

    def patiently(self, call: Callable[[], Answer]) -> Answer:
        """See `Log.patiently`."""
        return patience.patiently(call, for_seconds(self._patience_s), of="kinesis")

    def _asked(self, call: Callable[[], Answer]) -> Answer:
        """What `call` returns. Raises StoreGone where the stream isn't there, Unavailable, Throttled, ConfigError."""
        try:
            return calls.once(call, f"Kinesis stream {self._target.stream}")
        except NotFound as error:
            raise StoreGone(
                [
                    f"{SETTING}.stream: {error}: `freshet run pipeline.yaml --rebuild` makes it anew; or correct the "
                    "name, or its region"
                ]
            ) from error

    def _summary(self) -> Mapping[str, Any]:
        summary: Mapping[str, Any] = self._asked(
            lambda: self._client.describe_stream_summary(StreamName=self._target.stream)
        )["StreamDescriptionSummary"]
        return summary

    def look(self) -> bool:
        """See `Log.look`."""
        try:
            summary = self._summary()
        except StoreGone:
            return False
        room = int(summary.get("MaxRecordSizeInKiB", USUAL_ROOM // 1024)) * 1024
        if room < self.largest_record:
            raise ConfigError(
                [
                    f"{SETTING}.largest_record is {self.largest_record}, and {self._target.stream} takes records of "
                    f"{room}: set either"
                ]
            )
        return summary["StreamStatus"] in ("ACTIVE", "UPDATING")

    def make(self) -> None:
        """See `Log.make`: it takes records then."""
        if not self.look():
            self._make()

    def _make(self) -> None:
        stream, shards = self._target.stream, self._target.shards
        mode: dict[str, Any] = {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}
        if shards is not None:
            mode = {"ShardCount": shards}
        made = self._asked(partial(self._create, {"StreamName": stream, **mode}))
        deadline = time.monotonic() + _MADE_S
        while not self.look():
            if time.monotonic() > deadline:
                raise Unavailable(f"{self.place} isn't made within {_MADE_S:.0f} s")
            time.sleep(max(self._pace_s, 0.05))
        if made and self._target.retention_hours > _USUAL_HOURS:
            hours = self._target.retention_hours
            longer = self._client.increase_stream_retention_period
            self._asked(lambda: longer(StreamName=stream, RetentionPeriodHours=hours))

    def _create(self, asked: Mapping[str, Any]) -> bool:
        """Whether it wasn't made by another one a moment ago."""
        try:
            self._client.create_stream(**asked)
        except self._client.exceptions.ResourceInUseException:
            return False
        return True

    def new(self) -> Iterator[OfDocument | OfLedger]:
        """See `Log.new`. Raises Unavailable also where the stream doesn't show in time what it has taken."""
        if not self._retention_ms:
            self._retention_ms = int(self._summary()["RetentionPeriodHours"]) * _HOUR_MS
        try:
            for place, record in self._follower.new(self._taken, self._patience_s + _SHOWN_S):
                try:
                    found = read(record, place)
                except DecodeError:
                    continue  # not ours: whoever wrote it
                if isinstance(found, OfLedger):
                    self._noted_ms[found.key] = record.arrived_ms
                yield found
        except ConfigError:
            self._summary()  # says so where the stream is gone
            raise
        self._taken.clear()

    def keeps(self, place: Place) -> bool:
        """See `Log.keeps`: for the stream's retention, as it was when reading began."""
        return self._follower.arrived_ms(place) > self._now_ms() - self._retention_ms

    def fading(self) -> Sequence[bytes]:
        """See `Log.fading`: what was noted before a quarter of the retention."""
        before_ms = self._now_ms() - self._retention_ms // 4
        return [key for key, noted_ms in self._noted_ms.items() if noted_ms < before_ms]

    def at(self, places: Sequence[Place]) -> dict[Place, bytes]:
        """See `Log.at`: one question gives several that stand side by side."""
        wanted = set(places)
        found: dict[Place, bytes] = {}
        for place in sorted(places):
            if place not in found:
                found |= {each: data for each, data in self._follower.at(place, len(places)) if each in wanted}
        return found

    def all(self) -> Iterator[tuple[Place, bytes | None]]:
        """See `Log.all`."""
        for place, record in Follower(self._stream, self._pace_s).new():
            yield place, record.value

    def append(self, document_id: str, sent: Sequence[Sent]) -> None:
        """See `Log.append`."""
        self._queue.setdefault(partition_key(document_id), deque()).extend(map(data_of, sent))

    def note(self, key: bytes, value: bytes | None) -> None:
        """See `Log.note`."""
        self._queue.setdefault(LEDGER, deque()).append(noted(key, value))

    def flush(self) -> None:
        """See `Log.flush`: a request has each key once, and the next one waits until all of its records are taken."""
        try:
            while self._queue:
                heads = ((key, queue[0]) for key, queue in islice(self._queue.items(), _REQUEST))
                self._put(next(sized(heads, lambda pair: len(pair[0].encode()) + len(pair[1]), _REQUEST_BYTES)))
        finally:
            self._queue.clear()

    def _put(self, pairs: Sequence[tuple[str, bytes]]) -> None:
        left = [{"PartitionKey": key, "Data": data} for key, data in pairs]

        def attempt() -> None:
            nonlocal left
            answer = self._asked(lambda: self._client.put_records(StreamName=self._target.stream, Records=left))
            refused = []
            for each, result in zip(left, answer["Records"], strict=True):
                if result.get("ErrorCode"):
                    refused.append(each)
                else:
                    shard, number = result["ShardId"], int(result["SequenceNumber"])
                    self._taken[shard] = max(number, self._taken.get(shard, 0))
                    self._passed(str(each["PartitionKey"]))
            left = refused
            if left:
                why = next(filter(None, (result.get("ErrorCode") for result in answer["Records"])))
                raise Throttled(f"{self.place} refuses records: {why}")

        patience.patiently(
            attempt, for_seconds(self._patience_s), lambda each: isinstance(each, Throttled), of="kinesis"
        )

    def _passed(self, key: str) -> None:
        queue = self._queue[key]
        queue.popleft()
        if not queue:
            del self._queue[key]

    def close(self) -> None:
        """See `Log.close`. What was read is forgotten."""
        self._follower = Follower(self._stream, self._pace_s)
        self._queue: dict[str, deque[bytes]] = {}
        self._taken: dict[str, int] = {}
        self._noted_ms: dict[bytes, int] = {}
        self._retention_ms = 0
