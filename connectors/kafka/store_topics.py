"""Topics in which a store keeps what it holds: made, looked at, and what Kafka's errors mean there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import ConfigResource, NewTopic, ResourceType

from connectors.kafka import clients
from connectors.kafka.source import SILENT, login, refusal
from core.config.source import Kafka
from core.errors import ConfigError, Unavailable

ANSWER_S = 8.0
AGAIN_S = 0.1
LARGEST_MESSAGE = 32 * 2**20
QUEUE_KIB = 64 * 1024
COMPACTED = {"cleanup.policy": "compact", "delete.retention.ms": str(7 * 86_400_000)}
"""A topic of which the last record of each key is kept, and a tombstone for a week."""

NO_TOPIC = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.UNKNOWN_TOPIC_ID,
)

_SURE_S = 2.0
_NOT_ALLOWED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
)


def meaning(kafka: Kafka, setting: str, error: KafkaError) -> ConfigError | Unavailable:
    """What an error of Kafka's is, in our words. `setting`: the store's, as in `store.kafka`."""
    if error.code() in _NOT_ALLOWED:
        at = f"{setting}: Kafka at {kafka.bootstrap_servers}"
        return ConfigError([f"{at} refuses ({error.str()}): correct the login, or its rights"])
    return refusal(kafka, f"{setting}: ") or away(kafka, setting, error.str())


def away(kafka: Kafka, setting: str, why: str) -> Unavailable:
    """The error of a cluster that doesn't answer."""
    at = f"{setting}.properties.bootstrap.servers: Kafka at {kafka.bootstrap_servers}"
    return Unavailable(f"{at} doesn't answer ({why}): start it, or correct the address")


def stay_gone(are_there: Callable[[], bool]) -> bool:
    """Whether topics aren't there; a server that has just started may not have heard of them yet."""
    try:
        return not _within(_SURE_S, are_there)
    except KafkaException:
        return False


def make(kafka: Kafka, wanted: Sequence[NewTopic], are_there: Callable[[], bool]) -> None:
    """Make topics, unless another does meanwhile, and wait until they are there as wanted. Raises KafkaException."""
    admin = _admin(kafka)  # held: its answers end with it
    answers = admin.create_topics(list(wanted), operation_timeout=ANSWER_S)
    made = []
    for each in wanted:
        try:
            answers[each.topic].result()
            made.append(each)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    # a broker hears of one that was made a moment ago later, and of its configuration later still
    _within(ANSWER_S, lambda: are_there() and all(_is_configured(kafka, each) for each in made))


def _is_configured(kafka: Kafka, made: NewTopic) -> bool:
    try:
        there = settings(kafka, made.topic)
        return all(there.get(name) == value for name, value in made.config.items())
    except KafkaException:
        return False


def settings(kafka: Kafka, topic: str) -> Mapping[str, str]:
    """A topic's configuration. Raises KafkaException."""
    asked = ConfigResource(ResourceType.TOPIC, topic)
    admin = _admin(kafka)
    (found,) = admin.describe_configs([asked], request_timeout=ANSWER_S).values()
    return {name: each.value for name, each in found.result().items()}


def polled(consumer: Consumer) -> Any:
    """The next message. Raises KafkaException where none comes within 8 s."""
    message = consumer.poll(ANSWER_S)
    if message is None or message.error() is not None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT) if message is None else message.error())
    return message


def _admin(kafka: Kafka) -> Any:
    return clients.admin({**login(kafka), **SILENT})


def _within(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(AGAIN_S)
    return True
