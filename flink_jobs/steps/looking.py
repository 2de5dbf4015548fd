"""Looks at objects, however long they take, with no checkpoint held up: asked for, waited for, sent on in parts.

What is asked of an object is in keyed state until its last part is sent; the look itself is a thread's. A timer of the
object looks whether it is done, and sends a part. So nothing here takes longer than a part, and what a crash
interrupts is looked at anew: see `core.documents.unfolding`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic, sleep, time_ns
from typing import Any

from pyflink.common import Row, Types
from pyflink.datastream import RuntimeContext, TimeDomain
from pyflink.datastream.functions import KeyedProcessFunction
from pyflink.datastream.state import ListState, ListStateDescriptor, ValueState, ValueStateDescriptor

from core.config.documents import Document
from core.config.embedding import Embedding
from core.config.format import Format
from core.documents.objects import (
    Asked,
    Loaded,
    asked,
    asked_from_bytes,
    gate,
    gate_state_from_bytes,
    state_to_bytes,
)
from core.documents.step import document_id
from core.documents.turns import LATEST_MS, SOONEST_MS, Turns, again_ms, hold_s
from core.documents.unfolding import (
    ObjectState,
    Part,
    begun,
    interrupted,
    object_state_from_bytes,
    object_state_to_bytes,
    parts,
)
from core.errors import ChangeError
from flink_jobs import payloads
from flink_jobs.engine.metrics import Meters
from flink_jobs.steps.keying import keyed
from flink_jobs.steps.operators import BYTES, DEAD_LETTERS, REPLAY_MARK
from flink_jobs.steps.refusing import refuse
from udfs.parsing.loading import Loader, Look, for_whom

NOTICE = Types.ROW_NAMED(["change", "event"], [BYTES, BYTES])
NOTIFIED = keyed(NOTICE)
"""By object."""

_AT_THE_END = 2**62
"""Event time that comes when the source has ended; later ones in the order in which looks were asked for."""


@dataclass
class _Current:
    """An object's look that is being made or sent on, in this process.

    timer   the one that is its own; one that was restored may come beside it
    left    the parts that are still to be sent
    before  the state before the look
    noted   whether the state says that a part of it was sent
    known   row ids that were sent beyond those of before
    kept    whether the state of such row ids has any, of this look or of one that was interrupted
    """

    asked: Asked
    look: Look
    began_s: float
    timer: int = 0
    left: Iterator[Part] | None = None
    before: ObjectState | None = None
    noted: bool = False
    known: list[str] = field(default_factory=list)
    kept: bool = False


class LookAtObjects(KeyedProcessFunction):
    """Notifications to the changes of the objects' rows: `gate`, a look, `parts`."""

    def __init__(
        self,
        pipeline: str,
        format_: Format,
        documents: Mapping[str, Document],
        embedding: Embedding,
        loader: Callable[[], Loader],
        bounded: bool,
    ) -> None:
        self._name = pipeline
        self._table_of = format_.table_of
        self._specs = {table: document.spec(table) for table, document in documents.items()}
        self._objects = {table: document.object_spec(table, embedding) for table, document in documents.items()}
        self._feed = format_.name
        self._make = loader
        self._bounded = bounded
        self._meters = Meters("stale_notifications", "objects_loaded")

    def open(self, runtime_context: RuntimeContext) -> None:
        """Open the states and the loader."""

        def value(name: str) -> ValueState:
            return runtime_context.get_state(ValueStateDescriptor(name, Types.PICKLED_BYTE_ARRAY()))

        self._gate, self._state, self._asked = value("gate"), value("object"), value("asked")
        # row ids that an unfinished look has sent
        self._known: ListState = runtime_context.get_list_state(ListStateDescriptor("told", Types.PICKLED_BYTE_ARRAY()))
        self._run = time_ns()
        self._current: dict[str, _Current] = {}
        self._looks = 0
        self._took_s = 0.0
        self._turns = Turns()
        self._loader = self._make()
        self._meters.open(runtime_context.get_metrics_group())

    def close(self) -> None:
        """Stop what is looked at."""
        self._loader.close()

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        """One NOTICE in; nothing out."""
        encoded, event = value
        raw = self._gate.value()
        before = None if raw is None else gate_state_from_bytes(raw)
        after, look = gate(before, payloads.NOTIFICATION.decode(encoded), REPLAY_MARK in event)
        if after is not before:
            self._gate.update(state_to_bytes(after))
        if look is None:
            self._meters.count("stale_notifications")
        else:
            self._ask(replace(look, event=event), ctx)
            if held_s := hold_s(len(self._current)):
                sleep(held_s)
        yield from ()

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Any]:
        """A part of an object's changes out, or a dead letter, or nothing yet."""
        key = ctx.get_current_key()
        current = self._current.get(key)
        if ctx.time_domain() == TimeDomain.EVENT_TIME:
            yield from self._to_the_end(key, ctx)
        elif current is None:
            self._go_on(key, ctx)
        elif timestamp == current.timer:
            now_s = monotonic()
            if now_s < self._turns.rests_until_s:
                self._wake(current, ctx, self._again_ms(current, now_s))
            elif current.left is None and not current.look.done():
                self._wake(current, ctx, again_ms(1_000 * (now_s - current.began_s)))
            else:
                yield from self._send_part(key, current, ctx)
                self._turns.spent(now_s, monotonic())

    def _again_ms(self, current: _Current, now_s: float) -> int:
        """After a rest: at once for a look that is being sent, and for others not all at the same moment."""
        rest_ms = int(1_000 * (self._turns.rests_until_s - now_s)) + 1
        return rest_ms if current.left is not None else max(rest_ms, again_ms(1_000 * (now_s - current.began_s)))

    def _ask(self, look: Any, ctx: KeyedProcessFunction.Context) -> None:
        key = ctx.get_current_key()
        current = self._current.get(key)
        if current is not None:
            current.asked = asked(current.asked, look)
            self._asked.update(state_to_bytes(current.asked))
            return
        raw = self._asked.value()
        wanted = asked(None if raw is None else asked_from_bytes(raw), look)
        self._asked.update(state_to_bytes(wanted))
        self._begin(key, wanted, ctx)

    def _go_on(self, key: str, ctx: KeyedProcessFunction.Context) -> None:
        """With what another run had begun."""
        raw = self._asked.value()
        if raw is not None:
            self._begin(key, asked_from_bytes(raw), ctx)

    def _begin(self, key: str, wanted: Asked, ctx: KeyedProcessFunction.Context) -> None:
        current = _Current(wanted, self._loader.look(wanted.now.bucket, wanted.now.key), monotonic())
        self._current[key] = current
        if self._bounded:
            self._looks += 1
            ctx.timer_service().register_event_time_timer(_AT_THE_END + self._looks)
        # as long as others took lately; its own time decides then
        self._wake(current, ctx, int(min(LATEST_MS, max(SOONEST_MS, 1_000 * self._took_s))))

    def _wake(self, current: _Current, ctx: KeyedProcessFunction.Context, after_ms: int) -> None:
        current.timer = max(time_ns() // 1_000_000 + after_ms, current.timer + 1)
        ctx.timer_service().register_processing_time_timer(current.timer)

    def _to_the_end(self, key: str, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        """All that is asked of the object: the source has ended, and no other timer comes any more."""
        if key not in self._current:
            self._go_on(key, ctx)
        self._loader.lift()
        while (current := self._current.get(key)) is not None:
            current.look.exception()  # which waits for it
            yield from self._send_part(key, current, ctx)

    def _send_part(self, key: str, current: _Current, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        """One part more; after the last one the next look is begun."""
        loaded = for_whom(current.look.result(), current.asked.now)
        table = self._table_of(loaded.bucket)
        try:
            if current.left is None:
                self._took_s += 0.1 * (min(1.0, monotonic() - current.began_s) - self._took_s)
                current.before, current.kept = self._before()
                current.left = parts(current.before, loaded, self._objects[table], self._run)
            part = next(current.left)
            rows = [
                Row(document_id(self._specs[table], change), Row(payloads.CHANGE.encode(change), loaded.event))
                for change in part.changes
            ]
        except ChangeError as error:
            yield self._refused(loaded, error)
            self._leave(current, loaded)
            self._done(key, current, ctx)
            return
        for change, row in zip(part.changes, rows, strict=True):
            self._meters.count("changes", feed=self._feed, operation=change.operation)
            yield row
        if part.after is None:
            self._note(current, loaded, part)
            self._wake(current, ctx, 1)
        else:
            self._state.update(object_state_to_bytes(part.after))
            self._done(key, current, ctx)

    def _before(self) -> tuple[ObjectState | None, bool]:
        """The state before a look, and whether a look is in it that was interrupted."""
        raw = self._state.value()
        state = None if raw is None else object_state_from_bytes(raw)
        if state is not None and state.run == self._run:
            return state, False
        known = [row_id for some in self._known.get() or () for row_id in some]
        return interrupted(state, known), bool(known)

    def _note(self, current: _Current, loaded: Loaded, part: Part) -> None:
        """What a run knows that finds this look interrupted."""
        if not current.noted:
            current.noted = True
            self._state.update(object_state_to_bytes(begun(current.before, loaded)))
        if part.row_ids:
            self._known.add(list(part.row_ids))
            current.kept = True
            current.known += part.row_ids

    def _leave(self, current: _Current, loaded: Loaded) -> None:
        """Keep what was sent of a look that can't be finished, or of one that was interrupted before it."""
        before = begun(current.before, loaded) if current.noted else current.before
        if (current.noted or current.kept) and (left := interrupted(before, current.known)) is not None:
            self._state.update(object_state_to_bytes(replace(left, run=0)))

    def _done(self, key: str, current: _Current, ctx: KeyedProcessFunction.Context) -> None:
        self._meters.count("objects_loaded")
        self._loader.forget(current.look)
        if current.kept:
            self._known.clear()
        later = current.asked.later
        if later is None:
            self._asked.clear()
            del self._current[key]
        else:
            self._asked.update(state_to_bytes(Asked(later)))
            self._begin(key, Asked(later), ctx)

    def _refused(self, loaded: Loaded, error: ChangeError) -> Any:
        event, name = payloads.EVENT.decode(loaded.event), f"{loaded.bucket}/{loaded.key}"
        return DEAD_LETTERS, refuse(self._name, self._meters, "load", error, event, name)
