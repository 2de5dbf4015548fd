"""`freshet materialize`: a store is filled from a staged log. Vectors come with the records: nothing is embedded."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from connectors.opening.stores import open_staged, open_store, stores_of
from connectors.staged.store import StagedStore
from core.change import BEGINNING
from core.config.pipeline import Pipeline
from core.config.store import Store
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
    pipeline: Pipeline,
    to: str | None,
    say: Say,
    follow: bool = False,
    wait: Callable[[float], object] = time.sleep,
    of: str | None = None,
) -> Filled:
    """Bring a store to what the staged log of the pipeline file has: documents, deletions, cleared tables.

    What the log doesn't know of any more is taken out, unless the log is one that forgets.

    to      the store's name in the file; None: the only other one
    follow  go on with what comes, until interrupted: `wait` is called between two looks
    of      the log's name in the file; None: the only one beside `to`

    Raises ConfigError where the file names no such log, or no such store, or the store is another pipeline's, and
    Displaced where another run takes it over meanwhile.
    """
    if pipeline.makes_feedback:
        raise ConfigError(
            ["materialize fills a store of documents from their log, and this pipeline file makes feedback"]
        )
    source, name = _ways(pipeline.store, of, to)
    log = open_staged(stores_of(pipeline), source, dimension(pipeline.embedding), _PATIENCE_S)
    forgets = bool(pipeline.store.targets[source].forgets)
    with closing(log), closing(_claimed(pipeline, source, name, log)) as store:
        filled = _whole(log, store, say, forgets)
        while follow:
            wait(_LOOK_EVERY_S)
            filled = _changed(log, store, filled)
        return filled


def _ways(store: Store, of: str | None, to: str | None) -> tuple[str, str]:
    """The names of the log and of the store that is filled from it."""
    logs = [name for name, each in store.targets.items() if each.staged and name != to]
    if of is None and len(logs) == 1:
        (of,) = logs
    if of not in logs:
        there = ", ".join(logs) or "none"
        raise ConfigError(
            [f"--from is {of or 'missing'}, must be a store of the pipeline file that documents are staged to: {there}"]
        )
    others = [name for name in store.names if name != of]
    if to is None and len(others) == 1:
        (to,) = others
    if to is None or to not in others:
        there = ", ".join(others) or f"none beside {of}"
        raise ConfigError([f"--to is {to or 'missing'}, must be a store of the pipeline file: {there}"])
    return of, to


def _claimed(pipeline: Pipeline, source: str, name: str, log: StagedStore) -> VectorStore:
    """The store, prepared and this run's; it says of what was made what the log's owner says of it."""
    if not log.look():
        there = pipeline.place(source)
        raise ConfigError([f"store.{source}: {there} isn't there: run the pipeline that stages to it"])
    said = log.owner()
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


def _whole(log: StagedStore, store: VectorStore, say: Say, forgets: bool) -> Filled:
    for table, mark in log.marks().items():
        store.clear(table, mark)
    log.changed()  # what changes from here on is said next
    filled = _applied(log.documents(), store, Filled())
    filled = _deleted(log, store, filled)
    say(Line(f"{filled.documents:,} documents, {filled.chunks:,} chunks; {filled.deleted:,} deleted"))
    if forgets:
        say(Line("what the log doesn't know of stays: it keeps each record for its retention alone"))
        return filled
    return replace(filled, ghosts=_without_ghosts(log, store))


def _changed(log: StagedStore, store: VectorStore, filled: Filled) -> Filled:
    ids = log.changed()
    if not ids:
        return filled
    for table, mark in log.marks().items():
        if store.mark(table) < mark:
            store.clear(table, mark)
    filled = _applied(log.staged(ids), store, filled)
    gone = log.deleted()
    filled = _plans([Plan(each, gone[each]) for each in ids if each in gone], [], store, filled)
    dropped = ids - log.positions(list(ids)).keys()
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


def _deleted(log: StagedStore, store: VectorStore, filled: Filled) -> Filled:
    gone = [Plan(each, position) for each, position in log.deleted().items()]
    for start in range(0, len(gone), _MOST_DOCUMENTS):
        filled = _plans(gone[start : start + _MOST_DOCUMENTS], [], store, filled)
    return filled


def _without_ghosts(log: StagedStore, store: VectorStore) -> int:
    """Take out what the log doesn't know of any more: whose tombstones were compacted away."""
    known = set(log.document_ids()) | log.deleted().keys()
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
