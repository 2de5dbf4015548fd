"""The stores that a pipeline file names, opened. A store that is added has its opener here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from connectors.opening.several_profiles import SeveralProfiles
from connectors.staged.log import Log
from connectors.staged.store import StagedStore
from core.config.pinecone import Pinecone
from core.config.pipeline import Pipeline
from core.config.staging import Precision, StagedStream, StagedTopic
from core.config.store import Dynamodb, Milvus, OpenSearch, Pgvector, Postgres, Store
from core.errors import ConfigError, not_installed
from core.stores.contract import ProfileStore, VectorStore
from core.stores.fingerprint import Owner


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores that a pipeline file names, and what they share. It can be sent to a job's workers.

    pipeline     its name
    settings     each store's own
    model        what embeds
    remember_ms  how long deletions are remembered
    owner        whose they must be to be written to; None: anyone's
    kpis         whether they hold KPIs, and so neither vectors nor profiles, whose settings are the same
    """

    pipeline: str
    settings: Store
    model: str
    remember_ms: int
    owner: Owner | None = None
    kpis: bool = False

    @property
    def of_vectors(self) -> tuple[str, ...]:
        """The names of those that hold vectors."""
        return () if self.kpis else self.settings.names

    @property
    def of_profiles(self) -> tuple[str, ...]:
        """The names of those that hold profiles."""
        return () if self.kpis else self.settings.of_profiles

    def opening(self, dimension: int, patience_s: float, search_s: float = 0.0) -> Opening:
        """What each is opened with."""
        return Opening(self.pipeline, dimension, self.model, self.owner, patience_s, self.remember_ms / 1000, search_s)


def stores_of(pipeline: Pipeline, owner: Owner | None = None) -> Stores:
    """Those of a pipeline, for the run that owns them where one is to write."""
    model, remember_ms = pipeline.embedding.model, pipeline.delete_retention_ms
    return Stores(pipeline.name, pipeline.store, model, remember_ms, owner, pipeline.makes_feedback)


@dataclass(frozen=True, slots=True)
class Opening:
    """What a store is opened with beside its own settings.

    pipeline     its name
    dimension    numbers in a vector; 0 for a store of profiles
    model        what embeds
    owner        whose it must be to be written to; None: anyone's
    patience_s   how long a server that is away is waited for
    remember_s   how long deletions are remembered
    search_s     what a statement of a search may take; 0: as long as it needs. OpenSearch ends one whose asker is gone
    """

    pipeline: str
    dimension: int
    model: str
    owner: Owner | None
    patience_s: float
    remember_s: float
    search_s: float


# Clients are imported late: each is an extra's, and only what a pipeline names is needed.


def _pgvector(target: Pgvector, to: Opening) -> VectorStore:
    from connectors.pgvector.layout import Layout
    from connectors.pgvector.store import PgvectorStore
    from connectors.postgres.login import login_of

    at = (target.dsn, target.table, to.dimension, to.model, to.patience_s)
    layout = Layout(target.text_search_config, target.vector_type, target.index.chosen)
    login = login_of(target)
    return PgvectorStore(
        *at, remember_deletes_s=to.remember_s, owner=to.owner, layout=layout, search_s=to.search_s, login=login
    )


def _opensearch(target: OpenSearch, to: Opening) -> VectorStore:
    from connectors.opensearch.store import OpenSearchStore

    at = (target, to.dimension, to.model, to.patience_s)
    return OpenSearchStore(*at, remember_deletes_s=to.remember_s, owner=to.owner)


def _milvus(target: Milvus, to: Opening) -> VectorStore:
    try:
        from connectors.milvus.store import MilvusStore
    except ModuleNotFoundError:
        raise not_installed("store.milvus", "pymilvus", "milvus") from None

    at = (target, to.dimension, to.model, to.patience_s)
    return MilvusStore(*at, remember_deletes_s=to.remember_s, owner=to.owner)


def _pinecone(target: Pinecone, to: Opening) -> VectorStore:
    from connectors.pinecone.store import PineconeStore

    at = (target, to.dimension, to.model, to.patience_s)
    return PineconeStore(*at, remember_deletes_s=to.remember_s, owner=to.owner)


def _kafka(target: StagedTopic, to: Opening) -> VectorStore:
    from connectors.kafka.staged.log import KafkaLog

    return _staged(KafkaLog(target, to.patience_s), to, target.precision)


def _kinesis(target: StagedStream, to: Opening) -> VectorStore:
    try:
        from connectors.kinesis.staged.log import KinesisLog
    except ModuleNotFoundError:
        raise not_installed("store.kinesis", "boto3", "aws") from None

    return _staged(KinesisLog(target, to.patience_s), to, target.precision)


def _staged(log: Log, to: Opening, precision: Precision) -> StagedStore:
    return StagedStore(log, to.dimension, to.model, to.owner, to.pipeline, precision)


def open_staged(stores: Stores, name: str, dimension: int, patience_s: float) -> StagedStore:
    """A store that documents are staged to, by its name in the file; see `open_stores`."""
    opened = open_store(stores, name, dimension, patience_s, 0.0)
    assert isinstance(opened, StagedStore), f"store.{name} is none that is staged to"
    return opened


def _postgres(target: Postgres, to: Opening) -> ProfileStore:
    from connectors.postgres.login import login_of
    from connectors.postgres.profiles.store import PostgresProfiles

    return PostgresProfiles(target.dsn, to.pipeline, remember_s=to.remember_s, login=login_of(target))


def _dynamodb(target: Dynamodb, to: Opening) -> ProfileStore:
    try:
        from connectors.aws.client import Aws
        from connectors.dynamodb.profiles.store import DynamodbProfiles
    except ModuleNotFoundError:
        raise not_installed("store.dynamodb", "boto3", "aws") from None

    at = Aws(target.region, target.endpoint)
    return DynamodbProfiles(target.table, to.pipeline, at, remember_s=to.remember_s)


OF_VECTORS: dict[str, Callable[[Any, Opening], VectorStore]] = {
    "pgvector": _pgvector,
    "opensearch": _opensearch,
    "milvus": _milvus,
    "pinecone": _pinecone,
    "kafka": _kafka,
    "kinesis": _kinesis,
}
OF_PROFILES: dict[str, Callable[[Any, Opening], ProfileStore]] = {"postgres": _postgres, "dynamodb": _dynamodb}
"""By the names of `core.config.store.Store`'s fields."""


def open_stores(stores: Stores, dimension: int, patience_s: float = 30.0) -> dict[str, VectorStore]:
    """Each store of vectors by its name in the file; nothing is connected yet.

    dimension   numbers in a vector
    patience_s  how long a server that is away is waited for

    Raises ConfigError where settings don't fit, or a store's client isn't installed.
    """
    to = stores.opening(dimension, patience_s)
    return {name: OF_VECTORS[name](stores.settings.targets[name], to) for name in stores.of_vectors}


def open_store(stores: Stores, name: str, dimension: int, patience_s: float, search_s: float) -> VectorStore:
    """One store of vectors, by its name in the file; `search_s` as in `Opening`, and see `open_stores`."""
    return OF_VECTORS[name](stores.settings.targets[name], stores.opening(dimension, patience_s, search_s))


def profile_stores(stores: Stores) -> dict[str, ProfileStore]:
    """Each profile store by its name in the file. Raises ConfigError as `open_stores`."""
    to = stores.opening(0, 0.0)
    return {name: OF_PROFILES[name](stores.settings.targets[name], to) for name in stores.of_profiles}


def open_profiles(stores: Stores) -> ProfileStore:
    """The profile store, two as one; nothing is connected yet. Raises ConfigError where the file names none."""
    opened = profile_stores(stores)
    if not opened:
        raise ConfigError(
            [f"store names no store of profiles: only a pipeline of profiles has {' or '.join(OF_PROFILES)}"]
        )
    return next(iter(opened.values())) if len(opened) == 1 else SeveralProfiles(opened)


def prepare(stores: Stores, dimension: Callable[[], int]) -> None:
    """Make the tables and indexes of vectors and profiles, where they aren't there yet. Raises as they do.

    Those of KPIs are as their queries are, which Flink plans as the job is built. `dimension` as of `open_stores`; it
    is asked only where vectors are kept.
    """
    for store in open_stores(stores, dimension()).values() if stores.of_vectors else ():
        store.prepare()
        store.close()
    if stores.of_profiles:
        kept = open_profiles(stores)
        kept.prepare()
        kept.close()
