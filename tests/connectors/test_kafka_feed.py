"""How far a job is, by what it has committed to a real Kafka."""

from __future__ import annotations

import uuid

from confluent_kafka import Consumer, TopicPartition

from connectors.kafka.feed import group_of, uncommitted
from connectors.kafka.producer import ensure_topics, produce
from core.config.pipeline import Pipeline
from core.formats.recordings import Record
from stack.local import Stack


def pipeline(servers: str, topic: str) -> Pipeline:
    return Pipeline.model_validate(
        {
            "name": topic,
            "source": {
                "kafka": {
                    "topic": topic,
                    "properties.bootstrap.servers": servers,
                    "scan.startup.mode": "earliest-offset",
                }
            },
            "format": "debezium",
            "documents": {"public.articles": {"text": "{body}"}},
            "embedding": {"model": "hash"},
            "store": {"pgvector": {"dsn": "postgresql://u@127.0.0.1:1/x", "table": "chunks"}},
            "dead_letters": {"kafka": {"topic": f"{topic}.dead-letters"}},
        }
    )


def test_what_a_job_has_not_committed_is_counted_over_all_partitions(stack: Stack) -> None:
    servers, topic = stack.kafka.bootstrap_servers, f"feed-{uuid.uuid4().hex[:8]}"
    of = pipeline(servers, topic)
    ensure_topics(servers, {topic: 3})
    # the third partition is empty: nothing of it is ever committed
    produce(servers, [Record(topic, b"k", b"{}", (), number % 2) for number in range(10)])
    assert uncommitted(of) is None, "a group that has committed nothing tells nothing"
    consumer = Consumer({"bootstrap.servers": servers, "group.id": group_of(of)})
    consumer.commit(offsets=[TopicPartition(topic, 0, 1), TopicPartition(topic, 1, 5)], asynchronous=False)
    assert uncommitted(of) == 4
    consumer.commit(offsets=[TopicPartition(topic, 0, 5)], asynchronous=False)
    consumer.close()
    assert uncommitted(of) == 0


def test_nobody_knows_it_where_the_cluster_does_not_answer() -> None:
    assert uncommitted(pipeline("127.0.0.1:1", "nowhere")) is None
