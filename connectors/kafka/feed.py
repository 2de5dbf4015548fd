"""What the topics of a pipeline's tables tell by their last events, and how far the job has read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from connectors.kafka.source import named, topics_there, unavailable
from connectors.kafka.topics import Message, ends, messages, reading
from core.change import BEGINNING, Change, Event, Position, Skip, Truncate
from core.config.pipeline import Pipeline
from core.config.source import Kafka
from core.errors import ConfigError, DecodeError, Unavailable
from core.formats.debezium.decoding import decode
from core.formats.debezium.event import Pattern, best, pattern_of
from core.formats.debezium.places import HEARTBEAT, heartbeat
from core.formats.debezium.source import OURS, source_block, table_of

_TAIL = 100
_TAIL_BEHIND_HEARTBEATS = 10_000
_ANSWER_S = 10.0
_MARKS = 2  # what a transaction may leave behind the last message


def group_of(pipeline: Pipeline) -> str:
    """The consumer group in which the job commits how far it is, at each checkpoint."""
    return pipeline.kafka.options.get("properties.group.id", f"freshet-{pipeline.name}")


def topic_of(table: str, topics: Sequence[str]) -> str:
    """Which of the pipeline's topics has the table's events.

    The only one, or the one that ends in `.schema.table`, as Debezium names it. Raises ConfigError otherwise.
    """
    named = [topic for topic in topics if topic.endswith(f".{table}")] if len(topics) > 1 else list(topics)
    if len(named) != 1:
        there = ", ".join(topics) or "none"
        raise ConfigError([f"source.kafka: can't tell which topic has the events of {table}; there are: {there}"])
    return named[0]


def tail(consumer: Consumer, kafka: Kafka, topic: str) -> list[Message]:
    """The last messages of each partition, some 100, but for heartbeats. Raises Unavailable."""
    bounds = ends(consumer, kafka, topic)
    found: list[Message] = []
    for reach in (_TAIL, _TAIL_BEHIND_HEARTBEATS):
        upto = {partition: (max(first, end - reach), end) for partition, (first, end) in bounds.items()}
        there = list(messages(consumer, kafka, topic, upto))
        found = [each for each in there if not _is_heartbeat(each)]
        if len(found) == len(there):
            break
    return found


def _is_heartbeat(message: Message) -> bool:
    at = (message.topic, message.partition, message.offset, message.key, message.value)
    return HEARTBEAT.encode() in (message.value or b"") and heartbeat(Event(*at)) is not None


def has_schemas(found: Sequence[Message]) -> bool:
    """Whether events come with their schema: `schemas.enable` of the connector's JSON converter."""
    return any(message.value is not None and message.value.startswith(b'{"schema"') for message in found)


def latest(pipeline: Pipeline, found: Sequence[Message]) -> Position:
    """The last position that these events tell of; BEGINNING where none of them has one.

    Nothing that the source commits from then on has a lower one, and nothing published before has a higher one: across
    all rows `source.sequence` never goes back, but for what a restarted connector repeats.
    """
    last = BEGINNING
    for message in found:
        event = Event(
            message.topic, message.partition, message.offset, message.key, message.value, dict(message.headers)
        )
        try:
            decoded: tuple[Change | Truncate | Skip, ...] = (decode(event, pipeline.events.debezium),)
        except DecodeError as error:
            decoded = error.refused
        last = max(last, *(each.position for each in decoded if not isinstance(each, Skip)), BEGINNING)
    return last


@dataclass(frozen=True, slots=True)
class Tail:
    """What the end of a topic tells of a table.

    position      of the last of its events, or of another table's of the same connector: after all that the topic has,
                  not after anything that is still to come. BEGINNING where none of them is the table's
    pattern       how its events are written; None where none is there
    transactions  ids of those that the last events are of: who reads a row at this position must see them
    """

    position: Position
    pattern: Pattern | None
    transactions: frozenset[int]


def tail_of(pipeline: Pipeline, consumer: Consumer, topic: str, table: str) -> Tail:
    """What the topic tells of the table `schema.table` by its last events. Raises Unavailable."""
    found = [(message, source_block(message.value)) for message in tail(consumer, pipeline.kafka, topic)]
    of_table = [source.get("name") for _, source in found if table_of(source) == table]
    names = {name for name in of_table if name not in OURS}
    # another connector's last commit may be later than the one that this one's next change starts with
    kin = [(message, source) for message, source in found if table_of(source) == table or source.get("name") in names]
    patterns = [pattern_of(message.topic, message.key, message.value, table) for message, _ in kin]
    ids = [source.get("txId") for _, source in kin if source.get("lsn") is not None and not _is_read(source)]
    return Tail(
        latest(pipeline, [message for message, _ in kin]),
        best([pattern for pattern in patterns if pattern is not None]),
        frozenset(each for each in ids if isinstance(each, int)),
    )


def _is_read(source: Mapping[str, Any]) -> bool:
    """Whether an event tells what a snapshot read, whose transaction goes on as long as that does."""
    return source.get("snapshot") not in (None, "false", False)


@dataclass(frozen=True, slots=True)
class Behind:
    """How many events the job has not committed yet; None where it has committed nothing of some partition."""

    events: int | None


def behind(consumer: Consumer, kafka: Kafka, goal: Mapping[str, Mapping[int, int]]) -> Behind:
    """How far the consumer's group is from `goal`: for each topic and partition an end. Raises Unavailable."""
    wanted = [TopicPartition(topic, number) for topic, parts in goal.items() for number in parts]
    try:
        committed = consumer.committed(wanted, timeout=_ANSWER_S) if wanted else []
    except KafkaException as error:
        raise unavailable(kafka, error.args[0].str()) from None
    events = 0
    for place in committed:
        end = goal[place.topic][place.partition]
        if place.offset < 0 < end:
            return Behind(None)
        lag = end - max(0, place.offset)
        if 0 < lag <= _MARKS:
            rest = {place.partition: (place.offset, end)}
            lag = sum(1 for _ in messages(consumer, kafka, place.topic, rest))
        events += max(0, lag)
    return Behind(events)


def uncommitted(pipeline: Pipeline) -> int | None:
    """How many events of its topics the job has not committed; None where that can't be asked, or isn't known."""
    kafka = pipeline.kafka
    try:
        with reading(kafka, group_of(pipeline)) as consumer:
            return behind(consumer, kafka, goals(consumer, kafka, named(kafka, topics_there(kafka) or ()))).events
    except (Unavailable, ConfigError):
        return None


def goals(consumer: Consumer, kafka: Kafka, topics: Sequence[str]) -> dict[str, dict[int, int]]:
    """Where each partition that holds anything ends now. Raises Unavailable."""
    return {
        topic: {number: end for number, (first, end) in ends(consumer, kafka, topic).items() if end > first}
        for topic in topics
    }
