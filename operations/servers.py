"""The servers that a pipeline names: whether its source is there, and its stores, opened."""

from __future__ import annotations

from connectors import opening, sources
from connectors.dead_letters import place_of_letters
from core.config.pipeline import Pipeline
from core.stores.contract import VectorStore
from udfs.embedding.embedder import dimension


def reach(pipeline: Pipeline) -> str:
    """What is seen of what a pipeline reads that isn't Kafka. Its dead letters' server is reached too."""
    place_of_letters(pipeline).look()
    return sources.summary(pipeline)


def stores(pipeline: Pipeline) -> dict[str, VectorStore]:
    """The pipeline's stores, by their names in the file."""
    return opening.open_stores(pipeline, dimension(pipeline.embedding))
