"""Whether stores of files or objects stand at a time that hasn't come yet: `core.documents.clocks`."""

from __future__ import annotations

import time

from connectors.opening.stores import open_stores, stores_of
from core.config.pipeline import Pipeline
from core.documents.clocks import ahead
from core.documents.step import table_id
from udfs.embedding.embedder import dimension


def warning(pipeline: Pipeline) -> str:
    """The warning that a store's time is ahead; "" where none is, or rows are tables'. Raises Unavailable as stores."""
    if pipeline.format.objects is None:
        return ""
    latest = {}
    for name, store in open_stores(stores_of(pipeline), dimension(pipeline.embedding)).items():
        try:
            if store.look():
                latest[f"store.{name}"] = max(store.latest(table_id(table)) for table in pipeline.documents)
        finally:
            store.close()
    return ahead(latest, time.time_ns() // 1_000_000)
