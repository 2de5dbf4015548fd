"""`freshet materialize`: a store is filled from a staged topic. Vectors come with the records: nothing is embedded."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from connectors.kafka.staged.store import StagedStore
from connectors.opening.stores import open_store, stores_of
from core.change import BEGINNING
from core.config.pipeline import Pipeline
from core.config.store import StagedTopic
from core.errors import ConfigError
from core.plans import Outcome, Plan, Status
from core.stores.batches import sized
from core.stores.contract import VectorStore
from core.stores.fingerprint import Fingerprint, Owner
from core.stores.owning import Found, How, owner_of
from core.stores.staged import Staged
from operations.reporting import Line, Say
from udfs.embedding.embedder import dimension

_MOST_BYTES = 16 * 2**20
_MOST_DOCUMENTS = 500
_LOOK_EVERY_S = 1.0
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Filled:
    """What came of it. `refused` are documents that the store can't hold, each with the reason."""

    documents: int = 0
    chunks: int = 0
    deleted: int = 0
    stale: int = 0
    ghosts: int = 0
    refused: tuple[tuple[str, str], ...] = ()

    def and_of(self, outcomes: Iterable[Outcome], plans: Iterable[Plan]) -> Filled:
        """With what came of some plans."""
        documents, chunks, deleted, stale, refused = self.documents, self.chunks, self.deleted, self.stale, []
        for outcome, plan in zip(outcomes, plans, strict=True):
            if outcome.status is Status.REJECTED:
                refused.append((outcome.document_id, outcome.reason))
            elif outcome.status is Status.STALE:
                stale += 1
            elif plan.chunk_ids:
                documents, chunks = documents + 1, chunks + len(plan.chunk_ids)
            else:
                deleted += 1
        return Filled(documents, chunks, deleted, stale, self.ghosts, (*self.refused, *refused))


def materialize(
    pipeline: Pipeline, to: str | None, say: Say, follow: bool = False, wait: Callable[[float], object] = time.sleep
) -> Filled:
    """Bring a store to what the staged topic of the pipeline file has: documents, deletions, cleared tables.

    to      the store's name in the file; None: the only other one
    follow  go on with what comes, until interrupted: `wait` is called between two looks

    Raises ConfigError where the file names no topic, or no such store, or the store is another pipeline's, and
    Displaced where another run takes it over meanwhile.
    """
    name = _target(pipeline, to)
    topic = _opened(pipeline, "kafka")
    assert isinstance(topic, StagedStore)
    with closing(topic), closing(_claimed(pipeline, name, topic)) as store:
        filled = _whole(topic, store, say)
        while follow:
            wait(_LOOK_EVERY_S)
            filled = _changed(topic, store, filled)
        return filled


def _target(pipeline: Pipeline, to: str | None) -> str:
    pipeline.store.of(StagedTopic)
    others = [name for name in pipeline.store.names if name != "kafka"]
    if to is None and len(others) == 1:
        return others[0]
    if to not in others:
        there = ", ".join(others) or "none beside kafka"
        raise ConfigError([f"--to is {to or 'missing'}, must be a store of the pipeline file: {there}"])
    return to


def _claimed(pipeline: Pipeline, name: str, topic: StagedStore) -> VectorStore:
    """The store, prepared and this run's; it says of what was made what the topic's owner says of it."""
    if not topic.look():
        raise ConfigError([f"store.kafka: {pipeline.place('kafka')} isn't there: run the pipeline that stages to it"])
    said = topic.owner()
    made = Fingerprint(pipeline.embedding.model) if said is None else said.made
    with closing(_opened(pipeline, name)) as looked:
        looked.prepare()
        found = Found(f"store.{name}: {pipeline.place(name)}", looked.owner())
    if found.owner is not None and found.owner.pipeline != pipeline.name:
        theirs = found.owner.pipeline
        raise ConfigError(
            [
                f"{found.place} belongs to pipeline {theirs}: name another place for what is materialized, or have the "
                f"file's name be {theirs}"
            ]
        )
    owner = owner_of(pipeline.name, [found], (), made, How.REBUILD, time.time_ns() // 1_000_000)
    store = _opened(pipeline, name, owner)
    try:
        store.claim()
    except BaseException:
        store.close()
        raise
    return store


def _opened(pipeline: Pipeline, name: str, owner: Owner | None = None) -> VectorStore:
    return open_store(stores_of(pipeline, owner), name, dimension(pipeline.embedding), _PATIENCE_S, 0.0)


def _whole(topic: StagedStore, store: VectorStore, say: Say) -> Filled:
    for table, mark in topic.marks().items():
        store.clear(table, mark)
    topic.changed()  # what changes from here on is told next
    filled = _applied(topic.documents(), store, Filled())
    filled = _deleted(topic, store, filled)
    say(Line(f"{filled.documents:,} documents, {filled.chunks:,} chunks; {filled.deleted:,} deleted"))
    return replace(filled, ghosts=_without_ghosts(topic, store))


def _changed(topic: StagedStore, store: VectorStore, filled: Filled) -> Filled:
    ids = topic.changed()
    if not ids:
        return filled
    for table, mark in topic.marks().items():
        if store.mark(table) < mark:
            store.clear(table, mark)
    filled = _applied(topic.staged(ids), store, filled)
    gone = topic.deleted()
    filled = _plans([Plan(each, gone[each]) for each in ids if each in gone], [], store, filled)
    dropped = ids - topic.positions(list(ids)).keys()
    return replace(filled, ghosts=filled.ghosts + _without(store, dropped))


def _applied(documents: Iterable[Staged], store: VectorStore, filled: Filled) -> Filled:
    for some in sized(documents, _size, _MOST_BYTES, _MOST_DOCUMENTS):
        plans = [plan_of(each) for each in some]
        held = store.held(plans)
        narrowed, rows = [], []
        for plan, staged in zip(plans, some, strict=True):
            keep = [number for number, chunk in enumerate(staged.chunks) if chunk.chunk_id not in held]
            narrowed.append(replace(plan, write=tuple(staged.chunks[number] for number in keep)))
            rows.append(np.ascontiguousarray(staged.vectors[keep]))
        filled = _plans(narrowed, rows, store, filled)
    return filled


def _plans(plans: list[Plan], rows: list[Any], store: VectorStore, filled: Filled) -> Filled:
    if not plans:
        return filled
    empty = np.zeros((0, 0), np.float32)
    outcomes = store.apply(plans, rows or [empty] * len(plans))
    return filled.and_of(outcomes, plans)


def _deleted(topic: StagedStore, store: VectorStore, filled: Filled) -> Filled:
    gone = [Plan(each, position) for each, position in topic.deleted().items()]
    for start in range(0, len(gone), _MOST_DOCUMENTS):
        filled = _plans(gone[start : start + _MOST_DOCUMENTS], [], store, filled)
    return filled


def _without_ghosts(topic: StagedStore, store: VectorStore) -> int:
    """Take out what the topic doesn't know of any more: whose tombstones were compacted away."""
    known = set(topic.document_ids()) | topic.deleted().keys()
    return _without(store, (each for each in store.document_ids() if each not in known))


def _without(store: VectorStore, ids: Iterable[str]) -> int:
    dropped = 0
    for some in _parts(ids):
        stood = store.positions(some)
        dropped += len(store.drop({each: stood.get(each, BEGINNING) for each in some}))
    return dropped


def _parts(ids: Iterable[str]) -> Iterator[list[str]]:
    return sized(list(ids), lambda _: 1, _MOST_DOCUMENTS)


def _size(staged: Staged) -> int:
    return staged.vectors.nbytes + len(staged.metadata) + sum(len(chunk.text) for chunk in staged.chunks)


def plan_of(staged: Staged) -> Plan:
    """The plan that a record was made of, whole."""
    metadata = json.loads(staged.metadata)
    if staged.numbers:
        digits = json.loads(staged.metadata, parse_float=str, parse_int=str)
        metadata |= {name: digits[name] for name in staged.numbers if name in digits}
    ids = tuple(chunk.chunk_id for chunk in staged.chunks)
    return Plan(
        staged.document_id,
        staged.position,
        ids,
        staged.chunks,
        metadata,
        committed_ms=staged.committed_ms,
        numbers=staged.numbers,
    )
