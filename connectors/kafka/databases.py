"""Of which databases the events are that topics have."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from confluent_kafka import Consumer

from connectors.kafka import source as kafka
from connectors.kafka.topics import ends, messages, reading
from core.config.source import Kafka
from core.formats.debezium.source import server, source_block, source_name, table_of

_LOOKING_S = 10.0
_AT_EACH_END = 5


@dataclass(frozen=True, slots=True)
class Databases:
    """What the first and the last events of each topic tell.

    first, last  table to the databases that they are of
    servers      UUIDs of MySQL's that the last ones are of
    unknown      what could not be asked, and why, a line each
    """

    first: Mapping[str, set[str]] = field(default_factory=dict)
    last: Mapping[str, set[str]] = field(default_factory=dict)
    servers: frozenset[str] = frozenset()
    unknown: tuple[str, ...] = ()


def databases(source: Kafka) -> Databases:
    """Look at the ends of a source's topics; nothing for a login that only Java clients know. Raises Unavailable."""
    if kafka.client_options(source) is None:
        return Databases()
    first: dict[str, set[str]] = {}
    last: dict[str, set[str]] = {}
    servers: set[str] = set()
    unknown: tuple[str, ...] = ()
    deadline = time.monotonic() + _LOOKING_S
    with reading(source) as consumer:
        for topic in kafka.check(source):
            if time.monotonic() > deadline:
                unknown = (f"topic {topic} and those behind it took too long to look at: whose they are",)
                break
            for block in _blocks(consumer, source, topic, at_end=False):
                first.setdefault(table_of(block), set()).add(source_name(block))
            for block in _blocks(consumer, source, topic, at_end=True):
                last.setdefault(table_of(block), set()).add(source_name(block))
                servers.add(server(block))
    return Databases(first, last, frozenset(servers - {""}), unknown)


def _blocks(consumer: Consumer, source: Kafka, topic: str, at_end: bool) -> Iterator[dict[str, object]]:
    """The source blocks of the first partition's first or last events that have any."""
    for partition, (first, end) in ends(consumer, source, topic).items():
        at = (max(first, end - _AT_EACH_END), end) if at_end else (first, min(end, first + _AT_EACH_END))
        found = [source_block(message.value) for message in messages(consumer, source, topic, {partition: at})]
        blocks = [dict(block) for block in found if block]
        if blocks:
            yield from blocks
            return
