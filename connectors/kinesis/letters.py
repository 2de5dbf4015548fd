"""Dead letters in a Kinesis stream, a record each.

Sources of the rules: Kinesis Data Streams API reference, "PutRecord", "DescribeStreamSummary" (MaxRecordSizeInKiB) and
"GetRecords" (MillisBehindLatest); developer guide, "Handle large records": 1 MiB a record, up to 10 where the stream is
set so, the partition key included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Any

from connectors import patience
from connectors.aws.calls import PATIENCE_S, once, patiently
from connectors.aws.client import Aws, client
from connectors.aws.errors import NotFound
from connectors.aws.letters import packed, unpacked
from connectors.kinesis.streams import KinesisStream
from connectors.patience import Answer
from core.errors import ConfigError
from core.letters import NOWHERE, Letter, Message
from core.shards.log import ExpiredIterator, NoSuchShard, Record, Start, Trimmed

USUAL_ROOM = 1024 * 1024
"""Bytes of a record, its partition key included, where a stream doesn't say."""

_KEY = 32
_AT_ONCE = 1_000
_PLACE = re.compile(r"(\d{1,12}):(\d{1,128})")
_SHARD = "shardId-"


@dataclass(frozen=True, slots=True)
class LettersStream:
    """The stream of dead letters: `connectors.opening.dead_letters.LettersPlace`."""

    name: str
    aws: Aws

    @property
    def setting(self) -> str:
        """See `LettersPlace`."""
        return "dead_letters.kinesis.aws.endpoint"

    @property
    def servers(self) -> tuple[str, ...]:
        """See `LettersPlace`."""
        return (self.aws.endpoint,) if self.aws.endpoint else ()

    def look(self) -> bool:
        """See `LettersPlace.look`. Raises ConfigError where it isn't there: nobody makes it."""
        self._limit()
        return True

    def room(self, make: bool = True) -> int:
        """See `LettersPlace.room`: what the stream says that a record may have. It must be there, made or not."""
        return self._limit() - _KEY

    def usual_room(self) -> int:
        """See `LettersPlace.usual_room`."""
        return USUAL_ROOM - _KEY

    def sink(self, table: str) -> ToStream:
        """See `LettersPlace.sink`: a writer."""
        return ToStream(self.name, self.aws)

    def letters(self) -> AbstractContextManager[StreamOfLetters]:
        """See `LettersPlace.letters`."""
        return nullcontext(StreamOfLetters(KinesisStream(self.name, self.aws)))

    def _limit(self) -> int:
        described = _there(
            self.name,
            lambda: once(lambda: self._client().describe_stream_summary(StreamName=self.name), _what(self.name)),
        )
        return int(described["StreamDescriptionSummary"].get("MaxRecordSizeInKiB", USUAL_ROOM // 1024)) * 1024

    def _client(self) -> Any:
        return client("kinesis", self.aws, "dead_letters.kinesis")


def _what(stream: str) -> str:
    return f"Kinesis stream {stream} of dead letters"


def _there(stream: str, call: Callable[[], Answer]) -> Answer:
    try:
        return call()
    except NotFound:
        raise ConfigError(
            [f"{_what(stream)} isn't there: make it, or correct dead_letters.kinesis.stream or its region"]
        ) from None


@dataclass(slots=True)
class ToStream:
    """Writes letters into the stream: `connectors.opening.dead_letters.LettersWriter`."""

    name: str
    aws: Aws
    _client: Any = None

    def write(self, letter: Message) -> None:
        """See `LettersWriter.write`: a minute's patience. A record whose answer was lost is there twice."""
        if self._client is None:
            self._client = client("kinesis", self.aws, "dead_letters.kinesis")
        data = packed(letter)
        spread = blake2b(data, digest_size=_KEY // 2).hexdigest()
        _there(
            self.name,
            lambda: patiently(
                lambda: self._client.put_record(StreamName=self.name, Data=data, PartitionKey=spread), _what(self.name)
            ),
        )

    def close(self) -> None:
        """See `LettersWriter.close`."""
        if self._client is not None:
            self._client.close()
            self._client = None


@dataclass(slots=True)
class StreamOfLetters:
    """The dead letters of a stream, up to where each shard ended when it was first read through.

    As `core.letters.Letters`; a letter's place is its shard's number and its own, as in `0:4959…`.
    """

    stream: KinesisStream
    _upto: dict[str, str] = field(default_factory=dict)

    @property
    def ends(self) -> Mapping[str, str]:
        """See `Letters.ends`: each shard's last number. They are found by reading."""
        for _ in self.read():
            pass
        return self._upto

    def read(self, since: Mapping[str, str] = NOWHERE) -> Iterator[Letter]:
        """See `Letters.read`: shard by shard, each in order."""
        for shard in self._patiently(self.stream.shards):
            for record in self._records(shard.id, since.get(shard.id, "")):
                yield _letter(shard.id, record)

    def at(self, place: str) -> Letter | None:
        """See `Letters.at`."""
        named = _PLACE.fullmatch(place)
        if named is None:
            raise ConfigError([f"{place!r} names no dead letter: write shard:number, as `list` does"])
        for shard in self._patiently(self.stream.shards):
            if shard.id.removeprefix(_SHARD).lstrip("0") == named[1].lstrip("0"):
                return self._at(shard.id, named[2])
        return None

    def _at(self, shard: str, number: str) -> Letter | None:
        try:
            iterator = self._patiently(lambda: self.stream.iterator(shard, Start(at=number)))
        except (Trimmed, NoSuchShard):
            return None
        records = self._patiently(lambda: self.stream.read(iterator, 1)).records
        return next((_letter(shard, each) for each in records if each.number == number), None)

    def _records(self, shard: str, after: str) -> Iterator[Record]:
        """Those after a number, to where the shard ended when this was first read through."""
        last, upto = after, self._upto.get(shard)
        iterator = self._iterator(shard, last) if upto != last else None
        while iterator is not None:
            try:
                batch = self._patiently(partial(self.stream.read, iterator, _AT_ONCE))
            except ExpiredIterator:
                iterator = self._iterator(shard, last)
                continue
            # where reading goes on it begins with what was read last
            for record in (each for each in batch.records if not last or int(each.number) > int(last)):
                if upto is not None and int(record.number) > int(upto or 0):
                    return
                yield record
                last = record.number
            iterator = batch.iterator if batch.behind_ms else None
        self._upto.setdefault(shard, last)

    def _iterator(self, shard: str, at: str) -> str | None:
        """Where to go on; at the oldest that is kept, where that isn't; None where the shard is gone by now."""
        try:
            return self._patiently(lambda: self.stream.iterator(shard, Start(at=at)))
        except Trimmed:
            return self._patiently(lambda: self.stream.iterator(shard, Start()))
        except NoSuchShard:
            return None

    def _patiently(self, call: Callable[[], Answer]) -> Answer:
        # a shard is read five times a second at most, by all who read it
        stop = patience.for_seconds(PATIENCE_S)
        return patience.patiently(call, stop, of="aws", waits_s=(0.2, 2.0))


def _letter(shard: str, record: Record) -> Letter:
    place = f"{int(shard.removeprefix(_SHARD))}:{record.number}"
    return unpacked(place, record.arrived_ms, record.value)
