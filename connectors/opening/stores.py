"""The stores that a pipeline file names, opened. A store that is added has its opener here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from connectors.opening.several_profiles import SeveralProfiles
from core.config.pipeline import Pipeline
from core.config.store import Dynamodb, OpenSearch, Pgvector, Postgres
from core.errors import ConfigError
from core.stores.contract import ProfileStore, VectorStore
from core.stores.fingerprint import Owner


@dataclass(frozen=True, slots=True)
class Opening:
    """What a store is opened with beside its own settings.

    pipeline     its name
    dimension    numbers in a vector; 0 for a store of profiles
    model        what embeds
    owner        whose it must be to be written to; None: anyone's
    patience_s   how long a server that is away is waited for
    remember_s   how long deletions are remembered
    """

    pipeline: str
    dimension: int
    model: str
    owner: Owner | None
    patience_s: float
    remember_s: float


# Clients are imported late: each is an extra's, and only what a pipeline names is needed.


def _pgvector(target: Pgvector, to: Opening) -> VectorStore:
    from connectors.pgvector.layout import Layout
    from connectors.pgvector.store import PgvectorStore

    at = (target.dsn, target.table, to.dimension, to.model, to.patience_s)
    layout = Layout(target.text_search_config, target.vector_type, target.index.chosen)
    return PgvectorStore(*at, remember_deletes_s=to.remember_s, owner=to.owner, layout=layout)


def _opensearch(target: OpenSearch, to: Opening) -> VectorStore:
    from connectors.opensearch.store import OpenSearchStore

    at = (target, to.dimension, to.model, to.patience_s)
    return OpenSearchStore(*at, remember_deletes_s=to.remember_s, owner=to.owner)


def _postgres(target: Postgres, to: Opening) -> ProfileStore:
    from connectors.postgres.profiles.store import PostgresProfiles

    return PostgresProfiles(target.dsn, to.pipeline, remember_s=to.remember_s)


def _dynamodb(target: Dynamodb, to: Opening) -> ProfileStore:
    try:
        from connectors.aws.client import Aws
        from connectors.dynamodb.profiles.store import DynamodbProfiles
    except ModuleNotFoundError:
        raise ConfigError(["store.dynamodb needs boto3, which isn't installed: install freshet[aws]"]) from None

    at = Aws(target.region, target.endpoint)
    return DynamodbProfiles(target.table, to.pipeline, at, remember_s=to.remember_s)


OF_VECTORS: dict[str, Callable[[Any, Opening], VectorStore]] = {"pgvector": _pgvector, "opensearch": _opensearch}
OF_PROFILES: dict[str, Callable[[Any, Opening], ProfileStore]] = {"postgres": _postgres, "dynamodb": _dynamodb}
"""By the names of `core.config.store.Store`'s fields."""


def open_stores(
    pipeline: Pipeline, dimension: int, owner: Owner | None = None, patience_s: float = 30.0
) -> dict[str, VectorStore]:
    """Each store of the pipeline by its name in the file; nothing is connected yet.

    With an `owner` they are written to only while they are that run's. `patience_s`: how long a server that is away is
    waited for.

    Raises ConfigError where settings don't fit, or a store's client isn't installed.
    """
    to = _opening(pipeline, dimension, owner, patience_s)
    return {name: OF_VECTORS[name](pipeline.store.targets[name], to) for name in pipeline.store.names}


def open_store(pipeline: Pipeline, name: str, dimension: int, patience_s: float) -> VectorStore:
    """One store of the pipeline, by its name in the file, to be asked; see `open_stores`."""
    return OF_VECTORS[name](pipeline.store.targets[name], _opening(pipeline, dimension, None, patience_s))


def profile_stores(pipeline: Pipeline) -> dict[str, ProfileStore]:
    """Each profile store of the pipeline by its name in the file. Raises ConfigError as `open_stores`."""
    to = _opening(pipeline, 0, None, 0.0)
    return {name: OF_PROFILES[name](pipeline.store.targets[name], to) for name in pipeline.store.of_profiles}


def open_profiles(pipeline: Pipeline) -> ProfileStore:
    """The profile store of the pipeline, two as one; nothing is connected yet. Raises ConfigError where it has none."""
    opened = profile_stores(pipeline)
    if not opened:
        raise ConfigError(
            [f"store names no store of profiles: only a pipeline of profiles has {' or '.join(OF_PROFILES)}"]
        )
    return next(iter(opened.values())) if len(opened) == 1 else SeveralProfiles(opened)


def prepare(pipeline: Pipeline, dimension: int) -> None:
    """Make the tables and indexes of the stores, where they aren't there yet. Raises as they do."""
    for store in open_stores(pipeline, dimension).values():
        store.prepare()
        store.close()
    if pipeline.store.of_profiles:
        kept = open_profiles(pipeline)
        kept.prepare()
        kept.close()


def _opening(pipeline: Pipeline, dimension: int, owner: Owner | None, patience_s: float) -> Opening:
    remember_s = pipeline.delete_retention_ms / 1000
    return Opening(pipeline.name, dimension, pipeline.embedding.model, owner, patience_s, remember_s)
