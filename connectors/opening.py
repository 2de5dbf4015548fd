"""The stores that a pipeline file names, opened."""

from __future__ import annotations

from connectors.several_profiles import SeveralProfiles
from core.config.pipeline import Pipeline
from core.errors import ConfigError
from core.stores.contract import ProfileStore, VectorStore
from core.stores.fingerprint import Owner


def open_stores(
    pipeline: Pipeline, dimension: int, owner: Owner | None = None, patience_s: float = 30.0
) -> dict[str, VectorStore]:
    """Each store of the pipeline by its name in the file; nothing is connected yet.

    With an `owner` they are written to only while they are that run's. `patience_s`: how long a server that is away is
    waited for.

    Raises ConfigError where settings don't fit, or a store's client isn't installed.
    """
    model, remember_s = pipeline.embedding.model, pipeline.delete_retention_ms / 1000
    opened: dict[str, VectorStore] = {}
    if pipeline.store.pgvector is not None:
        from connectors.pgvector.store import PgvectorStore

        target = pipeline.store.pgvector
        opened["pgvector"] = PgvectorStore(
            target.dsn, target.table, dimension, model, patience_s, remember_deletes_s=remember_s, owner=owner
        )
    if pipeline.store.opensearch is not None:
        from connectors.opensearch.store import OpenSearchStore

        opened["opensearch"] = OpenSearchStore(
            pipeline.store.opensearch, dimension, model, patience_s, remember_deletes_s=remember_s, owner=owner
        )
    return opened


def open_profiles(pipeline: Pipeline) -> ProfileStore:
    """The profile store of the pipeline, two as one; nothing is connected yet. Raises ConfigError where it has none."""
    opened = profile_stores(pipeline)
    if not opened:
        raise ConfigError(["store names no store of profiles: only a pipeline of profiles has postgres or dynamodb"])
    return next(iter(opened.values())) if len(opened) == 1 else SeveralProfiles(opened)


def prepare(pipeline: Pipeline, dimension: int) -> None:
    """Make the tables and indexes of the stores, where they aren't there yet. Raises as they do."""
    for store in open_stores(pipeline, dimension).values():
        store.prepare()
        store.close()
    if pipeline.profiles is not None:
        kept = open_profiles(pipeline)
        kept.prepare()
        kept.close()


def profile_stores(pipeline: Pipeline) -> dict[str, ProfileStore]:
    """Each profile store of the pipeline by its name in the file. Raises ConfigError as `open_stores`."""
    remember_s = pipeline.delete_retention_ms / 1000
    opened: dict[str, ProfileStore] = {}
    if pipeline.store.postgres is not None:
        from connectors.postgres.profiles import PostgresProfiles

        opened["postgres"] = PostgresProfiles(pipeline.store.postgres.dsn, pipeline.name, remember_s=remember_s)
    if (target := pipeline.store.dynamodb) is not None:
        try:
            from connectors.aws.client import Aws
            from connectors.dynamodb.profiles import DynamodbProfiles
        except ModuleNotFoundError:
            raise ConfigError(["store.dynamodb needs boto3, which isn't installed: install freshet[aws]"]) from None

        at = Aws(target.region, target.endpoint)
        opened["dynamodb"] = DynamodbProfiles(target.table, pipeline.name, at, remember_s=remember_s)
    return opened
