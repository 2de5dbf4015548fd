"""Messages arrive in a real Kafka as they were given: content, partition and order."""

from __future__ import annotations

import gzip
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from connectors.kafka.producer import MAX_RECORD_BYTES, ensure_topics, produce
from connectors.kafka.topics import ends, reading
from core.config.source import Kafka
from core.errors import ConfigError, Unavailable
from core.formats.recordings import Record, read_recording
from stack.local import Stack
from tests.replay import WORKLOAD
from tests.topics import consume


@pytest.fixture
def topic() -> str:
    return f"producer-{uuid.uuid4().hex[:8]}"


def test_records_arrive_in_order_with_all_they_hold(stack: Stack, topic: str) -> None:
    servers = stack.kafka.bootstrap_servers
    headers = (("a", "é".encode()), ("b", None), ("a", b""))
    records = [
        Record(topic, b"k", b"first", headers, 1),
        Record(topic, b"k", None, (), 1),
        Record(topic, None, b"", (), 0),
        *(Record(topic, b"k", str(number).encode(), (), 1) for number in range(5000)),
    ]
    ensure_topics(servers, {topic: 2})
    sent = produce(servers, records)
    arrived = consume(servers, topic)
    assert [record for record in arrived if record.partition == 1] == [each for each in records if each.partition == 1]
    assert [record for record in arrived if record.partition == 0] == [each for each in records if each.partition == 0]
    assert (sent.events, sent.topics) == (len(records), 1)
    assert sent.bytes == sum(len(each.key or b"") + len(each.value or b"") for each in records)


def test_a_key_lands_where_the_java_client_put_it(stack: Stack, topic: str) -> None:
    servers = stack.kafka.bootstrap_servers
    with gzip.open(WORKLOAD) as lines:
        recorded = {each.key: each.partition for each in read_recording(lines, WORKLOAD.name)}
    ensure_topics(servers, {topic: 3})
    produce(servers, (Record(topic, key, b"") for key in recorded))
    assert {each.key: each.partition for each in consume(servers, topic)} == recorded


def test_large_records_fit_into_topics_made_here(stack: Stack, topic: str) -> None:
    servers = stack.kafka.bootstrap_servers
    large = Record(topic, b"k", b"x" * (16 * 1024 * 1024), (), 0)
    ensure_topics(servers, {topic: 1})
    produce(servers, [large])
    assert consume(servers, topic) == [large]
    with pytest.raises(ConfigError, match=f"larger than topic {topic} takes: .*max.message.bytes"):
        produce(servers, [replace(large, value=b"x" * (MAX_RECORD_BYTES + 1))])


def test_a_record_too_large_for_a_topic_that_was_there_names_the_setting(stack: Stack, topic: str) -> None:
    servers = stack.kafka.bootstrap_servers
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(topic, num_partitions=1, config={"max.message.bytes": "1000"})])[topic].result()
    with pytest.raises(ConfigError, match=f"topic {topic} takes: raise its max.message.bytes"):
        produce(servers, [Record(topic, b"k", b"x" * 2000)])


def test_a_topic_with_too_few_partitions_is_named_and_left_alone(stack: Stack, topic: str) -> None:
    servers = stack.kafka.bootstrap_servers
    ensure_topics(servers, {topic: 2})
    ensure_topics(servers, {topic: 1})
    with pytest.raises(ConfigError, match=f"topic {topic} has 2 partitions, 3 are needed"):
        ensure_topics(servers, {topic: 3, f"{topic}-other": 1})
    assert f"{topic}-other" not in AdminClient({"bootstrap.servers": servers}).list_topics(timeout=5).topics


def test_records_leave_at_once_when_the_iterable_waits(stack: Stack, topic: str) -> None:
    servers = stack.kafka.bootstrap_servers
    ensure_topics(servers, {topic: 1})

    def slow() -> Iterator[Record]:
        yield Record(topic, b"k", b"first")
        time.sleep(0.5)
        assert [each.value for each in consume(servers, topic)] == [b"first"]

    assert produce(servers, slow()).events == 1


def test_no_server_is_reported_within_ten_seconds_with_its_address_and_the_option() -> None:
    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 \(.*Connection refused.*--bootstrap-servers"):
        ensure_topics("127.0.0.1:1", {"t": 1})
    assert time.monotonic() - started < 10


def test_a_topic_that_was_made_a_moment_ago_has_its_ends(stack: Stack, topic: str) -> None:
    kafka = Kafka.model_validate({"topic": topic, "properties.bootstrap.servers": stack.kafka.bootstrap_servers})
    with reading(kafka) as consumer:
        for number in range(30):
            ensure_topics(kafka.bootstrap_servers, {f"{topic}.{number}": 3})
            assert set(ends(consumer, kafka, f"{topic}.{number}").values()) <= {(0, 0)}
