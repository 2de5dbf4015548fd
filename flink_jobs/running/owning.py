"""Whose a pipeline's stores are and what made them: asked before its job is submitted. Imports no pyflink."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from msgspec import UNSET, UnsetType

from connectors.opening.stores import open_stores, stores_of
from core.config.log_identity import LogIdentity, held
from core.config.pipeline import Pipeline
from core.config.source import Kafka
from core.errors import ConfigError, Unavailable
from core.stores.contract import VectorStore
from core.stores.fingerprint import Fingerprint, Owner, changes, fingerprint
from core.stores.owning import Found, How, obstacles, owner_of, refusal, stands
from udfs.embedding.embedder import dimension
from udfs.embedding.prompts import document_prompt
from udfs.embedding.tokenizing import document_chunker

_ANY_DIMENSION = 1
"""An owner is read without a vector, and a remote model would have to be asked how long its are."""


def made_by(pipeline: Pipeline) -> Fingerprint:
    """What the pipeline makes now. Raises ConfigError where its model isn't found."""
    if not pipeline.vector_stores:
        return Fingerprint(pipeline.embedding.model, profiles=pipeline.job.rules or UNSET)
    cut = pipeline.job.chunks.items()
    chunkers = {table: document_chunker(pipeline.embedding, chunk).name for table, chunk in cut}
    return fingerprint(pipeline.job, pipeline.embedding, chunkers, document_prompt(pipeline.embedding))


def found_in(pipeline: Pipeline, stores: Mapping[str, VectorStore], now: Fingerprint) -> tuple[Found, ...]:
    """Each store as it is; chunks are counted only where its owner made them otherwise than `now`, or is another."""
    found = []
    for name, store in stores.items():
        place, bereft = f"store.{name}: {pipeline.place(name)}", store.bereft()
        if not store.look():
            found.append(Found(place, None, _models(store), bereft))
            continue
        owner = store.owner()
        same = owner is not None and owner.pipeline == pipeline.name and not changes(owner.made, now)
        unindexed = 0 if owner is not None and owner.made.terms == now.terms else store.unindexed()
        models = {} if same and not unindexed else store.models()
        found.append(Found(place, owner, models, bereft, unindexed))
    return tuple(found)


def _models(store: VectorStore) -> Mapping[str, int]:
    # chunks that have no ledger any more are there all the same
    try:
        return store.models()
    except ConfigError:
        return {}


def look(pipeline: Pipeline, now: Fingerprint, only: str | None = None) -> tuple[Found, ...]:
    """Each store of the pipeline, or one, as it is. Raises Unavailable where one doesn't answer."""
    stores = open_stores(stores_of(pipeline), dimension(pipeline.embedding)) if pipeline.vector_stores else {}
    try:
        asked = {name: store for name, store in stores.items() if only in (None, name)}
        return found_in(pipeline, asked, now)
    finally:
        for store in stores.values():
            store.close()


@dataclass(frozen=True, slots=True)
class Taken:
    """The owner that a job of a cluster makes of itself when it first writes.

    notes  what is to be printed before
    logs   which logs earlier jobs of the pipeline read, by its stores
    """

    owner: Owner
    notes: tuple[str, ...]
    logs: tuple[LogIdentity, ...]


def taken(pipeline: Pipeline, how: How, way: str) -> Taken:
    """The owner of a job of a cluster: not made so here, as a JobManager that is started anew comes by too.

    `way`: how one chooses otherwise where it runs.
    Raises ConfigError where it would mix what was made in two ways, or take a store from another pipeline.
    """
    now = made_by(pipeline)
    found = look(pipeline, now)
    why = obstacles(found, pipeline.name, now, None, False)
    if stands(why, how):
        raise ConfigError([*refusal(pipeline.name, found, why, now), way])
    owner = owner_of(pipeline.name, found, why, now, how, time.time_ns() // 1_000_000)
    theirs = [each.owner for each in found if each.owner is not None and each.owner.pipeline == pipeline.name]
    logs = tuple(each.log for each in theirs if not isinstance(each.log, UnsetType))
    return Taken(owner, (*adopted(found, now), *map(str, why)), logs)


def in_log(
    pipeline: Pipeline,
    found: Taken,
    seen: str,
    way: str,
    of_topics: Callable[[Kafka, str], LogIdentity] | None = None,
) -> Taken:
    """The same, with the log that the job reads, held against those that earlier ones read: it has no folder for it.

    What can't be asked is among the notes, and differs from nothing. Raises OtherLog.

    seen, way  see `core.config.log_identity.held`
    of_topics  see `connectors.opening.log_identity.ask`
    """
    # imported late: it looks into every source's package
    from connectors.opening.log_identity import Asked, ask

    try:
        asked = ask(pipeline, of_topics)
    except Unavailable as error:
        asked = Asked(LogIdentity(), unknown=(f"{error}: whether it is the same log",))
    log = held(found.logs, asked.identity, pipeline.name, seen, way)
    unknown = (f"{each} isn't known" for each in asked.unknown)
    return replace(found, owner=replace(found.owner, log=log), notes=(*found.notes, *unknown))


def untouched(pipeline: Pipeline) -> bool:
    """Whether nobody has written to any of the pipeline's stores of vectors yet. Raises as `look`."""
    found = look(pipeline, Fingerprint(pipeline.embedding.model))
    return bool(found) and all(each.is_untouched for each in found)


def owners(pipeline: Pipeline) -> list[tuple[str, Owner]]:
    """Whose each store is, with its place; those that have no owner are left out. Waits for no server, asks no model.

    Raises Unavailable, ConfigError.
    """
    stores = open_stores(stores_of(pipeline), _ANY_DIMENSION, patience_s=0.0)
    try:
        owned = ((f"store.{name}: {pipeline.place(name)}", store.owner()) for name, store in stores.items())
        return [(place, owner) for place, owner in owned if owner is not None]
    finally:
        for store in stores.values():
            store.close()


def claim(pipeline: Pipeline, owner: Owner, say: Callable[[str], None]) -> None:
    """Make the pipeline's stores the run's, so that earlier runs stop. Raises, and says, as `VectorStore.claim`."""
    stores = open_stores(stores_of(pipeline, owner), dimension(pipeline.embedding)) if pipeline.vector_stores else {}
    try:
        for store in stores.values():
            store.claim(say)
    finally:
        for store in stores.values():
            store.close()


def adopted(found: Sequence[Found], now: Fingerprint) -> list[str]:
    """What a run says of stores that an earlier release made, which tell nobody who made them."""
    lines = []
    for each in found:
        if each.owner is None and each.models:
            others = ", ".join(f"{count:,} of {model}" for model, count in each.models.items() if model != now.model)
            but = f"; chunks of other models among them: {others}; --rebuild makes all anew" if others else ""
            lines.append(
                f"{each.place} has no owner yet, as an earlier release made it: it is this pipeline's now{but}"
            )
    return lines
