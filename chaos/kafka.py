"""Messages into a topic's partitions at random, as a feed without order has them, and read again to be shown."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from random import Random

import tenacity
from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka.admin import AdminClient, NewPartitions

from connectors.kafka import clients as kafka_clients
from connectors.kafka.producer import ensure_topics
from connectors.kafka.topics import ends, messages, reading
from connectors.patience import for_seconds, patiently
from core.config.source import Kafka
from core.errors import FreshetError, Unavailable

PARTITIONS = 3
MOST_PARTITIONS = 5

_PATIENCE_S = 120
_QUIET = logging.getLogger(__name__)
# a server that is killed is no news
_QUIET.setLevel(logging.CRITICAL)


class Sender:
    """Writes to one topic. A server that is away for less than two minutes is waited for."""

    def __init__(self, servers: str, topic: str, seed: int) -> None:
        """Connects in the background."""
        self._topic = topic
        self.partitions = PARTITIONS
        self._choices = Random(seed)
        self._failed: KafkaError | None = None
        self._refused: list[tuple[bytes, bytes, int]] = []
        self._producer = kafka_clients.producer(
            {
                "bootstrap.servers": servers,
                "enable.idempotence": True,
                "allow.auto.create.topics": False,
                "linger.ms": 0,
                "delivery.timeout.ms": _PATIENCE_S * 1000,
                "on_delivery": self._note,
                "logger": _QUIET,
            }
        )

    def _note(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and error.code() == KafkaError._UNKNOWN_PARTITION:
            # it was just added, and a broker doesn't know of it yet; or the topic was made anew, with fewer
            self._refused.append((message.key(), message.value(), message.partition()))
        else:
            self._failed = self._failed or error

    def send(self, pairs: Sequence[tuple[str, bytes]]) -> None:
        """Write keys and values, each to any partition; returns once the server has them. Raises Unavailable."""
        for key, value in pairs:
            self.put(key, value, self._choices.randrange(self.partitions))
        self.flush()

    def put(self, key: str, value: bytes, partition: int) -> None:
        """Queue one for a partition. One that was added a moment ago the client learns of first."""

        self._queue(key.encode(), value, partition)

    def _queue(self, key: bytes, value: bytes, partition: int) -> None:
        def queue() -> None:
            self._producer.produce(self._topic, value=value, key=key, partition=partition)

        patiently(queue, for_seconds(_PATIENCE_S), _is_unknown, before_again=self._learn)

    def _learn(self) -> None:
        # a server that doesn't answer is asked again with the next attempt
        with suppress(KafkaException):
            self._producer.list_topics(self._topic, timeout=5)

    def flush(self) -> None:
        """Wait until the server has all. Raises Unavailable."""
        deadline = time.monotonic() + _PATIENCE_S
        left = self._producer.flush(_PATIENCE_S + 10)
        while self._refused and time.monotonic() < deadline:
            refused, self._refused = self._refused, []
            self._learn()
            for key, value, partition in refused:
                self._queue(key, value, partition if partition < self.partitions else 0)
            left = self._producer.flush(_PATIENCE_S + 10)
        if self._refused:
            raise Unavailable(f"topic {self._topic}: its servers don't know partition {self._refused[0][2]}")
        if left or self._failed is not None:
            raise Unavailable(f"topic {self._topic}: {self._failed or f'{left} messages are left'}")


def _is_unknown(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() == KafkaError._UNKNOWN_PARTITION


def remake_topics(servers: str, partitions: Mapping[str, int]) -> None:
    """Delete topics with all that is in them, and make them again. Raises Unavailable where that takes over 30 s."""
    admin = kafka_clients.admin({"bootstrap.servers": servers, "log_level": 3})
    for deleted in admin.delete_topics(list(partitions)).values():
        deleted.result()
    again = tenacity.Retrying(
        # a topic is still there for a moment, and then can't be made while it is going
        retry=tenacity.retry_if_exception_type((FreshetError, KafkaException)),
        stop=tenacity.stop_after_delay(30),
        wait=tenacity.wait_fixed(0.3),
        reraise=True,
    )
    again(lambda: _gone(admin, partitions))
    again(lambda: ensure_topics(servers, partitions))


def grown(servers: str, topics: Sequence[str], partitions: int, choices: Random) -> int:
    """Give topics more partitions than they have; how many each has then. Raises KafkaException."""
    if partitions >= MOST_PARTITIONS:
        return partitions
    more = choices.randint(partitions + 1, MOST_PARTITIONS)
    admin = kafka_clients.admin({"bootstrap.servers": servers, "log_level": 3})
    for made in admin.create_partitions([NewPartitions(topic, more) for topic in topics]).values():
        made.result()
    return more


def _gone(admin: AdminClient, names: Iterable[str]) -> None:
    if left := set(names) & set(admin.list_topics(timeout=5).topics):
        raise Unavailable(f"topic {min(left)} is there, though it was deleted: it still is, or someone made it again")


def messages_in(servers: str, topic: str) -> Iterator[tuple[str, str]]:
    """Every message of a topic: where it is and its value."""
    kafka = Kafka.model_validate({"topic": topic, "properties.bootstrap.servers": servers})
    with reading(kafka) as consumer:
        for message in messages(consumer, kafka, topic, ends(consumer, kafka, topic)):
            yield f"{message.partition}:{message.offset} at {message.time_ms}", (message.value or b"").decode()
