"""The operators that wait: for the other half of a key change, and for the end of a snapshot in every partition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import replace
from typing import Any

from msgspec import structs
from pyflink.common import Row, Types
from pyflink.datastream import RuntimeContext, TimerService
from pyflink.datastream.functions import FlatMapFunction, KeyedProcessFunction
from pyflink.datastream.state import MapState, MapStateDescriptor

from connectors.opening.stores import Stores
from core.change import Position
from core.config.documents import Document
from core.config.embedding import Embedding
from core.config.pipeline import Database, SourceDatabase
from core.documents.forgetting import prefix_of
from core.documents.moves import (
    Kept,
    Settled,
    Unknown,
    decode_kept,
    encode_kept,
    give_up,
    is_waiting,
    learn,
    pair_of,
    settle,
    tell_early,
)
from core.documents.step import Unsettled, plan_of, table_id
from core.documents.uncut import uncut
from core.errors import ChangeError, ConfigError, DocumentError
from core.formats.debezium.format import DebeziumFormat
from core.plans import Plan
from core.stores.earlier import with_departed
from flink_jobs import payloads
from flink_jobs.engine.metrics import Meters
from flink_jobs.steps.marks import marks_of
from flink_jobs.steps.operators import DEAD_LETTERS
from flink_jobs.steps.refusing import refuse
from udfs.embedding.tokenizing import document_chunker

EARLY_MS = 10_000
"""How long the new row of a key change waits for the old one's vectors, by Kafka's clock, before it goes on alone."""

PATIENCE_MS = 600_000
"""How much longer, by the clock, a half waits for the other when every partition seems to have passed it: one whose
broker is away looks idle too, and a half given up for good takes the values along that the other lacks."""

_END = 2**63 - 1  # the watermark of a bounded run that has read everything


class _KeptInState(MutableMapping[str, Kept]):
    """A table's memory of `moves`, in Flink's keyed state. `began_to_wait`: what halves wait for, put since."""

    def __init__(self, state: MapState) -> None:
        self._state = state
        self.began_to_wait: list[str] = []

    def __getitem__(self, name: str) -> Kept:
        raw = self._state.get(name)
        if raw is None:
            raise KeyError(name)
        return decode_kept(raw)

    def __setitem__(self, name: str, kept: Kept) -> None:
        self._state.put(name, encode_kept(kept))
        if kept.half is not None and is_waiting(kept):
            self.began_to_wait.append(pair_of(kept.half))

    def __delitem__(self, name: str) -> None:
        self._state.remove(name)

    def waits(self) -> bool:
        """Whether a half waits for the other, or a change behind one."""
        return any(kept.behind or is_waiting(kept) for kept in map(decode_kept, self._state.values()))

    def __iter__(self) -> Iterator[str]:
        return iter(self._state.keys())

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Settle(KeyedProcessFunction):
    """Unsettled changes to plans, by table: `moves` over Flink's state, and the source asked for the rest.

    database  where rows are read again; None: nowhere
    written   how values are written that the database is asked for
    tells     as of PlanDocument
    """

    def __init__(
        self,
        documents: Mapping[str, Document],
        embedding: Embedding,
        stores: Stores,
        database: Database | None,
        written: DebeziumFormat,
        tells: bool = False,
    ) -> None:
        self._documents = dict(documents)
        self._embedding = embedding
        self._stores = stores
        self._database = database
        self._written = written
        self._tells = tells
        self._specs = {table: document.spec(table) for table, document in documents.items()}
        self._meters = Meters("keys_changed", "reselected")
        self._quiet: set[str] = set()

    def open(self, runtime_context: RuntimeContext) -> None:
        """Open the state and the tokenizer; the source is reached when it is first asked."""
        self._memory = _KeptInState(
            runtime_context.get_map_state(MapStateDescriptor("moves", Types.STRING(), Types.PICKLED_BYTE_ARRAY()))
        )
        self._due: MapState = runtime_context.get_map_state(MapStateDescriptor("due", Types.LONG(), Types.STRING()))
        self._last: MapState = runtime_context.get_map_state(MapStateDescriptor("last", Types.LONG(), Types.STRING()))
        self._chunkers = {
            table: uncut(document_chunker(self._embedding, document.chunk))
            for table, document in self._documents.items()
        }
        self._source = None
        if isinstance(self._database, SourceDatabase):
            from connectors.postgres.rows import Reselect

            self._source = Reselect.of(self._database, self._written)
        self._marks = marks_of(self._stores)
        self._meters.open(runtime_context.get_metrics_group())

    def close(self) -> None:
        """Give the connections back, the source's and the stores'."""
        self._marks.close()
        if self._source is not None:
            self._source.close()

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        """One UNSETTLED_ROW in; of PLANS, dead letters or nothing out."""
        unsettled, time = value
        if payloads.is_mark(unsettled):
            # what waits here came before it: the next one that finds nothing waiting says the same, and more
            if self._nothing_waits(ctx.get_current_key()):
                yield Row(unsettled, b"")
            return
        self._quiet.discard(ctx.get_current_key())
        self._memory.began_to_wait.clear()
        decided = settle(self._memory, payloads.UNSETTLED.decode(unsettled))
        for pair in self._memory.began_to_wait:
            _note(self._due, time + EARLY_MS, pair)
            ctx.timer_service().register_event_time_timer(time + EARLY_MS)
        yield from self._tell(decided)

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Any]:
        """The other half of a key change seems to be in none of the partitions; or, the second time, it is in none."""
        timers = ctx.timer_service()
        self._quiet.discard(ctx.get_current_key())
        self._memory.began_to_wait.clear()
        seeming = _taken(self._due, timestamp)
        for pair in seeming:
            yield from self._tell(tell_early(self._memory, pair))
        if seeming and timers.current_watermark() < _END:
            last = timers.current_processing_time() + PATIENCE_MS
            for pair in seeming:
                _note(self._last, last, pair)
            timers.register_processing_time_timer(last)
            seeming = []
        mark = self._marks.of(table_id(ctx.get_current_key()))
        for pair in (*seeming, *_taken(self._last, timestamp)):
            yield from self._tell(give_up(self._memory, pair, mark))
        yield from self._wait_on(timers, mark)

    def _nothing_waits(self, table: str) -> bool:
        if table not in self._quiet and not self._memory.waits():
            self._quiet.add(table)
        return table in self._quiet

    def _wait_on(self, timers: TimerService, mark: Position) -> Iterator[Any]:
        """What waited behind a half that waits no longer may be a half itself, and wait for another one."""
        while began := sorted(set(self._memory.began_to_wait)):
            self._memory.began_to_wait.clear()
            if timers.current_watermark() < _END:
                due = timers.current_watermark() + EARLY_MS
                for pair in began:
                    _note(self._due, due, pair)
                timers.register_event_time_timer(due)
                return
            for pair in began:  # no timer will be called any more
                yield from self._tell([*tell_early(self._memory, pair), *give_up(self._memory, pair, mark)])

    def _tell(self, decided: list[Settled | Unknown]) -> Iterator[Any]:
        for each in decided:
            settled = each if isinstance(each, Settled) else self._asked(each.what)
            plan = self._planned(settled) if isinstance(settled, Settled) else settled
            if isinstance(plan, DocumentError):
                event, document = payloads.EVENT.decode(each.what.event), each.what.document_id
                yield DEAD_LETTERS, refuse(self._stores.pipeline, self._meters, "plan", plan, event, document)
            elif plan is not None:
                self._meters.count("keys_changed", 1 if plan.moved_from else 0)
                yield Row(payloads.PLAN.encode(plan), each.what.event)

    def _planned(self, settled: Settled) -> Plan | DocumentError:
        """The plan, or why the row can't become a document."""
        table = settled.what.change.table
        spec = self._specs[table]
        try:
            plan = plan_of(settled.what, spec, self._embedding.model, self._chunkers[table], settled.moved_from)
            return with_departed(plan, settled, spec) if self._tells else plan
        except ChangeError as error:
            return DocumentError(str(error))

    def _asked(self, what: Unsettled) -> Settled | DocumentError | None:
        """The change with the values that the source has now; None where its row is gone, or was cleared; else why it
        can't be used.
        """
        missing = ", ".join(sorted(what.change.unavailable))
        table = what.change.table
        if what.change.position < self._marks.of(prefix_of(what.document_id)):
            return None  # every store refuses it
        if self._source is None and what.change.partial:
            return DocumentError(
                f"{table}: {missing} did not travel with this change: null, empty or left out, it doesn't say: set the "
                f"endpoint's IncludeNullAndEmpty, or reselect.postgres.dsn in the pipeline file and replay this dead "
                f"letter, or write {{{min(what.change.unavailable)}|}} where nothing may stand for it"
            )
        if self._source is None:
            return DocumentError(
                f"{table}: {missing} did not travel with this change (an unchanged TOAST column) and no earlier value "
                f"is known. Where changes of this row before it were refused, replay those first; or set "
                f"reselect.postgres.dsn in the pipeline file and replay this dead letter, or set "
                f"REPLICA IDENTITY FULL on {table} and write the row again"
            )
        try:
            row = self._source.row(table, what.change.key)
        except ConfigError as error:
            # The table may be gone, or another's: this change can't be mended, the next may be.
            return DocumentError(
                f"{table}: {missing} did not travel with this change, and can't be read again: {error}"
            )
        if row is None:
            return None
        if not what.change.unavailable <= row.keys():
            why = f"did not travel with this change, and the source's row has only {', '.join(row)}"
            return DocumentError(f"{table}: {missing} {why}")
        self._meters.count("reselected")
        found = {name: row[name] for name in what.change.unavailable}
        change = replace(what.change, row={**what.change.row, **found}, unavailable=frozenset())
        whole = structs.replace(what, change=change)
        learn(self._memory, whole, what.change.unavailable)
        return Settled(whole)


def _note(timers: MapState, at: int, pair: str) -> None:
    waiting = timers.get(at)
    timers.put(at, pair if waiting is None else f"{waiting} {pair}")


def _taken(timers: MapState, at: int) -> list[str]:
    waiting: str | None = timers.get(at)
    if waiting is None:
        return []
    timers.remove(at)
    return sorted(str(waiting).split())  # an earlier key change first: what it brings may go on by a later one


class Sweep(KeyedProcessFunction):
    """Which tables to clear below which position, once every event sent before has been applied.

    Its watermark is the least of all subtasks that apply plans, so nothing that a partition held is on its way.
    """

    def open(self, runtime_context: RuntimeContext) -> None:
        """Open the state."""
        self._due: MapState = runtime_context.get_map_state(MapStateDescriptor("sweeps", Types.LONG(), Types.STRING()))

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        """One SWEEP in; table and position out, now or when it is due."""
        position, due = value
        if due == 0:
            yield Row(ctx.get_current_key(), position)
            return
        waiting = self._due.get(due)
        self._due.put(due, max(position, waiting or ""))
        ctx.timer_service().register_event_time_timer(due)

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Any]:
        """Every partition has passed the end of the snapshot."""
        position = self._due.get(timestamp)
        if position is not None:
            self._due.remove(timestamp)
            yield Row(ctx.get_current_key(), position)


class Nothing(FlatMapFunction):
    """Lets watermarks through, and no row."""

    def flat_map(self, value: Row) -> Iterator[Any]:
        """Nothing."""
        yield from ()
