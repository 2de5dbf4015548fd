"""The operator that plans a document's changes, over what is known of it, and forgets that when it is of no use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from time import time
from typing import Any

from msgspec import structs
from pyflink.common import Row, Types
from pyflink.datastream import RuntimeContext, TimerService
from pyflink.datastream.functions import KeyedProcessFunction
from pyflink.datastream.state import ValueState, ValueStateDescriptor

from connectors.opening.stores import Stores
from core.change import Change, Operation
from core.config.documents import Document
from core.config.embedding import Embedding
from core.documents.departures import awaited, noted
from core.documents.forgetting import is_cleared, is_nothing, next_look, prefix_of, table_of, word_of
from core.documents.sources import of_source
from core.documents.state import DocumentState, state_from_bytes, state_to_bytes
from core.documents.step import Refused, Unsettled, step
from core.documents.uncut import uncut
from core.plans import Plan
from core.stores.earlier import with_earlier
from flink_jobs import payloads
from flink_jobs.engine.metrics import Meters, Snapshots
from flink_jobs.payloads import Mark
from flink_jobs.steps.marks import marks_of
from flink_jobs.steps.operators import BACKFILL_MARK, DEAD_LETTERS, REPLAY_MARK, UNSETTLED
from flink_jobs.steps.refusing import refuse
from flink_jobs.steps.settling import EARLY_MS, PATIENCE_MS
from udfs.embedding.tokenizing import document_chunker


class PlanDocument(KeyedProcessFunction):
    """Change to plan, by document: `core.documents.step.step` over Flink's keyed state. Texts are cut where they are
    embedded, once what is overwritten in the same batch is folded away.

    bounded  whether the source is read from its start to its end, and so again what the state may know
    tells    whether plans say what their documents were before, for a topic of outcomes
    """

    def __init__(
        self,
        documents: Mapping[str, Document],
        embedding: Embedding,
        stores: Stores,
        bounded: bool,
        tells: bool = False,
    ) -> None:
        self._name = stores.pipeline
        self._embedding = embedding
        self._stores = stores
        self._documents = dict(documents)
        self._specs = {table: document.spec(table) for table, document in documents.items()}
        self._meters = Meters("stale", *Snapshots.NAMES)
        self._bounded = bounded
        self._tells = tells

    def open(self, runtime_context: RuntimeContext) -> None:
        """Open the state and the tokenizer."""
        self._state: ValueState = runtime_context.get_state(
            ValueStateDescriptor("document", Types.PICKLED_BYTE_ARRAY())
        )
        self._chunkers = {
            table: uncut(document_chunker(self._embedding, document.chunk))
            for table, document in self._documents.items()
        }
        self._marks = marks_of(self._stores)
        self._meters.open(runtime_context.get_metrics_group())
        self._snapshots = Snapshots()

    def close(self) -> None:
        """Give the stores' connections back."""
        self._marks.close()

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        """One CHANGE in; of PLANS, UNSETTLED, dead letters or nothing out. What couldn't be read has no event."""
        encoded, event = value
        if payloads.is_mark(encoded):
            yield from self._pass_on(payloads.MARK.decode(encoded), ctx)
            return
        change = payloads.CHANGE.decode(encoded)
        raw = self._state.value()
        before = None if raw is None else state_from_bytes(raw)
        spec, chunker = self._specs[change.table], self._chunkers[change.table]
        marks = (REPLAY_MARK in event, BACKFILL_MARK in event)
        state, emitted = step(before, change, spec, self._embedding.model, chunker, *marks)
        if not emitted and event:
            self._meters.count("stale")
        if change.snapshot and not self._bounded:
            self._snapshots.heard(before is not None and change.position < before.position, self._meters)
        if state is not None and state is not before:
            self._remember(state, 0 if before is None else before.since, change, ctx)
        for each in emitted:
            if isinstance(each, Plan):
                plan = with_earlier(each, before, spec, change.numbers) if self._tells else each
                yield Row(payloads.PLAN.encode(plan), event)
                continue
            if isinstance(each, Refused):
                of = payloads.EVENT.decode(event)
                yield DEAD_LETTERS, refuse(self._name, self._meters, "plan", each.error, of, each.name)
                each = Unsettled(each.name, each.change)
            unsettled = Row(payloads.UNSETTLED.encode(structs.replace(each, event=event)), ctx.timestamp())
            yield UNSETTLED, Row(self._together(change), unsettled)

    def _pass_on(self, mark: Mark, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        """A mark goes the way of plans, and by each table's name the way of what is settled."""
        yield Row(payloads.MARK.encode(mark), b"")
        for table in mark.tables:
            copy = structs.replace(mark, way=f"{mark.way}/{table}")
            yield UNSETTLED, Row(table, Row(payloads.MARK.encode(copy), ctx.timestamp()))

    def _together(self, change: Change) -> str:
        """Whose halves of key changes meet, by position: a table's, of one database."""
        spec = self._specs[change.table]
        return of_source(spec.table, change.source) if spec.id_from_source else spec.table

    def _remember(self, state: DocumentState, since: int, change: Change, ctx: KeyedProcessFunction.Context) -> None:
        forget_at, timers, now = state.forget_at, ctx.timer_service(), int(time() * 1000)
        is_deletion = change.operation is Operation.DELETE and state.position == change.position and is_nothing(state)
        if is_deletion:
            forget_at = timers.current_processing_time() + self._stores.remember_ms
        if is_deletion or not since:
            since = since or now
            timers.register_processing_time_timer(next_look(since, now, forget_at))
        departures = state.departures
        if departures and not departures[-1].came_ms:
            departures = noted(departures, ctx.timestamp())
            timers.register_event_time_timer(ctx.timestamp() + EARLY_MS)
        self._state.update(state_to_bytes(replace(state, forget_at=forget_at, since=since, departures=departures)))

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Any]:
        """Forget a document that was deleted long ago, or whose table was cleared since its last change; and of one
        that stays the rows that left its key, once every partition has passed them.
        """
        raw, timers = self._state.value(), ctx.timer_service()
        if raw is None:
            return
        state = state_from_bytes(raw)
        if 0 < state.forget_at <= timers.current_processing_time():
            self._state.clear()
            return
        name = ctx.get_current_key()
        if not is_cleared(state, self._marks.of(prefix_of(name))):
            now = max(timestamp, int(time() * 1000))
            timers.register_processing_time_timer(next_look(state.since, now, state.forget_at))
            self._forget_departures(state, timers)
            return
        self._state.clear()
        word = word_of(name, state)
        if word is not None:
            yield UNSETTLED, Row(table_of(name), Row(payloads.UNSETTLED.encode(word), timestamp))

    def _forget_departures(self, state: DocumentState, timers: TimerService) -> None:
        now = timers.current_processing_time()
        known = awaited(state.departures, timers.current_watermark() - EARLY_MS, now, PATIENCE_MS)
        if known == state.departures:
            return
        for due in {each.forget_at for each in known if each.forget_at}:
            timers.register_processing_time_timer(due)
        self._state.update(state_to_bytes(replace(state, departures=known)))
