"""Dead letters read back from their topic."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Consumer

from connectors.kafka.source import refuse_nobody
from connectors.kafka.topics import Ends, Message, ends, messages, reading
from core.config.source import Kafka
from core.errors import ConfigError
from core.letters import NOWHERE, Letter, letter_of

_PLACE = re.compile(r"(\d{1,9}):(\d{1,18})")


@dataclass(frozen=True, slots=True)
class TopicOfLetters:
    """The dead letters of a topic, up to where it ended when it was opened. Empty where there is no topic.

    As `core.letters.Letters`; a letter's place is its partition and offset, as in `0:17`.
    """

    consumer: Consumer
    kafka: Kafka
    topic: str
    upto: Ends

    @property
    def ends(self) -> Mapping[str, str]:
        """See `Letters.ends`: each partition's next offset."""
        return {str(partition): str(end) for partition, (_, end) in self.upto.items()}

    def read(self, since: Mapping[str, str] = NOWHERE) -> Iterator[Letter]:
        """See `Letters.read`: partition by partition, each in order."""
        new = {at: (max(first, int(since.get(str(at), 0))), end) for at, (first, end) in self.upto.items()}
        return map(_letter, messages(self.consumer, self.kafka, self.topic, new))

    def at(self, place: str) -> Letter | None:
        """See `Letters.at`."""
        named = _PLACE.fullmatch(place)
        if named is None:
            raise ConfigError([f"{place!r} names no dead letter: write partition:offset, as in 0:17"])
        partition, offset = int(named[1]), int(named[2])
        first, end = self.upto.get(partition, (0, 0))
        if not first <= offset < end:
            return None
        only = {partition: (offset, offset + 1)}
        return next(map(_letter, messages(self.consumer, self.kafka, self.topic, only)), None)


def _letter(message: Message) -> Letter:
    place = f"{message.partition}:{message.offset}"
    return letter_of(place, message.time_ms, message.key, message.value, message.headers)


@contextmanager
def letters(kafka: Kafka, topic: str) -> Iterator[TopicOfLetters]:
    """The dead letters of a topic as of now.

    Raises Unavailable where nobody listens there, or the cluster doesn't answer within 10 s; ConfigError where only
    Java clients can log in.
    """
    refuse_nobody(kafka)
    with reading(kafka) as consumer:
        yield TopicOfLetters(consumer, kafka, topic, ends(consumer, kafka, topic))
