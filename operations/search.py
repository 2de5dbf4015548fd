"""`freshet search`: ask a pipeline's store, with the pipeline's own embedder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from difflib import get_close_matches

from core.config.pipeline import Pipeline
from core.config.store import Store
from core.errors import ConfigError, Unavailable
from core.stores.contract import Hit, VectorStore
from operations.addresses import nobody_at, of_store, setting_of_store
from operations.owning import nothing_found, otherwise
from operations.reporting import Loading
from operations.servers import stores
from udfs.embedding.embedder import questioner


def search(pipeline: Pipeline, question: str, k: int, where: Sequence[str], store: str | None = None) -> list[Hit]:
    """The `k` chunks nearest to the question; `where` holds `column=value` pairs that must hold.

    `store` is the name of the store to ask; None: the pipeline's first.

    Raises ConfigError for a pair without `=` or a column that no table of the pipeline keeps as metadata, and where
    every chunk that is there was made by another model.
    """
    return answered(pipeline, question, k, where, store)[0]


def answered(
    pipeline: Pipeline,
    question: str,
    k: int,
    where: Sequence[str],
    store: str | None = None,
    loading: Loading = nullcontext,
) -> tuple[list[Hit], list[str]]:
    """As `search`, and how what stands in the store was made otherwise than the pipeline file says."""
    filters = dict(_pair(text, pipeline) for text in where)
    name = _chosen(pipeline, store)
    # a model takes long to load: not for a store that isn't there
    if away := nobody_at(of_store(pipeline, name), setting_of_store(pipeline, name)):
        raise Unavailable(away)
    with loading(pipeline.embedding.model):
        embedder = questioner(pipeline.embedding)
    target = stores(pipeline)[name]
    try:
        hits = target.search(embedder.embed([question])[0], k, filters)
        why = "" if hits else nothing_found(pipeline, name, target, filters)
        return hits, [*filter(None, [why]), *_notes(pipeline, name, target)]
    finally:
        target.close()


def _notes(pipeline: Pipeline, name: str, store: VectorStore) -> list[str]:
    try:
        return otherwise(pipeline, {name: store})
    except ConfigError:
        return []  # who may read the chunks alone can't see whose they are


def _chosen(pipeline: Pipeline, name: str | None) -> str:
    there = pipeline.store.names
    if not there:
        raise ConfigError([f"store names no store of vectors: add {' or '.join(Store.holding('vectors'))}"])
    if name is not None and name not in there:
        raise ConfigError([f"--store is {name!r}, must be a store of the pipeline: {', '.join(there)}"])
    return name or there[0]


def _pair(text: str, pipeline: Pipeline) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    kept = sorted({names.split("|")[0] for document in pipeline.documents.values() for names in document.metadata})
    if not equals:
        raise ConfigError([f"--where is {text!r}, must be column=value, with one of the columns {', '.join(kept)}"])
    if name not in kept:
        near = get_close_matches(name, kept, 1)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(kept) or 'none'}"
        raise ConfigError(
            [f"--where is {text!r}: {name} is no column of documents.….metadata in the pipeline file; {meant}"]
        )
    return name, value
