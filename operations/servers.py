"""The servers that a pipeline names: whether its source is there, and its stores, opened."""

from __future__ import annotations

from connectors import opening
from connectors.folder import files as local_files
from connectors.kafka import source as kafka
from core.config.pipeline import Pipeline
from core.stores.contract import VectorStore
from udfs.embedding.embedder import dimension


def reach(pipeline: Pipeline) -> str:
    """What is seen of what a pipeline reads that isn't Kafka, and of its dead letters' cluster."""
    kafka.check(pipeline.letters)
    if (folder := local_files.opened(pipeline)) is not None:
        return folder.summary()
    if (sqs := pipeline.source.sqs) is not None:
        from connectors.aws.client import Aws
        from connectors.sqs.queue import Queue

        queue = Queue(sqs.queue_url, Aws(sqs.region, sqs.endpoint))
        return f"{queue.name} has about {queue.waiting():,} messages waiting"
    from connectors.shards.streams import opened, source_of

    ((name, stream),) = opened([source_of(pipeline)]).items()
    return f"{name} has {len(stream.shards())} shards"


def stores(pipeline: Pipeline) -> dict[str, VectorStore]:
    """The pipeline's stores, by their names in the file."""
    return opening.open_stores(pipeline, dimension(pipeline.embedding))
