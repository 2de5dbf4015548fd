"""One pass of `freshet verify`: the source's rows against every store, and what differs looked at again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import islice
from typing import Any

import msgspec

from core.change import Position
from core.config.pipeline import Pipeline
from core.documents.step import Chunker, DocumentSpec
from core.errors import DocumentError
from core.plans import Plan
from core.stores.contract import Stored, Vectors, VectorStore
from core.stores.source import Row, Source
from core.stores.verification import (
    SAME_DIRECTION,
    Difference,
    Kind,
    Sample,
    Seen,
    compare,
    compare_vectors,
    expected,
    key_of,
    table_of,
)
from operations.verify.stream import Progress
from udfs.embedding.contract import Embedder
from udfs.embedding.embedder import embed_each

ROWS_AT_ONCE = 1000
_AGAIN_AT_ONCE = 200
_MOST_SUSPECTS = 20_000
_LOOKS = 3
_GONE = "the source has no row that makes it"


@dataclass(frozen=True, slots=True)
class Watched:
    """A table of the pipeline, and how its rows become documents. `key` is empty where it has no primary key."""

    spec: DocumentSpec
    source: Source
    key: tuple[str, ...]
    columns: tuple[str, ...]
    chunker: Chunker
    model: str

    def plan(self, raw: Row) -> Plan:
        """The document of a row in the source's own encoding. Raises DocumentError where it makes none."""
        row = self.source.as_in_events(self.spec.table, raw)
        return expected(row, self.key, self.spec, self.model, self.chunker)

    def key_of(self, raw: Row) -> tuple[tuple[str, Any], ...]:
        """The row's key, as the decoder gives it."""
        row = self.source.as_in_events(self.spec.table, {name: raw[name] for name in self.key or self.spec.key})
        return tuple(row.items())


def watched(pipeline: Pipeline, source: Source, chunkers: Mapping[str, Chunker]) -> list[Watched]:
    """The pipeline's tables. Raises ConfigError where the source lacks one of them."""
    found = []
    for name, document in pipeline.documents.items():
        spec = document.spec(name)
        key, columns = source.key(name), source.columns(spec)
        found.append(Watched(spec, source, key, columns, chunkers[name], pipeline.embedding.model))
    return found


@dataclass(frozen=True, slots=True)
class Suspect:
    """A document to look at again: in which store, by which key its row is found, and whether with its vectors.

    `key` is as the decoder gives it, or as text where only the document's id tells it.
    """

    store: str
    table: str
    document_id: str
    key: tuple[tuple[str, Any], ...]
    vectors: bool = False


@dataclass(slots=True)
class Findings:
    """What a pass found.

    rows      rows read, by table
    kinds     differences by (table, store, kind)
    listed    the first of them, with their store
    moving    documents that changed at each look
    barren    rows that make no document, by table; `reason`: why the first of them doesn't
    compared  each table with each store
    sampled   documents whose vectors were compared
    vectored  documents that have vectors
    lag       what the stream had not passed in time, "" where it had
    let_go    documents that a store isn't asked for, as it lets go what doesn't change for long, by (table, store)
    made      how what stands in the stores was made otherwise than the pipeline file says
    """

    rows: Counter[str] = field(default_factory=Counter)
    kinds: Counter[tuple[str, str, Kind]] = field(default_factory=Counter)
    listed: list[tuple[str, Difference]] = field(default_factory=list)
    moving: int = 0
    barren: Counter[str] = field(default_factory=Counter)
    reason: str = ""
    compared: list[tuple[str, str]] = field(default_factory=list)
    sampled: int = 0
    vectored: int = 0
    lag: str = ""
    let_go: Counter[tuple[str, str]] = field(default_factory=Counter)
    made: list[str] = field(default_factory=list)

    def add(self, store: str, difference: Difference, most: int = 1000) -> None:
        """Count a difference, and list it while there are few."""
        self.kinds[table_of(difference.document_id), store, difference.kind] += 1
        if len(self.listed) < most:
            self.listed.append((store, difference))


@dataclass(slots=True)
class Pass:
    """The comparison at work.

    source    for fresh reads; the snapshot has a connection of its own
    progress  is called for each step: a label, what was done of it, of how much (0: unknown)
    mend      is given the differences that stood a second look
    upto      no change of the source's has a later position now; None where that isn't known
    least     the least cosine of two vectors that pass for one
    forgetful  the stores that let go what doesn't change for long: what is missing there is no difference
    """

    tables: Mapping[str, Watched]
    source: Source
    stores: Mapping[str, VectorStore]
    embedder: Embedder
    stream: Progress
    progress: Callable[[str, int, int], object]
    mend: Callable[[Sequence[tuple[Suspect, Difference]]], object]
    upto: Callable[[], Position | None] = lambda: None
    least: float = SAME_DIRECTION
    forgetful: frozenset[str] = frozenset()
    findings: Findings = field(default_factory=Findings)
    _seen: Seen = field(default_factory=Seen)
    _suspects: list[Suspect] = field(default_factory=list)

    def run(self, snapshot: Source, sample: int | None, seed: int = 0) -> Findings:
        """Compare everything; `sample` documents with their vectors, None: all of them."""
        chosen = None if sample is None else Sample[Suspect](sample, seed)
        self.findings.compared = [(table, store) for table in self.tables for store in self.stores]
        self.stream.passed()
        with snapshot.snapshot() as state:
            for watched in self.tables.values():
                total = state.count(watched.spec.table)
                for batch in state.rows(watched.spec.table, watched.columns, ROWS_AT_ONCE):
                    self._rows(watched, batch, chosen)
                    self.progress(watched.spec.table, self.findings.rows[watched.spec.table], total)
        self._look_again()
        if chosen is not None:
            self._vectors(chosen.items())
        for name, store in self.stores.items():
            self._strangers(name, store)
        self._look_again()
        self.findings.lag = self.stream.lag
        return self.findings

    def _rows(self, watched: Watched, batch: Sequence[Row], chosen: Sample[Suspect] | None) -> None:
        table = watched.spec.table
        self.findings.rows[table] += len(batch)
        plans: dict[str, tuple[Plan, Row]] = {}
        for raw in batch:
            try:
                plan = watched.plan(raw)
            except DocumentError as error:
                self.findings.barren[table] += 1
                self.findings.reason = self.findings.reason or str(error)
            else:
                plans[plan.document_id] = (plan, raw)
        self._seen.add(plans)
        whole = [plan for plan, _ in plans.values() if plan.chunk_ids]
        self.findings.vectored += len(whole)
        made = self._made(whole) if chosen is None else {}
        for name, store in self.stores.items():
            there, upto = store.read(list(plans)), self.upto()
            for identity, (plan, raw) in plans.items():
                stored = there.get(identity)
                if stored is None and plan.chunk_ids and name in self.forgetful:
                    self.findings.let_go[table, name] += 1
                    continue
                suspect = Suspect(name, table, identity, watched.key_of(raw), vectors=identity in made)
                if compare(plan, stored, upto) is not None or self._is_off(plan, stored, made.get(identity)):
                    self._suspect(suspect)
        if chosen is not None:
            for plan in whole:
                key = watched.key_of(plans[plan.document_id][1])
                chosen.offer(plan.document_id, Suspect("", table, plan.document_id, key, vectors=True))

    def _is_off(self, plan: Plan, stored: Stored | None, vectors: Vectors | None) -> bool:
        if stored is None or vectors is None:
            return False
        return compare_vectors(plan, stored, vectors, self.least) is not None

    def _made(self, plans: Sequence[Plan]) -> dict[str, Vectors]:
        """The vectors of each document that can be embedded, all at once."""
        vectors, errors = embed_each(self.embedder, [chunk.text for plan in plans for chunk in plan.write])
        made: dict[str, Vectors] = {}
        start = 0
        for plan in plans:
            end = start + len(plan.write)
            if not errors.keys() & set(range(start, end)):
                made[plan.document_id] = vectors[start:end]
            start = end
        self.findings.sampled += len(made)
        return made

    def _vectors(self, chosen: Sequence[Suspect]) -> None:
        for at, suspect in enumerate(chosen):
            self.progress("vectors", at, len(chosen))
            plan = self._plan(suspect)
            for name in self.stores if plan is not None else ():
                of_store = replace(suspect, store=name)
                stored = self._stored([of_store])[0]
                # what differs in more than vectors was found with the rows
                if (
                    plan is not None
                    and compare(plan, stored) is None
                    and self._difference(of_store, plan, stored, None)
                ):
                    self._suspect(of_store)
        self.findings.sampled = len(chosen)

    def _strangers(self, name: str, store: VectorStore) -> None:
        ids = store.document_ids()
        looked = 0
        while page := list(islice(ids, 10 * ROWS_AT_ONCE)):
            looked += len(page)
            self.progress(f"documents of {name}", looked, 0)
            foreign = [identity for identity in page if table_of(identity) not in self.tables]
            for identity in foreign:
                there = Difference(identity, Kind.FOREIGN, f"the pipeline names no table {table_of(identity)}")
                self.findings.add(name, there)
            for identity in self._seen.unknown([each for each in page if table_of(each) in self.tables]):
                table = table_of(identity)
                self._suspect(Suspect(name, table, identity, self._key_in(identity)))

    def _key_in(self, identity: str) -> tuple[tuple[str, Any], ...]:
        """The key that an id tells; () where it is none of its table's."""
        watched = self.tables[table_of(identity)]
        columns = watched.spec.key or watched.key
        values = key_of(identity)
        return tuple(zip(columns, values, strict=True)) if len(columns) == len(values) else ()

    def _suspect(self, suspect: Suspect) -> None:
        self._suspects.append(suspect)
        if len(self._suspects) >= _MOST_SUSPECTS:
            self._look_again()

    def _look_again(self) -> None:
        """Keep what differs still, once the stream has passed a row that was read before and is the same afterwards."""
        suspects, self._suspects = self._suspects, []
        for _ in range(_LOOKS):
            if not suspects:
                return
            self.progress(f"looking again at {len(suspects):,} documents", 0, 0)
            before = [_mark(plan) for batch in _batches(suspects) for plan in self._plans(batch)]
            self.stream.passed()
            suspects = self._judge(suspects, before)
        self.findings.moving += len(suspects)

    def _judge(self, suspects: Sequence[Suspect], before: Sequence[bytes]) -> list[Suspect]:
        """Count and mend what stands; those whose row has changed since `before` are to be looked at again."""
        moved: list[Suspect] = []
        for at, batch in enumerate(_batches(suspects)):
            stand: list[tuple[Suspect, Difference]] = []
            marks = before[at * _AGAIN_AT_ONCE :]
            # the store first: what it has then can't be newer than the row
            stored = self._stored(batch)
            upto = self.upto()
            for suspect, there, plan, mark in zip(batch, stored, self._plans(batch), marks, strict=False):
                difference = self._difference(suspect, plan, there, upto)
                if difference is not None and _mark(plan) != mark:
                    moved.append(suspect)
                elif difference is not None:
                    stand.append((suspect, difference))
                    self.findings.add(suspect.store, difference)
            if stand:
                self.mend(stand)
        return moved

    def _plans(self, suspects: Sequence[Suspect]) -> list[Plan | None]:
        """For each the document that its row makes now; None where the row is gone, or makes none."""
        return [self._plan(suspect) for suspect in suspects]

    def _plan(self, suspect: Suspect) -> Plan | None:
        watched = self.tables[suspect.table]
        raw = self.source.raw_row(suspect.table, dict(suspect.key)) if suspect.key else None
        if raw is None:
            return None
        try:
            plan = watched.plan(raw)
        except DocumentError:
            return None
        return plan if plan.document_id == suspect.document_id else None

    def _stored(self, suspects: Sequence[Suspect]) -> list[Stored | None]:
        of_store: dict[str, list[str]] = {}
        for suspect in suspects:
            of_store.setdefault(suspect.store, []).append(suspect.document_id)
        there = {name: self.stores[name].read(ids) for name, ids in of_store.items()}
        return [there[suspect.store].get(suspect.document_id) for suspect in suspects]

    def _difference(
        self, suspect: Suspect, plan: Plan | None, stored: Stored | None, upto: Position | None
    ) -> Difference | None:
        if plan is None:
            return None if stored is None else Difference(suspect.document_id, Kind.GHOST, _GONE)
        if stored is None and suspect.store in self.forgetful:
            return None
        difference = compare(plan, stored, upto)
        if difference is not None or stored is None or not suspect.vectors:
            return difference
        vectors, errors = embed_each(self.embedder, [chunk.text for chunk in plan.write])
        return None if errors else compare_vectors(plan, stored, vectors, self.least)


def _mark(plan: Plan | None) -> bytes:
    """Tells one state of a document from another."""
    if plan is None:
        return b""
    return blake2b(msgspec.msgpack.encode((plan.chunk_ids, plan.metadata)), digest_size=16).digest()


def _batches(suspects: Sequence[Suspect]) -> Iterator[Sequence[Suspect]]:
    for at in range(0, len(suspects), _AGAIN_AT_ONCE):
        yield suspects[at : at + _AGAIN_AT_ONCE]
