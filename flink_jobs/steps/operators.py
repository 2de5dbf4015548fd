"""The operators of the vector pipeline: each carries a pure step of `core` and does nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from time import time
from typing import Any

from pyflink.common import Row, Types
from pyflink.datastream import OutputTag, RuntimeContext
from pyflink.datastream.functions import FlatMapFunction, ProcessFunction

from core.change import Change, Event, Skip, Truncate
from core.config.events import Events
from core.decoding import decoder
from core.documents.sources import hold_to_first, of_source
from core.errors import ChangeError, DecodeError, EmbeddingError
from core.formats.claims import Said
from core.formats.tables import kin_of, skipped_kin
from core.letters import BACKFILL, REPLAY
from flink_jobs import payloads
from flink_jobs.engine.metrics import OF_BATCHES, Meters, Searchable
from flink_jobs.engine.modules import find_in_later_jobs
from flink_jobs.steps.keying import keyed
from flink_jobs.steps.refusing import refuse

BYTES = Types.PRIMITIVE_ARRAY(Types.BYTE())
HEADERS = Types.MAP(Types.STRING(), BYTES)
EVENT_FIELDS = {
    "key": "BYTES",
    "value": "BYTES",
    "topic": "STRING",
    "partition": "INT",
    "offset": "BIGINT",
    "headers": "MAP<STRING, BYTES>",
}
"""The columns of a source row, with their SQL types."""
# Between operators the event is one field of bytes: each field that crosses to or from Python is converted.
CHANGE = Types.ROW_NAMED(["change", "event"], [BYTES, BYTES])
CHANGES = keyed(CHANGE)
"""By document, or by record."""
PLANS = Types.ROW_NAMED(["plan", "event"], [BYTES, BYTES])
LETTERS = Types.ROW_NAMED(["key", "value", "headers"], [BYTES, BYTES, HEADERS])
DEAD_LETTERS = OutputTag("dead-letters", LETTERS)
# `time` is the event's, in ms by Kafka's clock: a side output has no timestamps.
UNSETTLED_ROW = Types.ROW_NAMED(["unsettled", "time"], [BYTES, Types.LONG()])
UNSETTLED_ROWS = keyed(UNSETTLED_ROW)
"""By table."""
UNSETTLED = OutputTag("unsettled", UNSETTLED_ROWS)
# A table's documents below a position go, once every partition has passed `due` (event time, ms); 0: at once.
SWEEP = Types.ROW_NAMED(["position", "due"], [Types.STRING(), Types.LONG()])
SWEEPS = keyed(SWEEP)
"""By table."""
SWEPT = OutputTag("sweeps", SWEEPS)
log = logging.getLogger(__name__)
_MOST_OTHERS = 10_000
_LAG_S = 0.5
"""How often the age of what is read is reported."""

SLACK_MS = 30_000
"""How much later than an event, by Kafka's clock, what was sent before it may have been written to other partitions."""

# Looked for in an encoded event: to decode each for a header that hardly any has would cost more.
REPLAY_MARK, BACKFILL_MARK = REPLAY.encode(), BACKFILL.encode()


def event_of(value: Row) -> Event:
    """The event of a source's row."""
    key, body, topic, partition, offset, headers = value
    return Event(topic, partition, offset, key, body, headers or {})


def unheard(said: Said) -> None:
    """For what an event says, where nobody else is to hear it."""


def unprepared() -> None:
    """For a thread that needs nothing before it decodes."""


class Decode(ProcessFunction):
    """Event to change, keyed by document or record. Tables that the pipeline doesn't name are ignored, and counted.

    pipeline  its name, for dead letters
    sources   table to the database that its rows are of, where that is known before; else the first event decides
    hear      called with all that an event says, before it goes on
    begin     called first by the thread that decodes
    """

    def __init__(
        self,
        pipeline: str,
        events: Events,
        sources: Mapping[str, str],
        hear: Callable[[Said], None] = unheard,
        begin: Callable[[], None] = unprepared,
    ) -> None:
        self._name = pipeline
        self._hear = hear
        self._begin = begin
        self._sources = dict(sources)
        self._of_one_source = events.job.of_one_source
        self._events = events
        self._sweeps = frozenset(table for table, each in events.job.tables.items() if each.sweep)
        self._keys = events.job.keyed
        self._feed = events.format.name
        self._meters = Meters("source_lag_ms", "truncates")

    def open(self, runtime_context: RuntimeContext) -> None:
        """Make the decoder and the counters."""
        find_in_later_jobs()
        self._begin()
        self._decode = decoder(self._events)
        self._meters.open(runtime_context.get_metrics_group())
        self._looked = 0.0
        self._others: dict[str, Skip] = {}

    def process_element(self, value: Row, ctx: ProcessFunction.Context) -> Iterator[Any]:
        """One event in; rows of CHANGES, a sweep, a dead letter or nothing out."""
        event = event_of(value)
        try:
            changes = self._decode(event)
        except ChangeError as error:
            yield self._letter(error, event)
            for refused in error.refused if isinstance(error, DecodeError) else ():
                yield from self._mark(refused)
                yield from self._ended(refused, ctx)
            return
        for each in changes:
            self._hear(each)
            try:
                name = self._key(each)
            except ChangeError as error:
                yield self._letter(error, event)
                if isinstance(each, Change):
                    yield from self._ended(each, ctx)
                continue
            if each is Skip.PLACE:
                continue
            if isinstance(each, Skip):
                self._meters.count("skipped", reason=each)
            elif each.table not in self._keys:
                self._meters.count("skipped", reason=self._other(each.table))
            elif isinstance(each, Truncate):
                self._meters.count("truncates")
                yield SWEPT, Row(name, Row(each.position, 0))
            else:
                self._read(each)
                yield from self._ended(each, ctx) if each.ends_snapshot else ()
                yield Row(name, Row(payloads.CHANGE.encode(each), payloads.EVENT.encode(event)))

    def _ended(self, last: Change, ctx: ProcessFunction.Context) -> Iterator[tuple[OutputTag, Row]]:
        """The sweep behind the last row of a snapshot, whatever became of that row."""
        if not last.ends_snapshot or last.table not in self._sweeps:
            return
        try:
            table = self._key(Truncate(last.table, last.position, source=last.source))
        except ChangeError as error:
            log.warning("A snapshot of %s has ended, and nothing is swept behind it: %s", last.table, error)
            return
        yield SWEPT, Row(table, Row(last.position, ctx.timestamp() + SLACK_MS))

    def _letter(self, error: ChangeError, event: Event) -> tuple[Any, Any]:
        """A dead letter of an event, or of one of its changes, whose others are no worse for it."""
        return DEAD_LETTERS, refuse(self._name, self._meters, "decode", error, event)

    def _mark(self, refused: Change) -> Iterator[Row]:
        """Have the state of its key know that there was a change, whatever it was."""
        with suppress(ChangeError):
            if refused.table in self._keys:
                yield Row(self._key(refused), Row(payloads.CHANGE.encode(refused), b""))

    def _key(self, change: Change | Truncate | Skip) -> str:
        """By what a change goes on, and a truncate. Raises ChangeError for one of another database too."""
        if isinstance(change, Skip) or change.table not in self._keys:
            return ""
        if change.source and change.table in self._of_one_source:
            hold_to_first(self._sources, change.table, change.source)
        return self._keys[change.table](change) if isinstance(change, Change) else self._table(change)

    def _table(self, change: Change | Truncate) -> str:
        """What is swept as one: the table, of one database where several have it."""
        return change.table if change.table in self._of_one_source else of_source(change.table, change.source)

    def _other(self, table: str) -> Skip:
        """Whose rows a table's are that the pipeline doesn't name: nobody's, or a partition's of one that it does."""
        found = self._others.get(table)
        if found is None:
            found = Skip.KIN if kin_of(table, frozenset(self._keys)) else Skip.OTHER_TABLE
            if found is Skip.KIN:
                log.warning("%s", skipped_kin(table, kin_of(table, frozenset(self._keys))))
            if len(self._others) < _MOST_OTHERS:
                self._others[table] = found
        return found

    def _read(self, change: Change) -> None:
        self._meters.count("changes", feed=self._feed, operation=change.operation)
        # not of each: a look at the clock and a call into Java
        if change.committed_ms is not None and (now := time()) > self._looked + _LAG_S:
            self._looked = now
            self._meters.hold("source_lag_ms", max(0, int(now * 1000) - change.committed_ms))


class RejectedToLetter(FlatMapFunction):
    """A plan's rejected outcomes, with the event it came from, to dead letters, one a store; and workers' counts."""

    def __init__(self, pipeline: str) -> None:
        self._name = pipeline
        self._meters = Meters(*OF_BATCHES)

    def open(self, runtime_context: RuntimeContext) -> None:
        """Make the counters."""
        self._meters.open(runtime_context.get_metrics_group())
        self._searchable = Searchable()

    def flat_map(self, value: Row) -> Iterator[Row]:
        """`value` has an encoded Answer and the encoded event."""
        answer, event = value
        said = payloads.ANSWER.decode(answer)
        self._meters.tell(said.counted)
        self._searchable.hear(said.counted, self._meters)
        for outcome in said.rejected:
            stage = "embed" if outcome.error == EmbeddingError.__name__ else "write"
            yield refuse(self._name, self._meters, stage, outcome, payloads.EVENT.decode(event), outcome.document_id)
