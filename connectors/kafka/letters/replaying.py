"""Events of dead letters sent round again, to the topics and partitions that they came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Consumer

from connectors.kafka.producer import produce
from connectors.kafka.source import check, login
from connectors.kafka.topics import ends, messages, reading
from core.config.source import Kafka
from core.formats.arrival import KAFKA_OFFSET
from core.formats.recordings import Record
from core.letters import REPLAY, Letter


@dataclass(frozen=True, slots=True)
class TopicsAgain:
    """The topics of a source: `connectors.opening.sources.ReplayTarget`."""

    consumer: Consumer
    kafka: Kafka
    names: frozenset[str]

    def whole(self, letter: Letter) -> Letter | None:
        """See `ReplayTarget.whole`: the cluster is waited for 10 s, and a topic that stays silent 20 s."""
        if letter.source is None:
            return None
        topic, partition, offset = letter.source
        first, end = ends(self.consumer, self.kafka, topic).get(partition, (0, 0))
        if not first <= offset < end:
            return None
        only = {partition: (offset, offset + 1)}
        found = next(messages(self.consumer, self.kafka, topic, only), None)
        return None if found is None else letter.whole(found.key, found.value, found.headers)

    def send(self, letters: Sequence[Letter]) -> None:
        """See `ReplayTarget.send`."""
        events = [again(letter) for letter in letters]
        produce(self.kafka.bootstrap_servers, events, login=login(self.kafka), packed=True)


def again(letter: Letter) -> Record:
    """The event as it came, for the partition it came from, with REPLAY and its first offset among its headers.

    Raises ValueError where the letter doesn't say where it came from.
    """
    if letter.source is None:
        raise ValueError(f"dead letter {letter.place} names no source")
    topic, partition, offset = letter.source
    at = () if any(name == KAFKA_OFFSET for name, _ in letter.headers) else ((KAFKA_OFFSET, str(offset).encode()),)
    marked = (*letter.headers, *at, (REPLAY, str(letter.attempts).encode()))
    return Record(topic, letter.key, letter.value, marked, partition)


@contextmanager
def topics_again(kafka: Kafka) -> Iterator[TopicsAgain]:
    """The topics that a source reads now. Raises Unavailable where the cluster is away, ConfigError as `check`."""
    names = frozenset(check(kafka))
    with reading(kafka) as consumer:
        yield TopicsAgain(consumer, kafka, names)
