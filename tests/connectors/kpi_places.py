"""The places of KPIs' rows, each on its real server, and what they hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import uuid4

import httpx
import psycopg
from psycopg import sql

from connectors.kafka.kpis import KafkaKpis
from connectors.opensearch.kpis import OpenSearchKpis
from connectors.postgres.kpis.store import PostgresKpis
from core.config.staging import StagedTopic
from core.config.store import OpenSearch
from core.stores.kpis import KpiStore, KpiTable
from tests.connectors.servers import Server, new_schema
from tests.topics import consume

Rows = dict[tuple[Any, ...], dict[str, Any]]


class Opening(Protocol):
    """A store on a place; nothing is connected yet."""

    def __call__(self, tables: Mapping[str, KpiTable], pipeline: str = "feedback") -> KpiStore: ...


@dataclass(frozen=True)
class KpiPlace:
    """A place that no other test uses.

    held   the rows of a table there, by their keys, as JSON has them
    away   a store whose server isn't there
    named  what its messages call the place
    """

    open: Opening
    held: Callable[[KpiTable], Rows]
    away: Callable[[Mapping[str, KpiTable]], KpiStore]
    named: str
    settings: dict[str, Any] = field(default_factory=dict)


def postgres(server: Server) -> KpiPlace:
    """A schema."""
    dsn = new_schema(server.dsn)

    def held(table: KpiTable) -> Rows:
        with psycopg.connect(dsn) as connection:
            query = sql.SQL("SELECT row_to_json(t) FROM {} t").format(sql.Identifier(f"feedback_{table.name}"))
            return by_key(table, [row for (row,) in connection.execute(query).fetchall()])

    nobody = "postgresql://u@127.0.0.1:1/d"
    return KpiPlace(
        lambda tables, pipeline="feedback": PostgresKpis(dsn, pipeline, tables, 30.0),
        held,
        lambda tables: PostgresKpis(nobody, "feedback", tables, 0.2),
        "store.postgres",
    )


def opensearch(server: Server) -> KpiPlace:
    """The beginning of indexes' names."""
    url = f"http://{server.address}"
    target = OpenSearch(hosts=(url,), index=f"test-{uuid4().hex[:12]}")

    def held(table: KpiTable) -> Rows:
        index = f"{url}/{target.index}_{table.name}"
        httpx.post(f"{index}/_refresh").raise_for_status()
        hits = httpx.get(f"{index}/_search", params={"size": 1000}).raise_for_status().json()["hits"]["hits"]
        return by_key(table, [hit["_source"] for hit in hits])

    nobody = OpenSearch(hosts=("http://127.0.0.1:1",), index="x")
    return KpiPlace(
        lambda tables, pipeline="feedback": OpenSearchKpis(target, pipeline, tables, 30.0),
        held,
        lambda tables: OpenSearchKpis(nobody, "feedback", tables, 0.2),
        "store.opensearch",
        {"url": url, "index": target.index},
    )


def kafka(server: Server) -> KpiPlace:
    """The beginning of topics' names."""
    target = topic(server.address, f"test-{uuid4().hex[:12]}")

    def held(table: KpiTable) -> Rows:
        last: dict[bytes, bytes | None] = {}
        for record in consume(server.address, f"{target.topic}.{table.name}"):
            assert record.key is not None
            last[record.key] = record.value
        rows = [json.loads(value) for value in last.values() if value is not None]
        assert [json.loads(key) for key, value in last.items() if value is not None] == [
            {column: row[column] for column in table.key} for row in rows
        ]
        return by_key(table, rows)

    return KpiPlace(
        lambda tables, pipeline="feedback": KafkaKpis(target, pipeline, tables, 30.0),
        held,
        lambda tables: KafkaKpis(topic("127.0.0.1:1", "x"), "feedback", tables, 0.2),
        "store.kafka",
        {"servers": server.address, "topic": target.topic},
    )


def topic(servers: str, name: str) -> StagedTopic:
    """Its settings."""
    return StagedTopic.model_validate({"topic": name, "properties.bootstrap.servers": servers, "partitions": 2})


def by_key(table: KpiTable, rows: list[dict[str, Any]]) -> Rows:
    """Rows by their keys, each of them once."""
    found = {tuple(row[column] for column in table.key): row for row in rows}
    assert len(found) == len(rows)
    return found


PLACES: dict[str, tuple[str, Callable[[Server], KpiPlace]]] = {
    "postgres": ("pgvector_server", postgres),
    "opensearch": ("opensearch_server", opensearch),
    "kafka": ("kafka_server", kafka),
}
"""By the names of the stores, with their servers' fixtures. The contract suite runs on each."""
