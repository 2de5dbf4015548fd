"""What a chaos run plays with: a feed with its source, a database for the stores, and the pipeline's file, by act."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import yaml
from psycopg import sql
from psycopg.conninfo import make_conninfo

from chaos.feed import Feed, Place
from connectors.aws.client import Aws
from connectors.kafka import clients as kafka_clients
from connectors.kafka.producer import ensure_topics
from connectors.milvus.lite import address_of
from connectors.opening.stores import profile_stores, stores_of
from core.config.file import load
from core.config.pipeline import Pipeline
from core.config.store import Milvus, OpenSearch, Pgvector
from operations.servers import stores
from stack.local import Stack

ALL = ("pgvector", "opensearch", "milvus", "kafka")
"""The stores of documents."""

KPIS = ("postgres",)
"""The stores of KPIs."""

Begin = Callable[[Place, Random], Feed]
"""Makes a feed with its source; what there is to begin with is chosen."""


@dataclass(slots=True)
class World:
    """Where an act's things are. `place.name` is that of the database, the pipeline and the index."""

    place: Place
    file: Path
    pipeline: Pipeline
    feed: Feed

    @property
    def name(self) -> str:
        """The pipeline's."""
        return self.place.name

    @property
    def stack(self) -> Stack:
        """The servers."""
        return self.place.stack

    def rewrite(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change what the pipeline's file says; `pipeline` is as it says then."""
        settings = yaml.safe_load(self.file.read_text(encoding="utf-8"))
        change(settings)
        self.file.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        self.pipeline = load(self.file)
        prepare_stores(self.pipeline)

    def delete_index(self, whole: bool) -> None:
        """Delete OpenSearch's index behind the job's back, and its ledger too if `whole`."""
        opensearch = self.pipeline.store.of(OpenSearch)
        for name in (opensearch.index, *([f"{opensearch.index}-ledger"] if whole else [])):
            httpx.delete(f"{opensearch.hosts[0]}/{name}", timeout=30)

    def drop_table(self, whole: bool) -> None:
        """Drop PostgreSQL's table behind the job's back, and its ledger too if `whole`."""
        pgvector = self.pipeline.store.of(Pgvector)
        with psycopg.connect(self.place.dsn, autocommit=True, connect_timeout=5) as connection:
            for name in (pgvector.table, *([f"{pgvector.table}_ledger"] if whole else [])):
                connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))

    def drop_collection(self, whole: bool) -> None:
        """Drop Milvus' collection behind the job's back, and its ledger too if `whole`."""
        # imported late: an extra's
        from pymilvus import MilvusClient

        milvus = self.pipeline.store.of(Milvus)
        client = MilvusClient(address_of(milvus.uri), alias=uuid4().hex)
        for name in (milvus.collection, *([milvus.ledger] if whole else [])):
            client.drop_collection(name)
        client.close()


def make(
    stack: Stack, folder: Path, name: str, stores: tuple[str, ...], choices: Random, begin: Begin, aws: Aws | None
) -> World:
    """Make the database, the feed with its source, the pipeline's file and the stores' tables."""
    place = Place(name, stack, make_conninfo(stack.postgres.dsn, dbname=name), aws)
    with psycopg.connect(stack.postgres.dsn, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    ensure_topics(stack.kafka.bootstrap_servers, {_letters(name): 1})
    feed = begin(place, choices)
    file = folder / f"{name}.yaml"
    settings = _pipeline(place, feed, stores, folder)
    file.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    pipeline = load(file)
    prepare_stores(pipeline)
    return World(place, file, pipeline, feed)


def prepare_stores(pipeline: Pipeline) -> None:
    """Make the tables and indexes, which are looked into before the job is there; those of KPIs the job makes."""
    for store in stores(pipeline).values():
        store.prepare()
        store.close()
    for of_profiles in profile_stores(stores_of(pipeline)).values():
        of_profiles.prepare()
        of_profiles.close()


def end(world: World) -> None:
    """Remove what takes memory or log on the servers."""
    world.feed.end()
    with psycopg.connect(world.stack.postgres.dsn, autocommit=True) as server:
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(world.name)))
    admin = kafka_clients.admin({"bootstrap.servers": world.stack.kafka.bootstrap_servers})
    for deleted in admin.delete_topics([_letters(world.name)]).values():
        deleted.result()
    if world.pipeline.store.opensearch is not None:
        for host in world.pipeline.store.opensearch.hosts:
            httpx.delete(f"{host}/{world.name}*", params={"expand_wildcards": "all"}, timeout=30)


def _letters(name: str) -> str:
    return f"{name}.dead-letters"


def vectors(folder: Path) -> Path:
    """The file of a run's Milvus Lite."""
    return folder / "vectors.db"


def _pipeline(place: Place, feed: Feed, stores: tuple[str, ...], folder: Path) -> dict[str, Any]:
    targets: dict[str, object] = {"pgvector": {"dsn": place.dsn, "table": "chunks"}, "postgres": {"dsn": place.dsn}}
    if place.stack.opensearch is not None:
        targets["opensearch"] = {"hosts": [place.stack.opensearch.url], "index": place.name}
    servers = place.stack.kafka.bootstrap_servers
    targets["milvus"] = {"uri": str(vectors(folder)), "collection": place.name}
    targets["kafka"] = {"topic": f"{place.name}.staged", "properties.bootstrap.servers": servers}
    settings = feed.settings()
    embedding = {} if "feedback" in settings else {"embedding": {"model": "hash"}}
    return {
        "name": place.name,
        **embedding,
        **settings,
        "store": {**settings.get("store", {}), **{store: targets[store] for store in stores}},
        "dead_letters": {"kafka": {"topic": _letters(place.name), "properties.bootstrap.servers": servers}},
        "parallelism": 2,
        "flink": {
            "execution.checkpointing.interval": "1 s",
            "execution.checkpointing.min-pause": "200 ms",
            # a run has more failures in minutes than a pipeline in months
            "restart-strategy.exponential-delay.max-backoff": "3 s",
        },
    }
