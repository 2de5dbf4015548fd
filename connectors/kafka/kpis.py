"""KPIs of conversations as changelogs in Kafka: a compacted topic each, `<topic>.<kpi>`.

A record has the row's key as its key and the row as its value, both JSON; a row that is gone is a tombstone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from connectors.kafka import clients, store_topics
from connectors.kafka.source import SILENT, login
from connectors.kafka.store_topics import AGAIN_S, ANSWER_S, LARGEST_MESSAGE, QUEUE_KIB
from connectors.kafka.topics import ends_of_partition
from connectors.patience import ONCE_MORE, Answer, for_seconds, patiently
from connectors.reaching import unreachable
from core.config.staging import StagedTopic
from core.errors import ConfigError, StoreGone, StoreRejected
from core.plans import Outcome, Status, rejected
from core.stores.kpi_json import json_row
from core.stores.kpis import KpiChange, KpiTable, last_of, row_name

_SETTING = "store.kafka"
_PIPELINE = "freshet.pipeline"
_LEAST_MS = 2_000
_RECORDS_OWN = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE, KafkaError.INVALID_RECORD)

Failures = dict[int, KafkaError]
"""Why records weren't taken, by their places in the batch."""

Delivered = Callable[[KafkaError | None, Any], None]
Put = Callable[[Delivered], None]
"""Queues a record; what comes of it is called with its error, or None."""


class KafkaKpis:
    """A `KpiStore`. Each record has the header `freshet.pipeline`, by which a topic of another pipeline is known."""

    def __init__(
        self, target: StagedTopic, pipeline: str, tables: Mapping[str, KpiTable], patience_s: float = 30.0
    ) -> None:
        """As `connectors.postgres.kpis.store.PostgresKpis`. Connects to nothing."""
        self._target, self._pipeline, self._tables, self._patience_s = target, pipeline, tables, patience_s
        self._names = {name: f"{target.topic}.{name}" for name in tables}
        self._producer: Producer | None = None
        self._headers = [(_PIPELINE, pipeline.encode())]

    @property
    def place(self) -> str:
        """See `KpiStore.place`."""
        return f"topics {self._target.topic}.…"

    def prepare(self) -> None:
        """See `KpiStore.prepare`. Doesn't wait for a server that is away."""
        patiently(lambda: self._meant(self._prepare), ONCE_MORE, of="kafka")

    def look(self) -> bool:
        """See `KpiStore.look`."""
        return patiently(lambda: self._meant(lambda: not self._missing()), ONCE_MORE, of="kafka")

    def _meant(self, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except KafkaException as error:
            raise self._meaning(error.args[0]) from error

    def _meaning(self, error: KafkaError) -> Exception:
        at = f"Kafka at {self._target.bootstrap_servers}"
        if error.code() in store_topics.NO_TOPIC and self._stay_gone():
            return StoreGone(
                [
                    f"{_SETTING}.topic: {at} has not all topics of the KPIs any more ({error.str()}): `freshet run "
                    "pipeline.yaml --rebuild` makes them, and counts all anew"
                ]
            )
        return store_topics.meaning(self._target.kafka, _SETTING, error)

    def _stay_gone(self) -> bool:
        consumer = self._reader()
        try:
            return store_topics.stay_gone(lambda: self._are_there(consumer))
        finally:
            consumer.close()

    def _prepare(self) -> None:
        missing = self._missing()
        partitions, config = self._target.partitions, store_topics.COMPACTED
        new = [NewTopic(self._names[each], partitions, config=config) for each in missing]
        if not new:
            return
        consumer = self._reader()
        try:
            store_topics.make(self._target.kafka, new, lambda: self._are_there(consumer))
        finally:
            consumer.close()

    def _are_there(self, consumer: Consumer) -> bool:
        there: set[str] = set(consumer.list_topics(timeout=ANSWER_S).topics)
        return there.issuperset(self._names.values())

    def _missing(self) -> list[str]:
        """The KPIs whose topics aren't there. Raises ConfigError where one is there and doesn't fit."""
        if why := unreachable(self._target.servers):  # a client would try for long
            raise store_topics.away(self._target.kafka, _SETTING, why)
        consumer = self._reader()
        try:
            found = consumer.list_topics(timeout=ANSWER_S).topics
            for name in self._names.values():
                if name in found:
                    self._check(consumer, name, len(found[name].partitions))
            return [kpi for kpi, name in self._names.items() if name not in found]
        finally:
            consumer.close()

    def _check(self, consumer: Consumer, topic: str, partitions: int) -> None:
        policy = store_topics.settings(self._target.kafka, topic)["cleanup.policy"]
        if "compact" not in policy:
            raise ConfigError(
                [
                    f"{_SETTING}.topic: {topic} has cleanup.policy {policy}, must be compact: rows that don't change "
                    "for long would be gone. Set it, or name another topic"
                ]
            )
        for at in range(partitions):
            owner = self._owner(consumer, TopicPartition(topic, at))
            if owner not in (None, self._pipeline):
                whose = f"has rows of the pipeline {owner}" if owner else "has records that are no KPI's"
                raise ConfigError([f"{_SETTING}.topic: {topic} {whose}: name another topic, or delete it"])

    def empty(self) -> None:
        """See `KpiStore.empty`: each row that is there gets a tombstone. Doesn't wait for a server that is away."""
        patiently(lambda: self._meant(self._empty), ONCE_MORE, of="kafka")

    def _empty(self) -> None:
        consumer = self._reader()
        try:
            found = consumer.list_topics(timeout=ANSWER_S).topics
            for topic in set(self._names.values()) & found.keys():
                partitions = len(found[topic].partitions)
                self._check(consumer, topic, partitions)
                for at in range(partitions):
                    living = _living(consumer, TopicPartition(topic, at))
                    self._deliver([partial(self._put, topic, key, None) for key in living])
        finally:
            consumer.close()

    def _owner(self, consumer: Consumer, partition: TopicPartition) -> str | None:
        """Whose the partition's last record is, "" where it doesn't say so; None where there is none."""
        first, end = ends_of_partition(consumer, partition)
        if first == end:
            return None
        consumer.assign([TopicPartition(partition.topic, partition.partition, end - 1)])
        message = store_topics.polled(consumer)
        consumer.unassign()
        owner: bytes = dict(message.headers() or ()).get(_PIPELINE, b"")
        return owner.decode(errors="replace")

    def apply(self, changes: Sequence[KpiChange]) -> list[Outcome]:
        """See `KpiStore.apply`: what is sent again comes to the same rows."""
        last = last_of(self._tables, changes)
        return patiently(lambda: self._meant(lambda: self._send(last)), for_seconds(self._patience_s), of="kafka")

    def _send(self, changes: Sequence[KpiChange]) -> list[Outcome]:
        refused: dict[int, Exception] = {}
        ready: dict[int, Put] = {}
        for at, each in enumerate(changes):
            try:
                made = json_row(self._tables[each.kpi], each)
            except ValueError as error:
                refused[at] = error
            else:
                ready[at] = partial(self._put, self._names[each.kpi], made.key, None if each.gone else made.row)
        failed = self._deliver(list(ready.values()))
        places = list(ready)
        refused |= {places[at]: StoreRejected(f"Kafka refuses it: {why.str()}") for at, why in failed.items()}
        return [self._outcome(each, refused.get(at)) for at, each in enumerate(changes)]

    def _deliver(self, puts: Sequence[Put]) -> Failures:
        """Have the server take records; why it never takes some. Raises KafkaException; then none comes later."""
        producer, failures = self._writer(), Failures()
        for at, put in enumerate(puts):
            put(partial(_note, failures, at))
        producer.flush(self._patience_s + ANSWER_S)
        lost = [each for each in failures.values() if each.code() not in _RECORDS_OWN]
        if lost or len(producer):
            producer.purge()
            self._producer = None
            raise KafkaException(lost[0] if lost else KafkaError(KafkaError._TIMED_OUT))
        return failures

    def _put(self, topic: str, key: bytes, value: bytes | None, delivered: Delivered) -> None:
        producer = self._writer()
        while True:
            try:
                producer.produce(topic, value, key, on_delivery=delivered, headers=self._headers)
            except BufferError:  # the queue is full until the server has taken some
                producer.poll(AGAIN_S)
            except KafkaException as error:
                delivered(error.args[0], None)
                return
            else:
                producer.poll(0)
                return

    def _outcome(self, change: KpiChange, error: Exception | None) -> Outcome:
        name = row_name(self._tables[change.kpi], change)
        return Outcome(name, Status.APPLIED) if error is None else rejected(name, error)

    def _writer(self) -> Producer:
        if self._producer is None:
            self._producer = clients.producer(
                {
                    **login(self._target.kafka),
                    "enable.idempotence": True,
                    "linger.ms": 5,
                    "partitioner": "murmur2_random",  # the Java clients' own, so that others find a row by its key
                    "message.max.bytes": LARGEST_MESSAGE,
                    "compression.type": "zstd",
                    "delivery.timeout.ms": max(_LEAST_MS, round(self._patience_s * 1000)),
                    "queue.buffering.max.kbytes": QUEUE_KIB,
                    **SILENT,
                }
            )
        return self._producer

    def _reader(self) -> Consumer:
        return clients.consumer(
            {
                **login(self._target.kafka),
                "group.id": "freshet-kpis",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.message.max.bytes": LARGEST_MESSAGE,
                "allow.auto.create.topics": False,
                **SILENT,
            }
        )

    def close(self) -> None:
        """Give connections back."""
        self._producer = None


def _note(failures: Failures, at: int, error: KafkaError | None, _: Any) -> None:
    if error is not None:
        failures[at] = error


def _living(consumer: Consumer, partition: TopicPartition) -> list[bytes]:
    """The keys of a partition whose last record is no tombstone. Raises KafkaException."""
    at, end = ends_of_partition(consumer, partition)
    last: dict[bytes, bool] = {}
    consumer.assign([TopicPartition(partition.topic, partition.partition, at)])
    while at < end:
        message = store_topics.polled(consumer)
        at = message.offset() + 1
        last[message.key() or b""] = message.value() is not None
    consumer.unassign()
    return [key for key, lives in last.items() if lives]
