"""What a topic holds, read back with a plain consumer; and events into one, none of them lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from core.formats.recordings import Record


def consume(bootstrap_servers: str, topic: str) -> list[Record]:
    """All messages of a topic up to its present end; order is kept within a partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "none",
            "enable.auto.commit": False,
            "fetch.message.max.bytes": 64 * 1024 * 1024,
            "fetch.max.bytes": 64 * 1024 * 1024,
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ends = {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10) for number in partitions
        }
        consumer.assign([TopicPartition(topic, number, first) for number, (first, _) in ends.items()])
        # topics here are never compacted, and no transaction leaves marks in them
        expected = sum(end - first for first, end in ends.values())
        found: list[Record] = []
        while len(found) < expected:
            messages = consumer.consume(expected - len(found), timeout=10)
            if not messages:
                raise TimeoutError(f"topic {topic} gave {len(found)} of {expected} messages")
            for message in messages:
                if message.error():
                    raise KafkaException(message.error())
                headers = tuple(message.headers() or ())
                found.append(Record(topic, message.key(), message.value(), headers, message.partition()))
        return found
    finally:
        consumer.close()


@contextmanager
def delivering(bootstrap_servers: str, **settings: object) -> Iterator[Producer]:
    """A producer all of whose records have arrived when the block ends: what Kafka refuses is lost without a word."""
    failures: list[str] = []

    def delivered(error: KafkaError | None, _message: object) -> None:
        failures.extend([] if error is None else [error.str()])

    usual = {"bootstrap.servers": bootstrap_servers, "message.max.bytes": 32 << 20, "on_delivery": delivered}
    producer = Producer({**usual, **settings})
    yield producer
    assert (producer.flush(20), failures) == (0, [])
