"""Messages into Kafka topics, in order: for recordings and generated events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from connectors.kafka import clients as kafka_clients
from core.errors import ConfigError, Unavailable
from core.formats.recordings import Record

MAX_RECORD_BYTES = 32 * 1024 * 1024
"""The largest record sent, and what topics made here take; Kafka's own default is 1 MiB."""

_ANSWER_SECONDS = 8.0
_LOOK_EVERY_S = 0.1
_DELIVERY_SECONDS = 30
_QUEUE_KIB = 256 * 1024


@dataclass(frozen=True, slots=True)
class Sent:
    """What a server acknowledged. `bytes` counts keys and values."""

    events: int
    bytes: int
    topics: int
    seconds: float


@dataclass(slots=True)
class _Failures:
    """What librdkafka reports from its own threads: the last trouble with a server, the first undelivered message.

    cluster  its options for the cluster's address and login
    """

    cluster: Mapping[str, Any]
    server: str = ""
    undelivered: tuple[KafkaError, str] | None = None

    def note_server(self, error: KafkaError) -> None:
        self.server = error.str()

    def note_delivery(self, error: KafkaError | None, message: Any) -> None:
        if error is not None and self.undelivered is None:
            self.undelivered = (error, message.topic())

    def meaning(self, reason: str) -> Unavailable | ConfigError:
        """The error of a cluster that doesn't answer, or refuses the login, which is asked for 5 s at most."""
        servers = self.cluster["bootstrap.servers"]
        if said := kafka_clients.refused_login(self.cluster):
            return ConfigError(
                [f"Kafka at {servers} refuses the login ({said}): correct it in source.kafka, or where else it stands"]
            )
        return Unavailable(
            f"no Kafka server answers at {servers} ({self.server or reason}): "
            "start it, or set --bootstrap-servers to one that runs"
        )


def ensure_topics(bootstrap_servers: str, partitions: Mapping[str, int]) -> None:
    """Make the topics that are missing, each with its number of partitions and room for records of 32 MiB.

    They are there for whoever asks next: a topic is made by the controller, and the other servers hear of it later.
    Raises Unavailable where no server answers within 8 s, one can't make a topic, or none has heard of one by then,
    ConfigError where a topic is there with fewer partitions.
    """
    failures = _Failures({"bootstrap.servers": bootstrap_servers})
    admin = kafka_clients.admin(_settings(failures))
    there = _topics(admin, failures)
    short = [
        f"topic {topic} has {len(there[topic].partitions)} partitions, {count} are needed: "
        f"delete the topic, or add partitions to it"
        for topic, count in partitions.items()
        if topic in there and len(there[topic].partitions) < count
    ]
    if short:
        raise ConfigError(short)
    _create(admin, {topic: count for topic, count in partitions.items() if topic not in there})
    deadline = time.monotonic() + _ANSWER_SECONDS
    while lacking := partitions.keys() - _topics(admin, failures).keys():
        if time.monotonic() > deadline:
            raise Unavailable(f"{bootstrap_servers} hasn't heard of topic {min(lacking)} yet, which was made")
        time.sleep(_LOOK_EVERY_S)


def _topics(client: AdminClient | Producer, failures: _Failures) -> Mapping[str, Any]:
    try:
        topics: Mapping[str, Any] = client.list_topics(timeout=_ANSWER_SECONDS).topics
    except KafkaException as error:
        client.poll(0)
        raise failures.meaning(error.args[0].str()) from error
    return topics


def _create(admin: AdminClient, missing: Mapping[str, int]) -> None:
    if not missing:
        return
    config = {"max.message.bytes": str(MAX_RECORD_BYTES)}
    wanted = [NewTopic(topic, num_partitions=count, config=config) for topic, count in missing.items()]
    for topic, made in admin.create_topics(wanted, operation_timeout=_ANSWER_SECONDS).items():
        try:
            made.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise Unavailable(f"topic {topic} could not be made: {error.args[0].str()}") from error


def produce(
    bootstrap_servers: str,
    records: Iterable[Record],
    on_sent: Callable[[Record], object] = lambda record: None,
    login: Mapping[str, Any] | None = None,
    packed: bool = False,
) -> Sent:
    """Write the records in order, and return once the server has acknowledged every one.

    Each record leaves at once, so that an iterable which waits between records sets the pace. Retries neither reorder
    nor repeat (an idempotent producer). `on_sent` is called as each record is queued. The topics must be there.
    `login` has librdkafka's options for a cluster that asks who comes. `packed` compresses, so that a topic takes again
    what it took compressed.
    Raises Unavailable where the server stops answering for 30 s, ConfigError where it refuses a record or the login.
    """
    sender = Sender(bootstrap_servers, login, packed)
    started = time.monotonic()
    events = size = 0
    topics = set()
    for record in records:
        sender.put(record)
        on_sent(record)
        events += 1
        size += len(record.key or b"") + len(record.value or b"")
        topics.add(record.topic)
    sender.flush()
    return Sent(events, size, len(topics), time.monotonic() - started)


class Sender:
    """As `produce`, for repeated sending: `flush` says when the server has all so far."""

    def __init__(self, bootstrap_servers: str, login: Mapping[str, Any] | None = None, packed: bool = False) -> None:
        """Connects. Raises Unavailable where no server answers within 8 s, ConfigError where one refuses the login."""
        self._failures = _Failures({**(login or {}), "bootstrap.servers": bootstrap_servers})
        self._producer = _producer(packed, self._failures)
        # a producer that has no connection yet holds its first record for 0.5 s
        _topics(self._producer, self._failures)

    def put(self, record: Record) -> None:
        """Queue a record. Raises as `produce` does, also for one that was queued before."""
        _enqueue(self._producer, record)
        _check(self._failures)

    def flush(self) -> None:
        """Wait until the server has acknowledged every record. Raises as `produce` does."""
        while self._producer.flush(0.5):
            _check(self._failures)
        _check(self._failures)


def _producer(packed: bool, failures: _Failures) -> Producer:
    return kafka_clients.producer(
        _settings(failures)
        | {
            "enable.idempotence": True,
            "linger.ms": 0,
            "partitioner": "murmur2_random",  # the Java clients' own, so that a key lands where Debezium puts it
            "message.max.bytes": MAX_RECORD_BYTES,
            "compression.type": "gzip" if packed else "none",
            "delivery.timeout.ms": _DELIVERY_SECONDS * 1000,
            "queue.buffering.max.kbytes": _QUEUE_KIB,
            "on_delivery": failures.note_delivery,
        }
    )


def _enqueue(producer: Producer, record: Record) -> None:
    message: dict[str, Any] = {"key": record.key, "value": record.value, "headers": list(record.headers)}
    if record.partition is not None:
        message["partition"] = record.partition
    while True:
        try:
            producer.produce(record.topic, **message)
        except BufferError:  # the queue is full until the server has taken some
            producer.poll(0.1)
        except KafkaException as error:
            raise ConfigError([_refused(record.topic, error.args[0])]) from error
        else:
            producer.poll(0)
            return


def _check(failures: _Failures) -> None:
    if failures.undelivered is None:
        return
    error, topic = failures.undelivered
    if error.code() in (KafkaError._MSG_TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
        raise failures.meaning(error.str())
    raise ConfigError([_refused(topic, error)])


def _refused(topic: str, error: KafkaError) -> str:
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return f"a record is larger than topic {topic} takes: raise its max.message.bytes ({MAX_RECORD_BYTES} at most)"
    return f"topic {topic} refuses a record: {error.str()}"


def _settings(failures: _Failures) -> dict[str, Any]:
    # log_level 0: librdkafka would print to stderr what `error_cb` hands over anyway
    return {**failures.cluster, "error_cb": failures.note_server, "log_level": 0}
