"""The topic of outcomes, followed from a place in it, without a group: nothing is committed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from hashlib import blake2b

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition

from connectors.kafka import clients as kafka_clients
from connectors.kafka import topics
from connectors.kafka.source import SILENT, login, refuse_nobody, unavailable
from connectors.kafka.topics import Ends
from core.config.source import Kafka
from core.errors import ChangesGone, Unavailable

_ANSWER_S = 10.0
_GROWN_S = 30.0
_QUEUE_KIB = 1024
_FETCH = 1 << 20
_OF_THE_TOPIC = (
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError.OFFSET_OUT_OF_RANGE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._UNKNOWN_TOPIC,
)

Message = tuple[int, int, bytes]
"""Partition, offset and value."""


class Tail:
    """A topic's messages, from a place on. It holds some MiB, whatever lies in the topic. Not for several threads."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        """Raises Unavailable where nobody is there, ConfigError where only Java clients can log in."""
        refuse_nobody(kafka)
        self._kafka, self._topic = kafka, topic
        client = login(kafka)
        self._consumer = kafka_clients.consumer(
            {
                **client,
                "group.id": "freshet-listener",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "queued.max.messages.kbytes": _QUEUE_KIB,
                "queued.min.messages": 1_000,
                "fetch.message.max.bytes": _FETCH,
                **SILENT,
            }
        )
        self._client = client
        self._partitions: frozenset[int] = frozenset()
        self._look_at = 0.0

    def log(self) -> str:
        """The topic's id, which one that was made anew under the same name doesn't share. Raises Unavailable."""
        try:
            admin = kafka_clients.admin({**self._client, "socket.timeout.ms": 5_000, **SILENT})
            asked = admin.describe_topics(TopicCollection([self._topic]), request_timeout=_ANSWER_S)
            found = asked[self._topic].result(_ANSWER_S)
        except KafkaException as error:
            raise unavailable(self._kafka, error.args[0].str()) from None
        except TimeoutError:
            raise unavailable(self._kafka, f"no answer within {_ANSWER_S:.0f} s") from None
        return blake2b(f"{self._topic} {found.topic_id}".encode(), digest_size=6).hexdigest()

    def ends(self) -> Ends:
        """Where the topic's partitions begin and end now; nothing where there is no such topic. Raises Unavailable."""
        return topics.ends(self._consumer, self._kafka, self._topic)

    def begin(self, offsets: Mapping[int, int]) -> None:
        """Read each partition from an offset on."""
        self._partitions = frozenset(offsets)
        self._look_at = time.monotonic() + _GROWN_S
        self._consumer.assign([TopicPartition(self._topic, *each) for each in offsets.items()])

    def next(self, wait_s: float, most: int) -> Iterator[Message]:
        """What is there by now, until it has `most` bytes; waits for the first so long. Offsets rise in a partition.

        Raises ChangesGone where the topic, or what is next in it, is gone, or it has other partitions; Unavailable
        where it may not be read. A cluster that is away is waited for: nothing comes.
        """
        self._look_for_partitions()
        size = 0
        message = self._consumer.poll(wait_s)
        while message is not None:
            if (error := message.error()) is None:
                value = message.value() or b""
                size += len(value)
                yield message.partition(), message.offset(), value
            else:
                self._refuse(error)
            message = self._consumer.poll(0) if size < most else None

    def _refuse(self, error: KafkaError) -> None:
        if error.code() in _OF_THE_TOPIC:
            raise ChangesGone(f"topic {self._topic} has them no more: {error.str()}")
        if not error.retriable() and error.code() not in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            raise unavailable(self._kafka, error.str())

    def _look_for_partitions(self) -> None:
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _GROWN_S
        try:
            there = self._consumer.list_topics(self._topic, timeout=_ANSWER_S).topics[self._topic].partitions
        except KafkaException:
            return  # away: waited for
        if there and frozenset(there) != self._partitions:
            raise Unavailable(f"topic {self._topic} has {len(there)} partitions now, and had {len(self._partitions)}")

    def close(self) -> None:
        """Give the connections back."""
        self._consumer.close()
