"""The last two steps of the vector pipeline, as fused pandas UDFs: embed the new chunks, write the plans.

Flink calls both on the same Arrow batch in one Python worker, so vectors never leave it between them. Plans of one
document within a batch are folded: what a later change overwrites is neither embedded nor written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from pyflink.table import DataTypes, FunctionContext
from pyflink.table.udf import ScalarFunction, udf

from connectors.pgvector import PgvectorStore
from core.config import Pipeline
from core.plans import Outcome, Plan, Status, fold, plan_from_bytes, without
from core.stores import Vectors, VectorStore
from udfs.embedding import Embedder, embed_each, embedder


@dataclass(frozen=True, slots=True)
class Embedded:
    """What goes from the embedding UDF to the writing one, a row a change.

    plan     None where a later row of the batch has taken the change in
    vectors  float32, little-endian, a row a chunk of `plan.write`
    error    class and message where a text can't be embedded
    """

    document_id: str
    plan: Plan | None = None
    vectors: bytes = b""
    error: tuple[str, str] | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Embedded).decode


def embed_plans(plans: Sequence[Plan], model: Embedder, store: VectorStore) -> list[Embedded]:
    """The plans of a batch, folded, with the vectors of their new chunks; one result a plan, in order."""
    folded = _new_to(store, fold(plans))
    texts = [chunk.text for plan in folded.values() for chunk in plan.write]
    vectors, errors = embed_each(model, texts)
    last = {plan.document_id: row for row, plan in enumerate(plans)}
    ready: dict[int, Embedded] = {}
    start = 0
    for identity, plan in folded.items():
        end = start + len(plan.write)
        bad = next((errors[at] for at in range(start, end) if at in errors), None)
        ready[last[identity]] = (
            Embedded(identity, plan, np.ascontiguousarray(vectors[start:end], "<f4").tobytes())
            if bad is None
            else Embedded(identity, plan, error=(type(bad).__name__, str(bad)))
        )
        start = end
    return [ready.get(row) or Embedded(plan.document_id) for row, plan in enumerate(plans)]


def _new_to(store: VectorStore, plans: dict[str, Plan]) -> dict[str, Plan]:
    writing = [plan for plan in plans.values() if plan.write]
    if not writing:
        return plans
    held = store.held(writing)
    return {identity: without(plan, held) for identity, plan in plans.items()}


def write_plans(rows: Sequence[Embedded], store: VectorStore, dimension: int) -> list[Outcome]:
    """One outcome a row, in order; a row that was folded into a later one shares that one's."""
    whole = [(row.plan, _vectors(row, dimension)) for row in rows if row.plan is not None and row.error is None]
    written = store.apply([plan for plan, _ in whole], [vectors for _, vectors in whole])
    outcomes = {outcome.document_id: outcome for outcome in written}
    outcomes.update(
        (row.document_id, Outcome(row.document_id, Status.REJECTED, *row.error))
        for row in rows
        if row.error is not None
    )
    return [outcomes[row.document_id] for row in rows]


def _vectors(row: Embedded, dimension: int) -> Vectors:
    return np.frombuffer(row.vectors, "<f4").reshape(-1, dimension)


def _store(pipeline: Pipeline, dimension: int) -> VectorStore:
    target = pipeline.store.pgvector
    return PgvectorStore(target.dsn, target.table, dimension, pipeline.embedding.model)


class _EmbedPlans(ScalarFunction):
    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def open(self, function_context: FunctionContext) -> None:
        self._embedder = embedder(self._pipeline.embedding.model)
        self._store = _store(self._pipeline, self._embedder.dimension)
        group = function_context.get_metric_group().add_group("freshet")
        self._chunks = group.counter("chunks_embedded")

    def close(self) -> None:
        self._store.close()

    def is_deterministic(self) -> bool:
        return False

    def eval(self, plans: pd.Series[Any]) -> pd.Series[Any]:
        rows = embed_plans([plan_from_bytes(raw) for raw in plans], self._embedder, self._store)
        self._chunks.inc(sum(len(row.plan.write) for row in rows if row.plan is not None))
        return pd.Series([_encode(row) for row in rows], dtype=object)


class _WritePlans(ScalarFunction):
    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def open(self, function_context: FunctionContext) -> None:
        self._dimension = embedder(self._pipeline.embedding.model).dimension
        self._store = _store(self._pipeline, self._dimension)
        group = function_context.get_metric_group().add_group("freshet")
        self._counters = {status: group.counter(status.value) for status in Status}

    def close(self) -> None:
        self._store.close()

    def is_deterministic(self) -> bool:
        # A planner may fold, drop or repeat calls of deterministic functions; this one writes.
        return False

    def eval(self, rows: pd.Series[Any]) -> pd.Series[Any]:
        outcomes = write_plans([_decode(raw) for raw in rows], self._store, self._dimension)
        for status, count in Counter(outcome.status for outcome in outcomes).items():
            self._counters[status].inc(count)
        return pd.Series([_rejection(outcome) for outcome in outcomes], dtype=object)


def _rejection(outcome: Outcome) -> bytes | None:
    return msgspec.msgpack.encode(outcome) if outcome.status is Status.REJECTED else None


def functions(pipeline: Pipeline) -> dict[str, Any]:
    """The UDFs of a pipeline by their SQL name; `write_plans(embed_plans(plan))` is NULL, or a rejected Outcome."""
    return {
        "embed_plans": udf(_EmbedPlans(pipeline), result_type=DataTypes.BYTES(), func_type="pandas"),
        "write_plans": udf(_WritePlans(pipeline), result_type=DataTypes.BYTES(), func_type="pandas"),
    }
