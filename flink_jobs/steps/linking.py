"""The operators of the profile pipeline: rows to records, and the one writer that links them to persons."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from time import time
from typing import Any

from pyflink.common import Row, Types
from pyflink.datastream import RuntimeContext, TimeDomain
from pyflink.datastream.functions import (
    FlatMapFunction,
    KeyedBroadcastProcessFunction,
    KeyedProcessFunction,
    ProcessFunction,
)
from pyflink.datastream.state import MapState, MapStateDescriptor, ValueState, ValueStateDescriptor

from connectors.opening.stores import Stores, open_profiles
from core.change import Change, Event, Operation, Position
from core.config.jobs import ProfilesJob
from core.config.profiles import Profiles
from core.documents.forgetting import next_look, table_of
from core.documents.unsettled import Refused
from core.errors import ChangeError
from core.identity.rules import HOUR_MS
from core.profiles.delivery import Delivery, texts_of
from core.profiles.forgetting import Sweep, Sweeps, mark, sweeps_from_bytes, sweeps_to_bytes, with_sweep
from core.profiles.records import RowState, row_from_bytes, row_to_bytes, step
from core.profiles.step import Persons, ProfileChanges
from flink_jobs import payloads
from flink_jobs.engine import one_core
from flink_jobs.engine.metrics import Meters, Snapshots
from flink_jobs.payloads import RecordSweep
from flink_jobs.steps.kept import Kept
from flink_jobs.steps.keying import keyed
from flink_jobs.steps.operators import BACKFILL_MARK, BYTES, DEAD_LETTERS, REPLAY_MARK
from flink_jobs.steps.refusing import refuse

RECORD = Types.ROW_NAMED(["record", "event"], [BYTES, BYTES])
RECORDS = keyed(RECORD)
"""All by one key: there is one writer."""
DELIVERIES = Types.ROW_NAMED(["delivery", "event"], [BYTES, BYTES])

_VERSION = ""
"""Where the state has the last delivery's version: no key of the graph is empty."""

_CLEARED_AT_ONCE = 200
_SOON_MS = 1
_no_event = payloads.EVENT.encode(Event("", 0, 0, None, None))


SWEPT_TABLES = MapStateDescriptor("swept", Types.STRING(), Types.PICKLED_BYTE_ARRAY())
"""Table to its sweeps, which every subtask hears of."""


class ParseRecord(KeyedBroadcastProcessFunction):
    """Change to what its record says, by record: `core.profiles.records.step` over Flink's keyed state.

    It hears of sweeps too, and forgets the rows that they took away; `core.profiles.forgetting` says why it may.

    remember_ms  how long a deleted row is remembered
    bounded      whether the source is read from its start to its end, and so again what the state may know
    """

    def __init__(self, pipeline: str, profiles: Profiles, remember_ms: int, bounded: bool) -> None:
        self._name = pipeline
        self._profiles = profiles
        self._remember_ms = remember_ms
        self._meters = Meters("stale", *Snapshots.NAMES)
        self._bounded = bounded

    def open(self, runtime_context: RuntimeContext) -> None:
        """Open the state, and make what reads rows."""
        one_core.stay()
        self._specs = {table: self._profiles.spec(table) for table in self._profiles.records}
        self._reading = self._profiles.reading
        self._state: ValueState = runtime_context.get_state(ValueStateDescriptor("record", Types.PICKLED_BYTE_ARRAY()))
        self._swept: dict[str, Sweeps] | None = None
        self._passed_ms = 0
        self._meters.open(runtime_context.get_metrics_group())
        self._snapshots = Snapshots()

    def process_element(self, value: Row, ctx: KeyedBroadcastProcessFunction.ReadOnlyContext) -> Iterator[Any]:
        """One CHANGE in; of RECORDS, a dead letter or nothing out. What couldn't be read has no event."""
        encoded, event = value
        change = payloads.CHANGE.decode(encoded)
        raw = self._state.value()
        before = None if raw is None else row_from_bytes(raw)
        if before is None and self._is_gone(change.table, change.position, ctx):
            self._late(event)
            return
        marks = (REPLAY_MARK in event, BACKFILL_MARK in event)
        after, outcome = step(before, change, self._specs[change.table], self._reading, ctx.timestamp(), *marks)
        if after is not None and after is not before:
            self._remember(after, 0 if before is None else before.since, change, ctx)
        if change.snapshot and not self._bounded:
            self._snapshots.heard(before is not None and change.position < before.position, self._meters)
        if outcome is None:
            self._late(event)
        elif isinstance(outcome, Refused):
            of = payloads.EVENT.decode(event)
            yield DEAD_LETTERS, refuse(self._name, self._meters, "parse", outcome.error, of, outcome.name)
        else:
            yield Row("", Row(payloads.RECORD.encode(outcome), event))

    def process_broadcast_element(self, value: Row, ctx: KeyedBroadcastProcessFunction.Context) -> Iterator[Any]:
        """One row of SWEEPS in, nothing out."""
        table, (position, due) = value
        known = self._sweeps(ctx)
        known[table] = with_sweep(known.get(table, ()), Sweep(position, due), self._passed_ms)
        ctx.get_broadcast_state(SWEPT_TABLES).put(table, sweeps_to_bytes(known[table]))
        yield from ()

    def _sweeps(self, ctx: KeyedBroadcastProcessFunction.ReadOnlyContext) -> dict[str, Sweeps]:
        """By table; read once, as a way into the state is a way into the JVM."""
        if self._swept is None:
            kept = ctx.get_broadcast_state(SWEPT_TABLES)
            self._swept = {table: sweeps_from_bytes(raw) for table, raw in kept.items()}
        return self._swept

    def _is_gone(self, table: str, position: Position, ctx: KeyedBroadcastProcessFunction.ReadOnlyContext) -> bool:
        """Whether the table was emptied below a position that is later."""
        known = self._sweeps(ctx).get(table)
        if known is None:
            return False
        # the context's own `current_watermark` asks a Java object that has none
        self._passed_ms = ctx.timer_service().current_watermark()
        return position < mark(known, self._passed_ms)

    def _late(self, event: bytes) -> None:
        if event:
            self._meters.count("stale")

    def _remember(
        self, row: RowState, since: int, change: Change, ctx: KeyedBroadcastProcessFunction.ReadOnlyContext
    ) -> None:
        forget_ms, timers, now = row.forget_ms, ctx.timer_service(), int(time() * 1000)
        is_deletion = change.operation is Operation.DELETE and row.position == change.position
        if is_deletion:
            forget_ms = timers.current_processing_time() + self._remember_ms
        if is_deletion or not since:
            since = since or now
            timers.register_processing_time_timer(next_look(since, now, forget_ms))
        self._state.update(row_to_bytes(replace(row, forget_ms=forget_ms, since=since)))

    def on_timer(self, timestamp: int, ctx: KeyedBroadcastProcessFunction.OnTimerContext) -> Iterator[Any]:
        """Forget a row that was deleted long ago, or whose table was emptied since; who links refuses late changes."""
        raw = self._state.value()
        if raw is not None:
            row = row_from_bytes(raw)
            if row.is_forgotten(timestamp) or self._is_gone(table_of(ctx.get_current_key()), row.position, ctx):
                self._state.clear()
            else:
                now = max(timestamp, int(time() * 1000))
                ctx.timer_service().register_processing_time_timer(next_look(row.since, now, row.forget_ms))
        yield from ()


class SweepToRecord(FlatMapFunction):
    """A row of SWEEPS to one of RECORDS: what it clears must wait for the records before it, and go between them."""

    def flat_map(self, value: Row) -> Iterator[Any]:
        """One row in, one out; it has no event."""
        table, (position, due) = value
        yield Row("", Row(payloads.RECORD_SWEEP.encode(RecordSweep(table, position, due)), b""))


class LinkPersons(KeyedProcessFunction):
    """Records to deliveries for the profile store: `core.profiles.step.Persons` over Flink's keyed state, in one task.

    Linking is of the whole graph, so there is one key. As it starts it begins an epoch in the store, and tells it what
    stands of all that the store has heard of since the checkpoint.

    A table that was truncated is cleared as that is heard; at the end of a snapshot, when the watermark has passed it:
    it is the least of all who parse, so that every record has come that was sent before.
    """

    def __init__(self, job: ProfilesJob, stores: Stores) -> None:
        self._profiles = job.profiles
        self._text = job.text
        self._stores = stores
        self._meters = Meters("profiles_made", "profiles_retired")

    def open(self, runtime_context: RuntimeContext) -> None:
        """Open the state. It is read, and the store reached, with the first row or timer: before, there is no key."""
        one_core.stay()
        self._map: MapState = runtime_context.get_map_state(
            MapStateDescriptor("persons", Types.STRING(), Types.PICKLED_BYTE_ARRAY())
        )
        self._sweeps: MapState = runtime_context.get_map_state(
            MapStateDescriptor("sweeps", Types.LONG(), Types.STRING())
        )
        self._persons: Persons | None = None
        self._epoch = self._version = 0
        self._meters.open(runtime_context.get_metrics_group())

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        """One RECORD in; of DELIVERIES, a dead letter or nothing out."""
        encoded, event = value
        persons = yield from self._begin(ctx)
        if not event:
            table, position, due = payloads.RECORD_SWEEP.decode(encoded)
            if due == 0:
                yield from self._clear(persons, ctx, table, position)
            else:
                waiting = self._sweeps.get(due)
                self._sweeps.put(due, f"{waiting}\n{position} {table}" if waiting else f"{position} {table}")
                ctx.timer_service().register_event_time_timer(due)
            return
        change = payloads.RECORD.decode(encoded)
        try:
            changes = persons.step(change, REPLAY_MARK in event or BACKFILL_MARK in event)
        except ChangeError as error:
            of = payloads.EVENT.decode(event)
            yield DEAD_LETTERS, refuse(self._stores.pipeline, self._meters, "link", error, of, change.record)
            return
        yield from self._tell(change.record, changes, event)

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Any]:
        """Once an hour identifiers expire, and deleted records are forgotten. Or a snapshot's end was passed."""
        persons = yield from self._begin(ctx)
        if ctx.time_domain() == TimeDomain.EVENT_TIME:
            waiting: str = self._sweeps.get(timestamp) or ""
            self._sweeps.remove(timestamp)
            for position, _, table in (each.partition(" ") for each in waiting.splitlines()):
                yield from self._clear(persons, ctx, table, Position(position))
            return
        changes = persons.advance(ctx.timer_service().current_processing_time())
        self._wake(ctx, changes.more)
        yield from self._tell("", changes, _no_event)

    def _clear(
        self, persons: Persons, ctx: KeyedProcessFunction.Context, table: str, before: Position
    ) -> Iterator[Any]:
        records, now = persons.sweep(table, before), ctx.timer_service().current_processing_time()
        self._kept.flush()
        for at in range(0, len(records), _CLEARED_AT_ONCE):
            yield from self._tell("", persons.clear(records[at : at + _CLEARED_AT_ONCE], before, now), _no_event)

    def _begin(self, ctx: KeyedProcessFunction.Context) -> Generator[Any, None, Persons]:
        if self._persons is not None:
            return self._persons
        linking = self._profiles.linking(self._stores.remember_ms)
        self._kept = Kept(self._map)
        persons = Persons(self._kept, linking, self._profiles.merging, self._profiles.read_by)
        self._version = int(self._kept.get(_VERSION) or 0)
        store = open_profiles(self._stores)
        try:
            opening = store.begin(self._version)
        finally:
            store.close()
        self._persons, self._epoch = persons, opening.epoch
        self._wake(ctx, more=True)
        changes = persons.standing(opening.touched)
        yield self._delivery("", changes, _no_event, undone=self._version)
        return persons

    def _wake(self, ctx: KeyedProcessFunction.Context, more: bool) -> None:
        timers = ctx.timer_service()
        now = timers.current_processing_time()
        # On the hour, so that those of this run and those it was restored with are the same.
        at = now + _SOON_MS if more else (now // HOUR_MS + 1) * HOUR_MS
        timers.register_processing_time_timer(at)

    def _tell(self, record: str, changes: ProfileChanges, event: bytes) -> Iterator[Any]:
        if changes == ProfileChanges(more=changes.more):
            self._kept.flush()
            if record:
                self._meters.count("stale")
            return
        yield self._delivery(record, changes, event)

    def _delivery(self, record: str, changes: ProfileChanges, event: bytes, undone: int | None = None) -> Row:
        self._version += 1
        self._kept.put(_VERSION, b"%d" % self._version)
        self._kept.flush()
        texts = texts_of(changes, self._text)
        delivery = Delivery(self._epoch, self._version, record, changes, texts, undone)
        return Row(payloads.DELIVERY.encode(delivery), event)


class PlansOfWritten(ProcessFunction):
    """A delivery that was written to the plans of its profiles' vectors; one that was rejected to a dead letter."""

    def __init__(self, pipeline: str) -> None:
        self._name = pipeline
        self._meters = Meters()

    def open(self, runtime_context: RuntimeContext) -> None:
        """Make the counters."""
        self._meters.open(runtime_context.get_metrics_group())

    def process_element(self, value: Row, ctx: ProcessFunction.Context) -> Iterator[Any]:
        """Written and the event, both encoded, in; of PLANS and dead letters out."""
        written, event = value
        result = payloads.WRITTEN.decode(written)
        for outcome in result.rejected:
            of = payloads.EVENT.decode(event)
            yield DEAD_LETTERS, refuse(self._name, self._meters, "write", outcome, of, outcome.document_id)
        for plan in result.plans:
            yield Row(plan, event)
