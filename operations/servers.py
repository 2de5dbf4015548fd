"""The servers that a pipeline names: whether its source is there, and its stores, opened."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from connectors.opening import sources
from connectors.opening import stores as opening
from connectors.opening.dead_letters import place_of_letters
from core.config.pipeline import Pipeline, SourceDatabase
from core.errors import Unavailable
from core.stores.contract import VectorStore
from operations.addresses import nobody_at, of_dsn, of_outcomes, of_servers, of_source, of_store, setting_of_store
from udfs.embedding.embedder import dimension


def refuse_absent(pipeline: Pipeline) -> None:
    """Raise Unavailable, with a line each, where nobody listens at servers that a run needs from the start.

    All are asked at once, before a client tries for long. A model's endpoint isn't among them: the job waits for one.
    """
    settings: dict[tuple[str, ...], list[str]] = {}
    for setting, addresses in _needed(pipeline):
        settings.setdefault(addresses, []).append(setting)
    named = [" and ".join(dict.fromkeys(each)) for each in settings.values()]
    with ThreadPoolExecutor(len(settings)) as threads:
        found = [*filter(None, threads.map(nobody_at, settings, named))]
    if found:
        raise Unavailable("\n".join(found))


def _needed(pipeline: Pipeline) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield of_source(pipeline)
    letters = place_of_letters(pipeline)
    yield letters.setting, of_servers(letters.servers)
    if pipeline.outcomes is not None:
        yield of_outcomes(pipeline)
    if isinstance(pipeline.database, SourceDatabase):
        yield "reselect.postgres.dsn", of_dsn(pipeline.database.dsn, "reselect.postgres")
    for name in (*pipeline.store.names, *pipeline.store.of_profiles):
        yield setting_of_store(pipeline, name), of_store(pipeline, name)


def reach(pipeline: Pipeline) -> str:
    """What is seen of what a pipeline reads that isn't Kafka. Its dead letters' server is reached too."""
    place_of_letters(pipeline).look()
    return sources.summary(pipeline)


def stores(pipeline: Pipeline) -> dict[str, VectorStore]:
    """The pipeline's stores of vectors, by their names in the file."""
    found = opening.stores_of(pipeline)
    return opening.open_stores(found, dimension(pipeline.embedding)) if found.of_vectors else {}
