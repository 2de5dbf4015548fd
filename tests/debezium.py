"""A real Debezium on a table of a test's own."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import uuid4

import httpx
import psycopg
from confluent_kafka import KafkaException

from core.change import Event
from stack.local import Stack
from tests.topics import consume

_PATIENCE_S = 60.0


def converters(schemas: bool) -> dict[str, str]:
    """The JSON converter for keys and values, with schemas or without."""
    options = {"": "org.apache.kafka.connect.json.JsonConverter", ".schemas.enable": str(schemas).lower()}
    return {f"{kind}.converter{option}": value for kind in ("key", "value") for option, value in options.items()}


@contextmanager
def connector(
    stack: Stack, dsn: str, settings: Mapping[str, str], table: str = "public.things", partitions: int = 1
) -> Iterator[str]:
    """A connector with its own slot; its name, which is the prefix of its topics."""
    name = f"c{uuid4().hex[:8]}"
    config = {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": "127.0.0.1",
        "database.port": re.findall(r":(\d+)/", dsn)[0],
        "database.user": "freshet",
        "database.dbname": dsn.partition("?")[0].rpartition("/")[2],
        "topic.prefix": name,
        "table.include.list": table,
        "plugin.name": "pgoutput",
        "slot.name": name,
        "publication.name": name,
        "publication.autocreate.mode": "filtered",
        "poll.interval.ms": "20",
        "topic.creation.default.partitions": str(partitions),
        "topic.creation.default.replication.factor": "1",
        **settings,
    }
    try:
        httpx.put(f"{stack.connect.url}/connectors/{name}/config", json=config, timeout=30).raise_for_status()
        yield name
    finally:
        httpx.delete(f"{stack.connect.url}/connectors/{name}", timeout=30)
        _drop_slot(dsn, name)


def _drop_slot(dsn: str, name: str) -> None:
    dropping = (
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s AND NOT active"
    )
    deadline = time.monotonic() + _PATIENCE_S
    with psycopg.connect(dsn, autocommit=True) as connection:
        while not connection.execute(dropping, (name,)).fetchall() and time.monotonic() < deadline:
            time.sleep(0.1)


def events(stack: Stack, topic: str, count: int) -> list[Event]:
    """The topic's messages once there are `count`."""
    deadline = time.monotonic() + _PATIENCE_S
    found = []
    while time.monotonic() < deadline:
        try:
            found = consume(stack.kafka.bootstrap_servers, topic)
        except (KafkaException, KeyError):
            found = []
        if len(found) >= count:
            return [
                Event(topic, each.partition or 0, at, each.key, each.value, dict(each.headers))
                for at, each in enumerate(found)
            ]
        time.sleep(0.3)
    raise TimeoutError(f"{topic} has {len(found)} of {count} events")
