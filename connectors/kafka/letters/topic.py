"""The topic of dead letters as it is now: there, writable, and how large a letter it takes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connectors.kafka.source import SILENT, client_options, letters_ddl, topics_there, unavailable
from core.config.source import Kafka
from core.errors import ConfigError
from core.letters import SMALLEST_ROOM

if TYPE_CHECKING:
    from connectors.kafka.letters.reading import TopicOfLetters

LARGEST_REQUEST = 32 * 1024 * 1024
"""Bytes of the largest message that the job's producer sends, and that a topic made here takes."""

USUAL_ROOM = 1_048_588
"""What a topic takes where nobody says: the default of Kafka's message.max.bytes."""

OUTCOMES = "outcomes.kafka.topic"
"""The setting that names the topic of outcomes, which is made and looked at as that of letters is."""

_LETTERS = "dead_letters.kafka.topic"
_ANSWER_S = 10.0
_CLIENT = ("properties.max.request.size", "properties.buffer.memory")


@dataclass(frozen=True, slots=True)
class LettersTopic:
    """The topic of dead letters on a cluster: `connectors.opening.dead_letters.LettersPlace`."""

    cluster: Kafka
    name: str
    is_the_sources: bool

    @property
    def setting(self) -> str:
        """See `LettersPlace`."""
        of = "source" if self.is_the_sources else "dead_letters"
        return f"{of}.kafka.{self.cluster.at}"

    @property
    def servers(self) -> tuple[str, ...]:
        """See `LettersPlace`."""
        return self.cluster.servers

    def look(self) -> bool:
        """See `LettersPlace.look`."""
        there = topics_there(self.cluster)
        return there is None or self.name in there

    def room(self, make: bool = True) -> int:
        """See `LettersPlace.room`."""
        return room(self.cluster, self.name, make)

    def usual_room(self) -> int:
        """See `LettersPlace.usual_room`."""
        return USUAL_ROOM * 9 // 10

    def sink(self, table: str) -> str:
        """See `LettersPlace.sink`: Flink's connector."""
        return letters_ddl(table, self.cluster, self.name)

    def letters(self) -> AbstractContextManager[TopicOfLetters]:
        """See `LettersPlace.letters`."""
        # imported late: a job only writes letters, and runs where librdkafka isn't
        from connectors.kafka.letters.reading import letters

        return letters(self.cluster, self.name)


def room(kafka: Kafka, topic: str, make: bool = True, setting: str = _LETTERS) -> int:
    """Bytes that a message may have as a record that isn't compressed, so that its topic takes it however it packs.

    A topic that isn't there is made, where that is allowed and `make` says so. Where the cluster can't be asked,
    because only Java's client can log in, it refuses to tell, or this process has no client, it is what Kafka does by
    itself.
    Raises Unavailable where the cluster doesn't answer within 10 s; ConfigError where it lets nobody write there, or
    the topic takes less than SMALLEST_ROOM.
    """
    given = [int(kafka.options[name]) for name in _CLIENT if kafka.options.get(name, "").isdigit()]
    limit = min(_limit(kafka, topic, make, setting), LARGEST_REQUEST, *given)
    # a broker counts what is packed, and packing makes some bytes more of what can't be packed
    left = limit - limit // 64 - 256
    if left < SMALLEST_ROOM:
        raise ConfigError(
            [
                f"{setting} is {topic}, which takes messages of {limit:,} bytes at most: one "
                f"may need {SMALLEST_ROOM + SMALLEST_ROOM // 8:,}. Raise its max.message.bytes"
            ]
        )
    return left


def _limit(kafka: Kafka, topic: str, make: bool, setting: str) -> int:
    try:
        # imported late: where the job runs on a service librdkafka isn't there
        from confluent_kafka import KafkaException

        from connectors.kafka import clients as kafka_clients
    except ImportError:
        return USUAL_ROOM
    options = client_options(kafka)
    if options is None:
        return USUAL_ROOM
    try:
        admin = kafka_clients.admin({**options, "socket.timeout.ms": 5_000, **SILENT})
        there = topic in admin.list_topics(timeout=_ANSWER_S).topics
    except KafkaException as error:
        raise unavailable(kafka, error.args[0].str()) from None
    if not there and not make:
        return LARGEST_REQUEST
    limit = _size_limit(admin, topic) if there else _made(admin, topic)
    _check_writable(admin, topic, setting)
    return limit


def _made(admin: Any, topic: str) -> int:
    """Make the topic, with as many partitions and replicas as the cluster thinks right; how much its messages may have.

    It isn't asked for that: a broker may answer with its default before it has heard of the topic's own.
    """
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import NewTopic

    wanted = NewTopic(topic, -1, -1, config={"max.message.bytes": str(LARGEST_REQUEST)})
    try:
        admin.create_topics([wanted], operation_timeout=_ANSWER_S, request_timeout=_ANSWER_S)[topic].result()
    except KafkaException as error:
        there = error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
        return _size_limit(admin, topic) if there else USUAL_ROOM
    return LARGEST_REQUEST


def _check_writable(admin: Any, topic: str, setting: str) -> None:
    from confluent_kafka import KafkaException, TopicCollection
    from confluent_kafka.admin import AclOperation

    asked = admin.describe_topics(
        TopicCollection([topic]), include_authorized_operations=True, request_timeout=_ANSWER_S
    )
    try:
        allowed = asked[topic].result().authorized_operations
    except KafkaException:
        return  # an old broker: the job will tell
    if allowed and not {AclOperation.WRITE, AclOperation.ALL} & set(allowed):
        raise ConfigError([f"{setting} is {topic}, which this login may not write to: grant Write and Describe on it"])


def _size_limit(admin: Any, topic: str) -> int:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import ConfigResource

    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    try:
        settings = admin.describe_configs([resource], request_timeout=_ANSWER_S)[resource].result()
        return int(settings["max.message.bytes"].value)
    except (KafkaException, KeyError, ValueError, TypeError):
        return USUAL_ROOM
