"""Which log a job on a cluster reads: it has no folder that tells, but its stores do."""

from __future__ import annotations

import re
import time
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient
from pyflink.java_gateway import get_gateway
from pyflink.util.java_utils import add_jars_to_context_class_loader

from connectors.kafka import identity
from connectors.kafka.producer import ensure_topics
from connectors.kafka.source import source_ddl
from connectors.opening.stores import prepare, stores_of
from core.config.pipeline import Pipeline
from core.errors import OtherLog, Unavailable
from core.stores.owning import How
from flink_jobs.running.owning import Taken, claim, in_log, taken
from flink_jobs.running.topics import of_topics
from stack.jars import OF_JOBS, fetch
from stack.local import Stack
from tests.flink_jobs.conftest import eventually


@pytest.fixture(scope="module", autouse=True)
def connector() -> None:
    """Flink's connector, in this process's JVM."""
    add_jars_to_context_class_loader([jar.resolve().as_uri() for jar in fetch(OF_JOBS)])


def a_pipeline(stack: Stack, **source: str) -> Pipeline:
    name = f"log{uuid4().hex[:6]}"
    return Pipeline.model_validate(
        {
            "name": name,
            "source": {"kafka": {"properties.bootstrap.servers": stack.kafka.bootstrap_servers, **source}},
            "format": "debezium",
            "documents": {"public.articles": {"text": "{t}"}},
            "embedding": {"model": "hash"},
            "store": {"pgvector": {"dsn": stack.postgres.dsn, "table": name}},
            "dead_letters": {"kafka": {"topic": f"{name}.letters"}},
        }
    )


def test_flinks_own_client_tells_of_topics_what_ours_does(stack: Stack) -> None:
    prefix = f"t{uuid4().hex[:6]}"
    topics = {f"{prefix}.a": 2, f"{prefix}x": 1, **dict.fromkeys((f"{prefix}.b{number}" for number in range(20)), 1)}
    ensure_topics(stack.kafka.bootstrap_servers, topics)
    named = a_pipeline(stack, topic=f"{prefix}.a;{prefix}.none").kafka
    ours = identity.of_topics("debezium", named)
    found = of_topics(named, "debezium")
    assert found.logs == {name: known for name, known in ours.logs.items() if known}
    assert found.partitions == ours.partitions == {f"topic {prefix}.a": 2}
    matching = a_pipeline(stack, **{"topic-pattern": rf"{prefix}\.[ab].*"}).kafka
    found = of_topics(matching, "debezium")
    # of 21 ids some have a character in which the two alphabets of base64 differ
    assert found == identity.of_topics("debezium", matching) and len(found.logs) == 21


def test_kafka_that_is_away_is_said_without_javas_names(stack: Stack) -> None:
    away = a_pipeline(stack, topic="a").kafka.model_copy(update={"bootstrap_servers": "nobody.invalid:9092"})
    with pytest.raises(Unavailable, match=r"Kafka at nobody\.invalid:9092 doesn't say which topics it has: ") as raised:
        of_topics(away, "debezium")
    assert "org.apache" not in str(raised.value)


def test_a_topic_made_anew_stops_a_cluster_that_starts_until_it_is_said_to_be_meant(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    topic = f"shop{uuid4().hex[:6]}.public.articles"
    pipeline = a_pipeline(stack, topic=topic)
    ensure_topics(stack.kafka.bootstrap_servers, {topic: 2})
    prepare(stores_of(pipeline), lambda: 384)

    def start(seen: str = "") -> Taken:
        """As a cluster's program does, and the job with its first batch."""
        found = in_log(pipeline, taken(pipeline, How.REFUSE, "way"), seen, "with --log={mark}", of_topics)
        claim(pipeline, found.owner, print)
        return found

    first = start()
    assert first.logs == () and start().logs == (first.owner.log,)
    admin = AdminClient({"bootstrap.servers": stack.kafka.bootstrap_servers})
    admin.delete_topics([topic])[topic].result(10)
    eventually(lambda: topic not in admin.list_topics(timeout=10).topics, "the topic to be gone")
    # a topic that isn't there yet is no other one
    start()
    ensure_topics(stack.kafka.bootstrap_servers, {topic: 2})
    with pytest.raises(OtherLog, match=f"topic {topic} was made anew since the last run") as raised:
        start()
    (mark,) = re.findall(r"--log=([0-9a-f]{8}),", str(raised.value))
    with pytest.raises(OtherLog):
        start("00000000")
    assert start(mark).owner.log != first.owner.log
    # what is accepted is known from then on
    assert start().notes == ()


def test_who_reads_a_topic_that_is_deleted_does_not_make_it_again(stack: Stack) -> None:
    """By the job's client Kafka would make it, with a default's partitions, before whoever deleted it can."""
    topic, servers = f"gone{uuid4().hex[:6]}", stack.kafka.bootstrap_servers
    ensure_topics(servers, {topic: 3})
    jvm = get_gateway().jvm
    given = dict(
        re.findall(r"'properties\.([^']+)' = '([^']+)'", source_ddl("t", a_pipeline(stack, topic=topic).kafka, "g"))
    )
    settings = jvm.java.util.Properties()
    for name, value in given.items():
        settings.setProperty(name, value)
    shaded = jvm.org.apache.flink.kafka.shaded.org.apache.kafka
    bytes_of = shaded.common.serialization.ByteArrayDeserializer
    consumer = shaded.clients.consumer.KafkaConsumer(settings, bytes_of(), bytes_of())
    partitions = jvm.java.util.ArrayList()
    for number in range(3):
        partitions.add(shaded.common.TopicPartition(topic, number))
    consumer.assign(partitions)
    consumer.seekToBeginning(partitions)
    consumer.poll(jvm.java.time.Duration.ofSeconds(2))
    admin = AdminClient({"bootstrap.servers": servers})
    admin.delete_topics([topic])[topic].result(10)
    until = time.monotonic() + 3
    while time.monotonic() < until:
        consumer.poll(jvm.java.time.Duration.ofMillis(200))
    assert topic not in admin.list_topics(timeout=10).topics
    consumer.close()
