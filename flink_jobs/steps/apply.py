"""The last two steps of the vector pipeline, as fused pandas UDFs: cut and embed the new chunks, write the plans.

Flink calls both on the same Arrow batch in one Python worker, so vectors never leave it between them. Plans of one
document within a batch are folded: what a later change overwrites is neither cut nor embedded nor written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import time_ns
from typing import Any

import numpy as np
import pandas as pd
from msgspec import structs
from pyflink.table import DataTypes, FunctionContext
from pyflink.table.udf import ScalarFunction, udf

from connectors.opening.stores import Stores, open_stores
from core.change import Position
from core.config.documents import Chunk as Chunking
from core.config.embedding import Embedding
from core.documents.step import table_id
from core.metrics import tally
from core.plans import Chunk, Outcome, Plan, Status, earlier_of, fold, made_by
from core.stores.contract import Vectors
from core.stores.outcomes import cleared
from flink_jobs import payloads
from flink_jobs.engine import workers
from flink_jobs.engine.metrics import Meters, timed
from flink_jobs.engine.model_load import recorded_load
from flink_jobs.payloads import Answer, Embedded
from flink_jobs.steps.cutting import Cuts
from flink_jobs.steps.fan_out import FanOut, MadeNow, reason_of
from flink_jobs.steps.outcomes import messages_of, what_stood
from udfs.embedding.contract import Embedder
from udfs.embedding.embedder import dimension, embed_each, embedder


def embed_plans(
    plans: Sequence[Plan], model: Embedder, stores: FanOut, made_now: MadeNow, cut: Callable[[Plan], Plan]
) -> list[Embedded]:
    """The plans of a batch, folded and cut, with the vectors of the chunks that a store lacks; one result a plan, in
    order.
    """
    latest, earlier = fold(plans), earlier_of(plans)
    folded = {identity: cut(plan) for identity, plan in latest.items()}
    writing = [plan for plan in folded.values() if plan.write]
    held = stores.held(writing) if writing else frozenset()
    new = {identity: [chunk for chunk in plan.write if chunk.chunk_id not in held] for identity, plan in folded.items()}
    given = {plan.document_id: stores.vectors(plan.moved_from, made_now) for plan in writing if plan.moved_from}
    asked = [(identity, chunk) for identity, chunks in new.items() for chunk in chunks]
    reused = [chunk.text in given.get(identity, ()) for identity, chunk in asked]
    wanted = [at for at, known in enumerate(reused) if not known]
    with timed("model_us"):
        made, errors = embed_each(model, [asked[at][1].text for at in wanted])
    vectors = np.zeros((len(asked), model.dimension), "<f4")
    vectors[wanted] = made
    for at, (identity, chunk) in enumerate(asked):
        if reused[at]:
            vectors[at] = given[identity][chunk.text]
    bad = {asked[wanted[at]][0]: error for at, error in errors.items()}
    ready: dict[int, Embedded] = {}
    rows = {id(plan): row for row, plan in enumerate(plans)}
    start = 0
    for identity, last in folded.items():
        plan = replace(last, earlier=earlier[identity]) if identity in earlier else last
        end = start + len(new[identity])
        ids = tuple(chunk.chunk_id for chunk in new[identity])
        refused = bad.get(identity)
        ready[rows[id(latest[identity])]] = (
            Embedded(identity, plan, ids, vectors[start:end].tobytes(), sum(reused[start:end]))
            if refused is None
            else Embedded(identity, plan, error=(type(refused).__name__, str(refused)))
        )
        start = end
    return [ready.get(row) or Embedded(plan.document_id) for row, plan in enumerate(plans)]


def write_plans(rows: Sequence[Embedded], model: Embedder, stores: FanOut) -> list[dict[str, Outcome]]:
    """Each row's outcomes by store, in order; a row without a plan shares those of its document's latest.

    What a store lacks may have changed since it was asked: another worker cleared a table. So a plan that is
    rejected is written once more with all its vectors, which lacks nothing.
    """
    whole = [row for row in rows if row.plan is not None and row.error is None]
    plans = [_narrowed(row) for row in whole]
    outcomes = dict(zip((row.document_id for row in whole), stores.apply(plans, _vectors(whole, model)), strict=True))
    again = [
        row.plan
        for row, plan in zip(whole, plans, strict=True)
        if row.plan is not None and len(plan.write) < len(plan.chunk_ids) and _rejected(outcomes[row.document_id])
    ]
    if again:
        outcomes.update(_with_all(again, model, stores))
    outcomes.update(
        (row.document_id, {"": Outcome(row.document_id, Status.REJECTED, *row.error)}) for row in rows if row.error
    )
    return [outcomes[row.document_id] for row in rows]


def _narrowed(row: Embedded) -> Plan:
    assert row.plan is not None
    new = frozenset(row.new)
    return replace(row.plan, write=tuple(chunk for chunk in row.plan.write if chunk.chunk_id in new))


def _vectors(rows: Sequence[Embedded], model: Embedder) -> list[Vectors]:
    return [np.frombuffer(row.vectors, "<f4").reshape(-1, model.dimension) for row in rows]


def _with_all(plans: Sequence[Plan], model: Embedder, stores: FanOut) -> dict[str, dict[str, Outcome]]:
    with timed("model_us"):
        vectors, errors = embed_each(model, [chunk.text for plan in plans for chunk in plan.write])
    if errors:
        return {}
    ends = np.cumsum([len(plan.write) for plan in plans])
    applied = stores.apply(plans, np.split(vectors, ends[:-1]))
    return {plan.document_id: outcomes for plan, outcomes in zip(plans, applied, strict=True)}


def _rejected(outcomes: Mapping[str, Outcome]) -> bool:
    return any(outcome.status is Status.REJECTED for outcome in outcomes.values())


def _loaded(embedding: Embedding) -> Embedder:
    return recorded_load(lambda: embedder(embedding), lambda model: model.describe())


class _EmbedPlans(ScalarFunction):
    def __init__(self, stores: Stores, embedding: Embedding, chunks: Mapping[str, Chunking]) -> None:
        self._settings = stores
        self._embedding = embedding
        self._chunks = dict(chunks)

    def open(self, function_context: FunctionContext) -> None:
        workers.begin()
        self._embedder = _loaded(self._embedding)
        self._stores = FanOut(open_stores(self._settings, self._embedder.dimension))
        self._cuts = Cuts(self._embedding, self._chunks)

    def close(self) -> None:
        self._stores.close()

    def is_deterministic(self) -> bool:
        return False

    def _made_now(self, document_id: str, there: Sequence[Chunk]) -> frozenset[str]:
        return made_by(document_id, there, self._embedding.model, self._cuts.of(document_id).name)

    def eval(self, plans: pd.Series[Any]) -> pd.Series[Any]:
        # marks go through as they are, behind what came before them
        given = [payloads.PLAN.decode(raw) for raw in plans if not payloads.is_mark(raw)]
        if not given:
            return plans
        rows = embed_plans(given, self._embedder, self._stores, self._made_now, self._cuts.cut)
        new, reused = sum(len(row.new) for row in rows), sum(row.reused for row in rows)
        tally.count("batches")
        tally.count("batched", len(rows))
        tally.count("chunks_embedded", new - reused)
        tally.count("chunks_reused", reused)
        tally.count("chunks_kept", sum(len(row.plan.chunk_ids) for row in rows if row.plan is not None) - new)
        encoded = map(payloads.EMBEDDED.encode, rows)
        return pd.Series([raw if payloads.is_mark(raw) else next(encoded) for raw in plans], dtype=object)


class _WritePlans(ScalarFunction):
    def __init__(self, stores: Stores, embedding: Embedding, of_objects: bool, tells: bool) -> None:
        self._settings = stores
        self._embedding = embedding
        self._of_objects = of_objects
        self._tells = tells

    def open(self, function_context: FunctionContext) -> None:
        self._embedder = _loaded(self._embedding)
        opened = open_stores(self._settings, self._embedder.dimension)
        self._alone = len(opened) == 1
        self._stores = FanOut(opened)

    def close(self) -> None:
        self._stores.close()

    def is_deterministic(self) -> bool:
        # A planner may fold, drop or repeat calls of deterministic functions; this one writes.
        return False

    def eval(self, rows: pd.Series[Any]) -> pd.Series[Any]:
        embedded = [payloads.EMBEDDED.decode(raw) for raw in rows if not payloads.is_mark(raw)]
        before = what_stood(embedded, self._stores) if self._tells else {}
        outcomes = write_plans(embedded, self._embedder, self._stores) if embedded else []
        pipeline = self._settings.pipeline
        messages = messages_of(embedded, outcomes, before, self._stores, pipeline) if self._tells else {}
        _count(embedded, outcomes, time_ns() // 1_000_000)
        if self._of_objects:
            tally.count("refused_by_time", refused(outcomes))
        of_plans = (Answer(self._rejections(each), messages=messages.get(row, ())) for row, each in enumerate(outcomes))
        # all that stands before a mark in this batch, or came in an earlier one, is written by now
        answers = [Answer(passed=raw) if payloads.is_mark(raw) else next(of_plans) for raw in rows]
        # with the first row goes what was counted of the batch, by both functions
        answers[:1] = [structs.replace(first, counted=tuple(tally.drain())) for first in answers[:1]]
        nothing = Answer()
        return pd.Series([None if each == nothing else payloads.ANSWER.encode(each) for each in answers], dtype=object)

    def _rejections(self, outcomes: Mapping[str, Outcome]) -> tuple[Outcome, ...]:
        return tuple(
            reason_of(name, outcome, self._alone)
            for name, outcome in outcomes.items()
            if outcome.status is Status.REJECTED
        )


def refused(outcomes: Sequence[Mapping[str, Outcome]]) -> int:
    """How many changes were older than a store's: of objects that is none, unless a clock was set back."""
    return sum(any(outcome.status is Status.STALE for outcome in each.values()) for each in outcomes)


_COUNTED = {Status.APPLIED: "applied", Status.STALE: "outdated", Status.REJECTED: "rejected"}


def _count(rows: Sequence[Embedded], outcomes: Sequence[Mapping[str, Outcome]], now_ms: int) -> None:
    """Outcomes by store; and how long it took of changes that are in one, a later one of the same batch excepted."""
    for row, each in zip(rows, outcomes, strict=True):
        for store, outcome in each.items():
            if store:
                tally.count(_COUNTED[outcome.status], store=store)
        committed_ms = None if row.plan is None else row.plan.committed_ms
        if committed_ms is not None and any(outcome.status is Status.APPLIED for outcome in each.values()):
            tally.searchable(now_ms - committed_ms)


class _ClearTables(ScalarFunction):
    def __init__(self, stores: Stores, embedding: Embedding, tells: bool) -> None:
        self._settings = stores
        self._embedding = embedding
        self._meters = Meters("documents_swept")
        self._tells = tells

    def open(self, function_context: FunctionContext) -> None:
        workers.begin()
        self._stores = open_stores(self._settings, dimension(self._embedding))
        self._meters.open(function_context.get_metric_group())

    def close(self) -> None:
        for store in self._stores.values():
            store.close()

    def is_deterministic(self) -> bool:
        return False

    def eval(self, tables: pd.Series[Any], positions: pd.Series[Any]) -> pd.Series[Any]:
        # Where a store is away the job fails over and the sweep comes again: left out, it would leave ghosts.
        for table, position in zip(tables, positions, strict=True):
            for store in self._stores.values():
                self._meters.count("documents_swept", store.clear(table_id(table), Position(position)))
        return pd.Series([self._message(*each) for each in zip(tables, positions, strict=True)], dtype=object)

    def _message(self, table: str, position: str) -> bytes | None:
        if not self._tells:
            return None
        message = cleared(self._settings.pipeline, table_id(table), Position(position), self._stores)
        return payloads.ANSWER.encode(Answer(messages=((table_id(table), message),)))


def functions(
    stores: Stores, embedding: Embedding, chunks: Mapping[str, Chunking], of_objects: bool, tells: bool
) -> dict[str, Any]:
    """The UDFs of a pipeline by their SQL name.

    `write_plans(embed_plans(plan))` is NULL, or the rejected Outcomes; `clear_table(table, position)` is NULL, or has a
    message of the topic of outcomes.

    chunks      how texts are cut, by table
    of_objects  whether documents are of objects: then what a store knows better is counted
    tells       whether there is a topic of outcomes
    """
    made = {
        "embed_plans": _EmbedPlans(stores, embedding, chunks),
        "write_plans": _WritePlans(stores, embedding, of_objects, tells),
        "clear_table": _ClearTables(stores, embedding, tells),
    }
    return {name: udf(each, result_type=DataTypes.BYTES(), func_type="pandas") for name, each in made.items()}
