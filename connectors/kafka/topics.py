"""What topics hold up to their present ends, read once and without a group: nothing is committed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from connectors.kafka import clients as kafka_clients
from connectors.kafka.source import SILENT, login, named, unavailable
from core.config.source import Kafka
from core.errors import FreshetError
from core.formats.recordings import Headers

_ANSWER_S = 10.0
_AGAIN_S = 0.1
_SILENCE_S = 20.0
_LEADERLESS = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
_QUEUE_KIB = 32 * 1024
_LARGEST_MESSAGE = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it stands in a topic. `time_ms` is the broker's timestamp, in milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


Ends = Mapping[int, tuple[int, int]]
"""For each partition its first offset and the one after its last."""


@contextmanager
def reading(kafka: Kafka, group: str = "freshet-reader") -> Iterator[Consumer]:
    """A consumer of the source's cluster that commits nothing; a `group` only matters to who asks for its offsets.

    Raises ConfigError where only Java clients can log in.
    """
    consumer = kafka_clients.consumer(
        {
            **login(kafka),
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": _QUEUE_KIB,
            "fetch.message.max.bytes": _LARGEST_MESSAGE,
            **SILENT,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def ends(consumer: Consumer, kafka: Kafka, topic: str) -> Ends:
    """Where the topic's partitions begin and end now; nothing where there is no such topic.

    Raises Unavailable where the cluster doesn't answer within 10 s.
    """
    try:
        there = consumer.list_topics(timeout=_ANSWER_S).topics.get(topic)
        numbers = [] if there is None else sorted(there.partitions)
        return {number: ends_of_partition(consumer, TopicPartition(topic, number)) for number in numbers}
    except KafkaException as error:
        raise unavailable(kafka, error.args[0].str()) from None


def ends_of_source(consumer: Consumer, kafka: Kafka) -> dict[str, Ends]:
    """Where the partitions of each topic that the source names begin and end now. Raises as `ends`."""
    try:
        there = consumer.list_topics(timeout=_ANSWER_S).topics
        return {
            topic: {
                number: ends_of_partition(consumer, TopicPartition(topic, number))
                for number in sorted(there[topic].partitions)
            }
            for topic in named(kafka, there)
        }
    except KafkaException as error:
        raise unavailable(kafka, error.args[0].str()) from None


class SourceEnds:
    """Where the partitions of a source's topics end, as `PartitionEnds` of `connectors.opening.sources` has it."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._opened = ExitStack()
        self._consumer: Consumer | None = None

    def now(self) -> Mapping[str, int] | None:
        """See `PartitionEnds.now`: None too where there is no topic yet."""
        try:
            if self._consumer is None:
                self._consumer = self._opened.enter_context(reading(self._kafka))
            found = ends_of_source(self._consumer, self._kafka)
        except FreshetError:
            return None
        ended = {f"{topic}/{number}": end for topic, each in found.items() for number, (_, end) in each.items()}
        return ended if found else None

    def close(self) -> None:
        """See `PartitionEnds.close`."""
        self._opened.close()


def ends_of_partition(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    """Where a partition begins and ends now. One that was made a moment ago has no leader yet that knows of it: it is
    asked again.

    Raises KafkaException where it doesn't answer within 10 s.
    """
    deadline = time.monotonic() + _ANSWER_S
    while True:
        try:
            first, end = consumer.get_watermark_offsets(partition, timeout=_ANSWER_S)
        except KafkaException as error:
            if error.args[0].code() not in _LEADERLESS or time.monotonic() > deadline:
                raise
            time.sleep(_AGAIN_S)
        else:
            return first, end


def messages(consumer: Consumer, kafka: Kafka, topic: str, upto: Ends) -> Iterator[Message]:
    """The messages up to `upto`, one partition after the other, each in order. Memory is bounded.

    Raises Unavailable where the cluster stays silent for 20 s.
    """
    for partition, (first, end) in upto.items():
        if first < end:
            yield from _partition(consumer, kafka, TopicPartition(topic, partition, first), end)


def _partition(consumer: Consumer, kafka: Kafka, start: TopicPartition, end: int) -> Iterator[Message]:
    consumer.assign([start])
    try:
        while True:
            # one by one: a batch of large messages would have no bound
            message = consumer.poll(_SILENCE_S)
            if message is None:
                raise unavailable(kafka, f"nothing came of topic {start.topic} for {_SILENCE_S:.0f} s")
            # the end may lie behind marks of transactions, which are no messages
            if _is_end(message, kafka) or message.offset() >= end:
                return
            yield _message(message)
            if message.offset() == end - 1:
                return
    finally:
        consumer.unassign()


def _is_end(message: Any, kafka: Kafka) -> bool:
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:
        return True
    raise unavailable(kafka, error.str())


def _message(message: Any) -> Message:
    return Message(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        tuple(message.headers() or ()),
    )
