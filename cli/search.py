"""`freshet search`: ask a pipeline's store, with the pipeline's own embedder."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from cli.run import stores
from core.config import Pipeline
from core.errors import ConfigError
from core.stores import Hit, VectorStore
from udfs.embedding import questioner


def search(pipeline: Pipeline, question: str, k: int, where: Sequence[str], store: str | None = None) -> list[Hit]:
    """The `k` chunks nearest to the question; `where` holds `column=value` pairs that must hold.

    `store` is the name of the store to ask; None: the pipeline's first.

    Raises ConfigError for a pair without `=` or a column that no table of the pipeline keeps as metadata.
    """
    filters = dict(_pair(text, pipeline) for text in where)
    target = _chosen(pipeline, store)
    try:
        return target.search(questioner(pipeline.embedding).embed([question])[0], k, filters)
    finally:
        target.close()


def _chosen(pipeline: Pipeline, name: str | None) -> VectorStore:
    there = stores(pipeline)
    if not there:
        raise ConfigError(["store names no store of vectors: add pgvector or opensearch"])
    if name is not None and name not in there:
        raise ConfigError([f"--store is {name!r}, must be a store of the pipeline: {', '.join(there)}"])
    return there[name or next(iter(there))]


def _pair(text: str, pipeline: Pipeline) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    kept = sorted({names.split("|")[0] for document in pipeline.documents.values() for names in document.metadata})
    if not equals or name not in kept:
        raise ConfigError(
            [f"--where is {text!r}, must be column=value with one of the metadata columns: {', '.join(kept)}"]
        )
    return name, value


def show(hits: Sequence[Hit], console: Console) -> None:
    """The answers as a table, best first."""
    table = Table("score", "document", "chunk", "text", box=None, header_style="bold")
    for hit in hits:
        table.add_row(f"{hit.score:.3f}", hit.document_id, str(hit.ordinal), " ".join(hit.text.split())[:200])
    console.print(table if hits else "nothing found")
