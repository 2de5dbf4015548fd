"""What topics are, asked by the client of Kafka that Flink's connector has: it logs in as the job does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from py4j.protocol import Py4JJavaError
from pyflink.java_gateway import get_gateway

from core.config.log_identity import LogIdentity
from core.config.source import Kafka
from core.errors import Unavailable

_ANSWER_MS = "10000"
_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
_PREFIX = "properties."


def of_topics(source: Kafka, order: str) -> LogIdentity:
    """What `order` orders the changes of: the ids and partitions of the topics that are there.

    In a JVM that has Flink's connector. Raises Unavailable where Kafka doesn't answer, or refuses.
    """
    with _client(source) as admin:
        try:
            there = set(admin.listTopics().names().get())
            named = source.topic.split(";") if source.topic is not None else _matching(source.topic_pattern, there)
            asked = get_gateway().jvm.java.util.ArrayList()
            for name in named:
                if name in there:
                    asked.add(name)
            topics = dict(admin.describeTopics(asked).allTopicNames().get())
        except Py4JJavaError as error:
            raise _unavailable(source, error) from None
    ids = {f"topic {name}": _as_ours(str(each.topicId().toString())) for name, each in topics.items()}
    partitions = {f"topic {name}": each.partitions().size() for name, each in topics.items()}
    return LogIdentity(order, {name: each for name, each in ids.items() if each != _NO_ID}, partitions=partitions)


@contextmanager
def _client(source: Kafka) -> Iterator[Any]:
    jvm = get_gateway().jvm
    settings = jvm.java.util.Properties()
    given = {name.removeprefix(_PREFIX): value for name, value in source.options.items() if name.startswith(_PREFIX)}
    waits = {"default.api.timeout.ms": _ANSWER_MS, "request.timeout.ms": _ANSWER_MS}
    for name, value in {**given, "bootstrap.servers": source.bootstrap_servers, **waits}.items():
        settings.setProperty(name, value)
    try:
        # as Flink's connector has it in one JAR with all that it needs
        clients = jvm.org.apache.flink.kafka.shaded.org.apache.kafka.clients
        admin = clients.admin.AdminClient.create(settings)
    except Py4JJavaError as error:
        raise _unavailable(source, error) from None
    try:
        yield admin
    finally:
        admin.close()


def _as_ours(topic_id: str) -> str:
    """As librdkafka writes ids, and what is written down: Java's have the alphabet of base64 for URLs (RFC 4648, 5)."""
    return topic_id.replace("-", "+").replace("_", "/")


def _matching(pattern: str | None, there: set[str]) -> list[str]:
    compiled = get_gateway().jvm.java.util.regex.Pattern.compile(pattern)
    return sorted(name for name in there if compiled.matcher(name).matches())


def _unavailable(source: Kafka, error: Py4JJavaError) -> Unavailable:
    """Without the class that Java's messages begin with."""
    why = str(error.java_exception.getMessage() or "").rpartition("Exception: ")[2] or "no reason given"
    return Unavailable(f"Kafka at {source.bootstrap_servers} doesn't say which topics it has: {why}")
