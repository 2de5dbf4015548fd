"""The topics of a staged store: made, followed to their ends, read at places, and written to.

A tombstone has headers: `position`, of the change that deleted the document, and `committed_ms` of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from connectors.kafka import clients, store_topics
from connectors.kafka.source import SILENT, login
from connectors.kafka.store_topics import AGAIN_S, ANSWER_S, LARGEST_MESSAGE, QUEUE_KIB
from connectors.kafka.topics import ends_of_partition
from connectors.patience import ONCE_MORE, Answer, for_seconds, patiently
from connectors.staged.log import OfDocument, OfLedger, Sent
from core.change import Position
from core.config.staging import StagedTopic
from core.errors import ConfigError, StoreGone
from core.stores.contract import Stood
from core.stores.staged import Place

SETTING = "store.kafka"

_FETCH_MS = 20
_POSITION, _COMMITTED = "position", "committed_ms"

Headers = tuple[tuple[str, bytes], ...]


class KafkaLog:
    """A topic of documents and its ledger, `<topic>-ledger`: a `connectors.staged.log.Log`."""

    setting = SETTING
    readable_at_once = 2**31
    rest_s = 0.0

    def __init__(self, target: StagedTopic, patience_s: float) -> None:
        self._target = target
        self._kafka = target.kafka
        self.topic, self.ledger = target.topic, f"{target.topic}-ledger"
        self.place = f"{SETTING}.topic: {target.topic}"
        self.largest_record = target.largest_record
        self._patience_s = patience_s
        self._producer: Producer | None = None
        self._consumer: Consumer | None = None
        self._seeker: Consumer | None = None
        self._asker: Consumer | None = None
        self._next: dict[tuple[str, int], int] = {}

    def once(self, call: Callable[[], Answer]) -> Answer:
        """See `Log.once`."""
        return patiently(lambda: self._meant(call), ONCE_MORE, of="kafka")

    def patiently(self, call: Callable[[], Answer]) -> Answer:
        """See `Log.patiently`."""
        return patiently(lambda: self._meant(call), for_seconds(self._patience_s), of="kafka")

    def _meant(self, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except KafkaException as error:
            raise self.meaning(error.args[0]) from error

    def meaning(self, error: KafkaError) -> Exception:
        """What an error of Kafka's is, in our words."""
        servers = self._kafka.bootstrap_servers
        if error.code() in store_topics.NO_TOPIC and store_topics.stay_gone(self._are_there):
            return StoreGone(
                [
                    f"{SETTING}.topic: Kafka at {servers} has no {self.topic}, or no {self.ledger} ({error.str()}): "
                    "where it was deleted, delete the other too, and `freshet run pipeline.yaml --rebuild` makes both"
                ]
            )
        return store_topics.meaning(self._kafka, SETTING, error)

    def _are_there(self) -> bool:
        return self.partitions().keys() == {self.topic, self.ledger}

    def partitions(self) -> Mapping[str, int]:
        """How many partitions the topics have; a topic that isn't there is left out."""
        asker = self._asker = self._asker or self._made()
        there = asker.list_topics(timeout=ANSWER_S).topics
        return {name: len(there[name].partitions) for name in (self.topic, self.ledger) if name in there}

    def _has_records(self, partitions: int) -> bool:
        asker = self._asker = self._asker or self._made()
        all_ends = (ends_of_partition(asker, TopicPartition(self.topic, at)) for at in range(partitions))
        return any(first < end for first, end in all_ends)

    def make(self) -> None:
        """Make what is missing, compacted. Raises KafkaException, ConfigError where what is there doesn't fit."""
        self._make()
        self._check()

    def _make(self) -> None:
        there = self.partitions()
        # who makes both at this moment has written nothing yet
        if there.keys() == {self.topic} and self._has_records(there[self.topic]):
            raise ConfigError([self._without_ledger()])
        room = str(max(self._target.largest_record + 2_000, 1_048_588))
        compacted = {**store_topics.COMPACTED, "max.message.bytes": room}
        wanted = {self.topic: self._target.partitions, self.ledger: 1}
        new = [NewTopic(name, number, config=compacted) for name, number in wanted.items() if name not in there]
        if new:
            store_topics.make(self._kafka, new, self._are_there)

    def look(self) -> bool:
        """See `Log.look`. Raises KafkaException, ConfigError also where one of both is there alone."""
        there = self.partitions()
        if there.keys() == {self.topic}:
            raise ConfigError([self._without_ledger()])
        if there.keys() == {self.ledger}:
            why = f"{self.ledger} is there without {self.topic}, and would refuse as late what {self.topic} has lost"
            raise ConfigError([f"{SETTING}.topic: {why}: delete {self.ledger} too, or name another topic"])
        if there:
            self._check()
        return bool(there)

    def _without_ledger(self) -> str:
        return (
            f"{SETTING}.topic: {self.topic} is there without {self.ledger}: someone else's, or the ledger was deleted: "
            "name another topic, or, if only this pipeline wrote to it, delete it too"
        )

    def _check(self) -> None:
        for topic in (self.topic, self.ledger):
            there = self.settings(topic)
            if "compact" not in there.get("cleanup.policy", ""):
                raise ConfigError(
                    [
                        f"{SETTING}.topic: {topic} has cleanup.policy {there.get('cleanup.policy')}, must be compact: "
                        "documents that don't change for long would be gone"
                    ]
                )
            room = int(there.get("max.message.bytes", 1_048_588))
            if room < self.largest_record:
                raise ConfigError(
                    [
                        f"{SETTING}.largest_record is {self.largest_record}, and {topic} takes "
                        f"max.message.bytes of {room}: set either"
                    ]
                )

    def settings(self, topic: str) -> Mapping[str, str]:
        """A topic's configuration."""
        return store_topics.settings(self._kafka, topic)

    def _reader(self) -> Consumer:
        if self._consumer is None:
            self._consumer = self._made()
        return self._consumer

    def _made(self) -> Consumer:
        return clients.consumer(
            {
                **login(self._kafka),
                "group.id": "freshet-staged",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": _FETCH_MS,
                "queued.max.messages.kbytes": QUEUE_KIB,
                "fetch.message.max.bytes": LARGEST_MESSAGE,
                "allow.auto.create.topics": False,
                **SILENT,
            }
        )

    def new(self) -> Iterator[OfDocument | OfLedger]:
        """See `Log.new`: each partition of both topics in order.

        Raises KafkaException, also where a topic is gone; what was yielded until then isn't read again.
        """
        for message in self._new():
            key, value = message.key() or b"", message.value()
            if message.topic() == self.ledger:
                yield OfLedger(key, value)
                continue
            try:
                deleted = _deleted(message.headers() or ())
            except ValueError:
                continue  # not ours: whoever wrote it
            yield OfDocument(key, value, deleted, (message.partition(), message.offset()))

    def _new(self) -> Iterator[Any]:
        consumer = self._reader()
        if not self._next:
            there = self.partitions()
            for name in (self.topic, self.ledger):
                if name not in there:
                    raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
                self._next |= {(name, at): 0 for at in range(there[name])}
            consumer.assign([TopicPartition(name, at, 0) for name, at in self._next])
        # of a client that fetches nothing: a broker answers a connection's requests one after the other, and a fetch of
        # nothing new waits there
        asker = self._asker = self._asker or self._made()
        ends = {at: ends_of_partition(asker, TopicPartition(*at))[1] for at in self._next}
        while left := [at for at, end in ends.items() if self._next[at] < end]:
            message = consumer.poll(ANSWER_S)
            if message is None:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            at = (message.topic(), message.partition())
            error = message.error()
            if error is None:
                self._next[at] = message.offset() + 1
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                self._next[at] = max(self._next[at], message.offset())
            elif at in left or error.code() in store_topics.NO_TOPIC:
                raise KafkaException(error)

    def keeps(self, place: Place) -> bool:
        """See `Log.keeps`: compaction leaves the last record of each key."""
        return True

    def fading(self) -> Sequence[bytes]:
        """See `Log.fading`: none."""
        return ()

    def at(self, places: Sequence[Place]) -> dict[Place, bytes]:
        """See `Log.at`. Raises KafkaException."""
        found: dict[Place, bytes] = {}
        consumer = self._seeker = self._seeker or self._made()
        for partition, offset in sorted(places):
            consumer.assign([TopicPartition(self.topic, partition, offset)])
            message = store_topics.polled(consumer)
            if message.offset() == offset:
                found[partition, offset] = message.value()
        consumer.unassign()
        return found

    def all(self) -> Iterator[tuple[Place, bytes | None]]:
        """See `Log.all`: of the topic. Raises Unavailable, ConfigError."""
        try:
            yield from self._all()
        except KafkaException as error:
            raise self.meaning(error.args[0]) from error

    def _all(self) -> Iterator[tuple[Place, bytes | None]]:
        consumer = self._made()
        try:
            for partition in range(self.partitions().get(self.topic, 0)):
                start = TopicPartition(self.topic, partition, 0)
                consumer.unassign()
                end = ends_of_partition(consumer, start)[1]
                consumer.assign([start])
                at = 0
                while at < end:
                    message = consumer.poll(ANSWER_S)
                    if message is None:
                        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
                    if message.error() is None:
                        at = message.offset() + 1
                        yield (partition, message.offset()), message.value()
                    elif message.error().code() == KafkaError._PARTITION_EOF:
                        break
                    else:
                        raise KafkaException(message.error())
        finally:
            consumer.close()

    def append(self, document_id: str, sent: Sequence[Sent]) -> None:
        """See `Log.append`: all go to the partition of the document. Raises KafkaException."""
        partition = zlib.crc32(document_id.encode()) % self.partitions_of(self.topic)
        for key, value, by in sent:
            self._queue(self.topic, partition, key, value, () if by is None else _headers(by))

    def note(self, key: bytes, value: bytes | None) -> None:
        """See `Log.note`. Raises KafkaException."""
        self._queue(self.ledger, 0, key, value, ())

    def partitions_of(self, topic: str) -> int:
        """As they are known since both were read."""
        return max(1, sum(name == topic for name, _ in self._next))

    def _queue(self, topic: str, partition: int, key: bytes, value: bytes | None, headers: Headers) -> None:
        producer = self._writer()
        while True:
            try:
                producer.produce(topic, value, key, partition, headers=list(headers))
            except BufferError:
                producer.poll(AGAIN_S)
            else:
                producer.poll(0)
                return

    def flush(self) -> None:
        """See `Log.flush`. Raises KafkaException; nothing is queued any more then."""
        producer = self._writer()
        producer.flush(self._patience_s + ANSWER_S)
        left, failed = len(producer), self._failed
        if failed is None and left:
            failed = KafkaError(KafkaError._TIMED_OUT)
        if failed is not None:
            producer.purge()
            self._producer = None
            raise KafkaException(failed)

    def _writer(self) -> Producer:
        if self._producer is None:
            self._failed: KafkaError | None = None
            self._producer = clients.producer(
                {
                    **login(self._kafka),
                    "enable.idempotence": True,
                    "linger.ms": 0,
                    "message.max.bytes": LARGEST_MESSAGE,
                    "compression.type": "zstd",
                    "delivery.timeout.ms": max(2_000, round(self._patience_s * 1000)),
                    "queue.buffering.max.kbytes": QUEUE_KIB,
                    "on_delivery": self._note,
                    **SILENT,
                }
            )
        return self._producer

    def _note(self, error: KafkaError | None, _: Any) -> None:
        if error is not None and self._failed is None:
            self._failed = error

    def close(self) -> None:
        """Give connections back."""
        for consumer in (self._consumer, self._seeker, self._asker):
            if consumer is not None:
                consumer.close()
        self._consumer = self._seeker = self._asker = self._producer = None
        self._next = {}


def _headers(by: Stood) -> Headers:
    position = (_POSITION, by.position.encode())
    return (position,) if by.committed_ms is None else (position, (_COMMITTED, b"%d" % by.committed_ms))


def _deleted(headers: Headers) -> Stood | None:
    """Which change deleted a document, as a tombstone says. Raises ValueError where that is no text, or no number."""
    said = dict(headers)
    if _POSITION not in said:
        return None
    committed = said.get(_COMMITTED)
    return Stood(Position(said[_POSITION].decode()), None if committed is None else int(committed))
