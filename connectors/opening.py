"""The stores that a pipeline file names, opened."""

from __future__ import annotations

from core.config import Pipeline
from core.stores import VectorStore


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
