"""The stores that a pipeline file names, opened."""

from __future__ import annotations

from core.config import Pipeline
from core.errors import ConfigError
from core.stores import ProfileStore, VectorStore


def open_stores(pipeline: Pipeline, dimension: int) -> dict[str, VectorStore]:
    """Each store of the pipeline by its name in the file; nothing is connected yet.

    Raises ConfigError where settings don't fit, or a store's client isn't installed.
    """
    model, remember_s = pipeline.embedding.model, pipeline.delete_retention_ms / 1000
    opened: dict[str, VectorStore] = {}
    if pipeline.store.pgvector is not None:
        from connectors.pgvector import PgvectorStore

        target = pipeline.store.pgvector
        opened["pgvector"] = PgvectorStore(target.dsn, target.table, dimension, model, remember_deletes_s=remember_s)
    if pipeline.store.opensearch is not None:
        from connectors.opensearch import OpenSearchStore

        opened["opensearch"] = OpenSearchStore(
            pipeline.store.opensearch, dimension, model, remember_deletes_s=remember_s
        )
    return opened


def open_profiles(pipeline: Pipeline) -> ProfileStore:
    """The profile store of the pipeline; nothing is connected yet. Raises ConfigError where it has none."""
    from connectors.postgres_profiles import PostgresProfiles

    if pipeline.store.postgres is None:
        raise ConfigError(["store.postgres is missing: only a pipeline of profiles has them"])
    remember_s = pipeline.delete_retention_ms / 1000
    return PostgresProfiles(pipeline.store.postgres.dsn, pipeline.name, remember_s=remember_s)
