"""What a chaos run plays with: a database, topics, a connector and the pipeline's file, made anew for each act."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

import httpx
import psycopg
import yaml
from confluent_kafka.admin import AdminClient
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cli import run
from cli.chaos.writers import fill, perform
from cli.stack import Stack
from cli.stack.connect import register_postgres, remove_postgres
from connectors.kafka_producer import ensure_topics
from core.config import Pipeline
from core.config_file import load

ARTICLES, NOTES = "public.articles", "public.notes"
PARTITIONS = 3
MARKERS = 12
"""So many rows that each partition has some: what tells that a partition has been read so far."""

_TABLES = (
    """CREATE TABLE articles (
        id bigint PRIMARY KEY, title text, body text, lang text, updated_at timestamptz)""",
    """CREATE TABLE notes (tenant text, id int, body text, price numeric(10,2), PRIMARY KEY (tenant, id))""",
)
_MARK = (
    """INSERT INTO articles (id, title) SELECT -n, %s FROM generate_series(1, %s) AS n
       ON CONFLICT (id) DO UPDATE SET title = EXCLUDED.title""",
    """INSERT INTO notes (tenant, id, body) SELECT 'marker', n, %s FROM generate_series(1, %s) AS n
       ON CONFLICT (tenant, id) DO UPDATE SET body = EXCLUDED.body""",
)


@dataclass(frozen=True, slots=True)
class World:
    """Where an act's things are.

    name      of the database, the connector, the pipeline and the index; it starts the topics' names
    pipeline  as the job has it; `source` the same with the source to compare with
    """

    name: str
    stack: Stack
    file: Path
    pipeline: Pipeline
    source: Pipeline
    dsn: str

    @property
    def documents(self) -> list[str]:
        """The ids of the markers."""
        numbers = range(1, MARKERS + 1)
        return [*(f"{ARTICLES}/-{n}" for n in numbers), *(f"{NOTES}/marker/{n}" for n in numbers)]

    def topic(self, table: str) -> str:
        """The topic of a table's events."""
        return f"{self.name}.{table}"

    @property
    def group(self) -> str:
        """The consumer group in which the job says how far it is."""
        return f"freshet-{self.name}"


def make(stack: Stack, folder: Path, name: str, stores: tuple[str, ...], choices: Random) -> World:
    """Make the database with its first rows, the topics, the connector and the pipeline's file."""
    dsn = make_conninfo(stack.postgres.dsn, dbname=name)
    with psycopg.connect(stack.postgres.dsn, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with psycopg.connect(dsn) as connection:
        for table in _TABLES:
            connection.execute(table.encode())
        connection.commit()
        perform(connection, fill(choices))
    topics = {f"{name}.{table}": PARTITIONS for table in (ARTICLES, NOTES)}
    ensure_topics(stack.kafka.bootstrap_servers, {**topics, f"{name}.dead-letters": 1})
    register_postgres(stack.connect.url, name, dsn, name, (ARTICLES, NOTES), PARTITIONS)
    settings = _pipeline(stack, name, dsn, stores)
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    to_compare = folder / f"{name}-verify.yaml"
    to_compare.write_text(
        yaml.safe_dump({**settings, "reselect": {"postgres": {"dsn": dsn}}}, sort_keys=False), encoding="utf-8"
    )
    pipeline = load(file)
    for store in run.stores(pipeline).values():
        store.prepare()
        store.close()
    return World(name, stack, file, pipeline, load(to_compare), dsn)


def end(world: World) -> None:
    """Remove the connector, and what takes memory or log on the servers; topics stay to be read."""
    remove_postgres(world.stack.connect.url, world.name, world.dsn)
    with psycopg.connect(world.stack.postgres.dsn, autocommit=True) as server:
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(world.name)))
    topics = [world.topic(ARTICLES), world.topic(NOTES), f"{world.name}.dead-letters"]
    admin = AdminClient({"bootstrap.servers": world.stack.kafka.bootstrap_servers})
    for deleted in admin.delete_topics(topics).values():
        deleted.result()
    if world.pipeline.store.opensearch is not None:
        for host in world.pipeline.store.opensearch.hosts:
            httpx.delete(f"{host}/{world.name},{world.name}-ledger", timeout=30)


def mark(world: World, text: str) -> None:
    """Write `text` into the markers of both tables, in one transaction."""
    with psycopg.connect(world.dsn, connect_timeout=5) as connection:
        for statement in _MARK:
            connection.execute(statement.encode(), (text, MARKERS))


def _pipeline(stack: Stack, name: str, dsn: str, stores: tuple[str, ...]) -> dict[str, object]:
    targets: dict[str, object] = {"pgvector": {"dsn": dsn, "table": "chunks"}}
    if stack.opensearch is not None:
        targets["opensearch"] = {"hosts": [stack.opensearch.url], "index": name}
    return {
        "name": name,
        "source": {
            "kafka": {
                "topic": f"{name}.{ARTICLES};{name}.{NOTES}",
                "properties.bootstrap.servers": stack.kafka.bootstrap_servers,
                "scan.startup.mode": "earliest-offset",
            }
        },
        "format": "debezium",
        "documents": {
            ARTICLES: {
                "text": "{title}\n\n{body}",
                "metadata": ["lang", "updated_at"],
                "types": {"updated_at": "timestamptz"},
            },
            NOTES: {"text": "{body}", "metadata": ["price"], "types": {"price": "numeric(10,2)"}},
        },
        "embedding": {"model": "hash"},
        "store": {store: targets[store] for store in stores},
        "dead_letters": {"kafka": {"topic": f"{name}.dead-letters"}},
        "parallelism": 2,
        "flink": {
            "execution.checkpointing.interval": "1 s",
            "execution.checkpointing.min-pause": "200 ms",
            # a run has more failures in minutes than a pipeline in months
            "restart-strategy.exponential-delay.max-backoff": "3 s",
        },
    }
