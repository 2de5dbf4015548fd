"""Which log a source's topics are: each topic's id and partitions, as its cluster tells them."""

from __future__ import annotations

from confluent_kafka import KafkaException, TopicCollection

from connectors.kafka import clients as kafka_clients
from connectors.kafka import source as kafka
from core.config.log_identity import LogIdentity
from core.config.source import Kafka

_ANSWER_S = 10.0
_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"


def of_topics(order: str, source: Kafka) -> LogIdentity:
    """What `order` orders the changes of: each topic's id, "" for one that is named and isn't there, and partitions.

    Nothing for a login that only Java clients know; no ids of brokers before 2.8. Raises Unavailable.
    """
    client = kafka.client_options(source)
    if client is None:
        return LogIdentity(order)
    there = kafka.check(source)
    named = [] if source.topic is None else source.topic.split(";")
    gone = {f"topic {name}": "" for name in named if name not in there}
    if not there:
        return LogIdentity(order, gone)
    try:
        admin = kafka_clients.admin({**client, "socket.timeout.ms": 5000, **kafka.SILENT})
        asked = admin.describe_topics(TopicCollection(there), request_timeout=_ANSWER_S)
        topics = {f"topic {name}": described.result(_ANSWER_S) for name, described in asked.items()}
    except KafkaException as error:
        raise kafka.unavailable(source, error.args[0].str()) from None
    except TimeoutError:
        raise kafka.unavailable(source, f"no answer within {_ANSWER_S:.0f} s") from None
    ids = {name: str(topic.topic_id) for name, topic in topics.items()}
    known = {name: each for name, each in ids.items() if each != _NO_ID}
    return LogIdentity(order, gone | known, partitions={name: len(topic.partitions) for name, topic in topics.items()})
