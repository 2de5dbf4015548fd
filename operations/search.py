"""`freshet search`: ask a pipeline's store, with the pipeline's own embedder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from difflib import get_close_matches
from typing import Any

from core.config.pipeline import Pipeline
from core.config.store import Store
from core.errors import ConfigError, Unavailable
from core.stores.contract import Hit, VectorStore
from core.stores.filters.language import EVERYTHING, And, Filter, equals, parse, parse_text
from core.stores.ranking import Mode
from operations.addresses import nobody_at, of_store, setting_of_store
from operations.index import ByBoth, ByVector, ByWords, Question, columns_of, ranked
from operations.owning import nothing_found, otherwise, unfound
from operations.reporting import Loading
from operations.servers import stores
from udfs.embedding.embedder import questioner


def search(
    pipeline: Pipeline,
    question: str,
    k: int,
    where: Sequence[str] = (),
    store: str | None = None,
    passing: Sequence[Any] = (),
    mode: Mode = Mode.VECTOR,
) -> list[Hit]:
    """The `k` chunks nearest to the question whose metadata has all that `where` and `passing` ask for.

    where    `column=value` pairs
    passing  filters, as `core.stores.filters.language.parse` takes them, or JSON text of such
    store    the name of the store to ask; None: the pipeline's first
    mode     what orders the answers

    Raises FilterError for a filter that is none, or asks for a column that no table of the pipeline keeps as metadata,
    ConfigError for a question of no words, a pair without `=`, and where every chunk that is there was made by another
    model.
    """
    return answered(pipeline, question, k, where, store, passing, mode=mode)[0]


def answered(
    pipeline: Pipeline,
    question: str,
    k: int,
    where: Sequence[str] = (),
    store: str | None = None,
    passing: Sequence[Any] = (),
    loading: Loading = nullcontext,
    mode: Mode = Mode.VECTOR,
) -> tuple[list[Hit], list[str]]:
    """As `search`, and how what stands in the store was made otherwise than the pipeline file says."""
    if not question.strip():
        raise ConfigError(["the question is empty: say what to look for"])
    asked = asked_of(pipeline, where, passing)
    name = _chosen(pipeline, store)
    # a model takes long to load: not for a store that isn't there
    if away := nobody_at(of_store(pipeline, name), setting_of_store(pipeline, name)):
        raise Unavailable(away)
    given = _question(pipeline, question, mode, loading)
    target = stores(pipeline)[name]
    try:
        hits = ranked(target, given, k, asked)
        old = "" if asked == EVERYTHING else unfound(pipeline, name, target)
        why = "" if hits or old else _nothing_found(pipeline, name, target, [*where, *map(str, passing)], mode)
        return hits, [*filter(None, [why, old]), *_notes(pipeline, name, target)]
    finally:
        target.close()


def _question(pipeline: Pipeline, question: str, mode: Mode, loading: Loading) -> Question:
    if mode is Mode.TEXT:
        return ByWords(question)
    with loading(pipeline.embedding.model):
        embedder = questioner(pipeline.embedding)
    vector = embedder.embed([question])[0]
    return ByVector(vector) if mode is Mode.VECTOR else ByBoth(question, vector)


def _nothing_found(pipeline: Pipeline, name: str, store: VectorStore, asked: Sequence[str], mode: Mode) -> str:
    if mode is not Mode.TEXT:
        return nothing_found(pipeline, name, store, asked)
    such = f"that have {' and '.join(asked)} " if asked else ""
    no_word = f"{pipeline.place(name)}: none of its chunks {such}has a word of the question"
    return nothing_found(pipeline, name, store, ()) or no_word


def _notes(pipeline: Pipeline, name: str, store: VectorStore) -> list[str]:
    try:
        return otherwise(pipeline, {name: store})
    except ConfigError:
        return []  # who may read the chunks alone can't see whose they are


def _chosen(pipeline: Pipeline, name: str | None) -> str:
    there = pipeline.vector_stores
    if not there:
        raise ConfigError([f"store names no store of vectors: add {' or '.join(Store.holding('vectors'))}"])
    if name is not None and name not in there:
        raise ConfigError([f"--store is {name!r}, must be a store of the pipeline: {', '.join(there)}"])
    return name or there[0]


def asked_of(pipeline: Pipeline, where: Sequence[str], passing: Sequence[Any]) -> Filter:
    """One filter of `column=value` pairs and filters, all of which must hold. Raises as `search` does."""
    columns = columns_of(pipeline)
    pairs = [_pair(text, columns) for text in where]
    read = [parse_text(each, columns) if isinstance(each, str) else parse(each, columns) for each in passing]
    parts = (*pairs, *read)
    return parts[0] if len(parts) == 1 else And(parts)


def _pair(text: str, kept: Sequence[str]) -> Filter:
    name, sign, value = text.partition("=")
    if not sign:
        raise ConfigError([f"--where is {text!r}, must be column=value, with one of the columns {', '.join(kept)}"])
    if name not in kept:
        near = get_close_matches(name, kept, 1)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(kept) or 'none'}"
        raise ConfigError(
            [f"--where is {text!r}: {name} is no column of documents.….metadata in the pipeline file; {meant}"]
        )
    return equals((name,), value, f"--where {name}")
