"""Dead letters read back from their topic, and what sends one round again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import blake2b, sha256

from confluent_kafka import Consumer

from connectors.kafka.source import refuse_nobody
from connectors.kafka.topics import Ends, Message, ends, messages, reading
from core.config.source import Kafka
from core.formats.arrival import KAFKA_OFFSET
from core.formats.recordings import Headers, Record
from core.letters import CUT, NULLS, PREFIX, REPLAY


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: the event as it came, with its own headers alone, and the details that Freshet added.

    place    partition and offset in the topic of dead letters
    details  Freshet's headers without their prefix, decoded; bytes that are no UTF-8 as escapes
    """

    place: tuple[int, int]
    time_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def pipeline(self) -> str:
        """The name of the pipeline that wrote it; "" where the letter doesn't say, so is none of Freshet's."""
        return self.details.get("pipeline", "")

    @property
    def attempts(self) -> int:
        """How often the event was tried; 1 where the letter doesn't say."""
        return _whole(self.details.get("attempts", "")) or 1

    @property
    def source(self) -> tuple[str, int, int] | None:
        """Topic, partition and offset of the event; None where the letter doesn't say, so is none of Freshet's."""
        topic = self.details.get("source.topic", "")
        partition, offset = (_whole(self.details.get(f"source.{name}", "")) for name in ("partition", "offset"))
        return None if not topic or partition is None or offset is None else (topic, partition, offset)

    @property
    def is_cut(self) -> bool:
        """Whether the event didn't fit the topic, and its letter has only the beginning of it."""
        return any(name in self.details for name in CUT)

    def event(self) -> bytes:
        """16 bytes that tell its event from others: two letters of one event agree, whenever tried, cut or not."""
        digest = blake2b(self.details.get("source.topic", "").encode(), digest_size=16)
        for name, part in (("key", self.key), ("value", self.value)):
            digest.update(b"-" if part is None else self._hash(name, part).encode())
        return digest.digest()

    def _hash(self, name: str, part: bytes) -> str:
        return self.details.get(f"{name}.sha256") or sha256(part).hexdigest()

    def whole(self, message: Message) -> Letter | None:
        """This letter with all that the message has that its event was; None where the message is another one."""
        for name, here, there in (("key", self.key, message.key), ("value", self.value, message.value)):
            if (here is None) is not (there is None):
                return None
            if here is not None and there is not None and self._hash(name, here) != sha256(there).hexdigest():
                return None
        details = {name: text for name, text in self.details.items() if name not in CUT}
        return replace(self, key=message.key, value=message.value, headers=_own(message.headers), details=details)

    def again(self) -> Record:
        """The event as it came, for the partition it came from, with REPLAY and its first offset among its headers.

        Raises ValueError where the letter doesn't say where it came from.
        """
        if self.source is None:
            raise ValueError(f"dead letter {self.place} names no source")
        topic, partition, offset = self.source
        at = () if any(name == KAFKA_OFFSET for name, _ in self.headers) else ((KAFKA_OFFSET, str(offset).encode()),)
        marked = (*self.headers, *at, (REPLAY, str(self.attempts).encode()))
        return Record(topic, self.key, self.value, marked, partition)


def letter_of(message: Message) -> Letter:
    """The letter that a message of the topic is."""
    details = {
        name.removeprefix(PREFIX): (raw or b"").decode("utf-8", "backslashreplace")
        for name, raw in message.headers
        if name.startswith(PREFIX)
    }
    own = _own(message.headers)
    own = (*own, *((name, None) for name in _nulls(details.pop(NULLS, "")) if name not in dict(own)))
    return Letter((message.partition, message.offset), message.time_ms, message.key, message.value, own, details)


def _nulls(text: str) -> list[str]:
    try:
        names = json.loads(text or "[]")
    except ValueError:
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _own(headers: Headers) -> Headers:
    return tuple((name, raw) for name, raw in headers if not name.startswith(PREFIX))


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


@dataclass(frozen=True, slots=True)
class Letters:
    """The dead letters of a pipeline's topic, up to where it ended when it was opened. Empty where there is no topic.

    Other pipelines may write there too: each letter names its own.
    """

    consumer: Consumer
    kafka: Kafka
    topic: str
    upto: Ends

    def read(self, only: Ends | None = None) -> Iterator[Letter]:
        """All of them, or `only` those, partition by partition, each in order.

        Raises Unavailable as `kafka_topics.messages` does.
        """
        return map(letter_of, messages(self.consumer, self.kafka, self.topic, self.upto if only is None else only))

    def at(self, partition: int, offset: int) -> Letter | None:
        """The one that stands there; None where none does."""
        first, end = self.upto.get(partition, (0, 0))
        if not first <= offset < end:
            return None
        only = {partition: (offset, offset + 1)}
        return next(map(letter_of, messages(self.consumer, self.kafka, self.topic, only)), None)


@dataclass(frozen=True, slots=True)
class Originals:
    """The events of cut letters, read again where their topics still have them."""

    consumer: Consumer
    kafka: Kafka

    def whole(self, letter: Letter) -> Letter | None:
        """The letter with its whole event; None where that is gone, or another one stands in its place.

        Raises Unavailable where the cluster doesn't answer within 10 s, or is silent for 20 s.
        """
        if letter.source is None:
            return None
        topic, partition, offset = letter.source
        first, end = ends(self.consumer, self.kafka, topic).get(partition, (0, 0))
        if not first <= offset < end:
            return None
        only = {partition: (offset, offset + 1)}
        found = next(messages(self.consumer, self.kafka, topic, only), None)
        return None if found is None else letter.whole(found)


@contextmanager
def letters(kafka: Kafka, topic: str) -> Iterator[Letters]:
    """The dead letters of a topic as of now.

    Raises Unavailable where nobody listens there, or the cluster doesn't answer within 10 s; ConfigError where only
    Java clients can log in.
    """
    refuse_nobody(kafka)
    with reading(kafka) as consumer:
        yield Letters(consumer, kafka, topic, ends(consumer, kafka, topic))
