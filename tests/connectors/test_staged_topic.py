"""Whose topic a staged store takes: its own, or one that nobody wrote to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from connectors.kafka.staged.log import KafkaLog
from connectors.staged.store import StagedStore
from core.config.staging import StagedTopic
from core.errors import ConfigError
from tests.connectors.servers import Server
from tests.connectors.test_store_contract import APPLIED, apply, plan


@pytest.fixture
def topic(kafka_server: Server) -> str:
    """A compacted topic that somebody made."""
    name = f"theirs-{uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": kafka_server.address})
    admin.create_topics([NewTopic(name, 1, config={"cleanup.policy": "compact"})])[name].result()
    return name


@pytest.fixture
def store(kafka_server: Server, topic: str) -> Iterator[StagedStore]:
    of = {"topic": topic, "properties.bootstrap.servers": kafka_server.address}
    with closing(StagedStore(KafkaLog(StagedTopic.model_validate(of), 5.0), 4, "m")) as made:
        yield made


def test_a_topic_of_someone_elses_is_refused_and_nothing_is_made_beside_it(
    kafka_server: Server, topic: str, store: StagedStore
) -> None:
    producer = Producer({"bootstrap.servers": kafka_server.address})
    producer.produce(topic, b"{}", key=b"theirs")
    producer.flush()
    for call in (store.look, store.prepare):
        with pytest.raises(ConfigError, match=f"store.kafka.topic: {topic} is there without {topic}-ledger: someone"):
            call()
    there = AdminClient({"bootstrap.servers": kafka_server.address}).list_topics(timeout=10).topics
    assert f"{topic}-ledger" not in there


def test_one_that_is_empty_is_taken(store: StagedStore) -> None:
    store.prepare()
    assert apply(store, plan("public.a/1", "1", "one")) == [APPLIED]
