"""How far a subtask has read: marks say it to all behind it, on every way that its changes can take.

A mark is sent behind the changes that it speaks of: to each subtask that plans, and from there along with the plans
and by way of what is settled. On each of these ways nothing overtakes. So where all copies of a mark have come through
what writes to the stores, all that was read before it is there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from pyflink.common import Row
from pyflink.datastream import RuntimeContext
from pyflink.datastream.functions import ProcessFunction

from core.change import BEGINNING, Event, Position
from core.config.events import Events
from core.config.pipeline import Pipeline
from core.documents.sources import of_source
from core.documents.step import DocumentSpec
from core.formats.claims import Claims, Said
from core.shards.slots import slot_keys
from flink_jobs import payloads
from flink_jobs.engine.environment import MAX_PARALLELISM
from flink_jobs.payloads import Mark
from flink_jobs.steps.operators import SWEPT, Decode, event_of

_EVERY_S = 0.2
_AT_ONCE = 20
"""So many marks may come one after the other, as where few events come each is worth one."""


@dataclass(frozen=True, slots=True)
class Marking:
    """What marks depend on.

    parallelism  of the operators that they pass
    has_places   whether positions are those of a log: else they order the changes of one key alone
    specs        of the documents, by whose tables changes are settled
    """

    parallelism: int
    has_places: bool
    specs: tuple[DocumentSpec, ...]


def marking(pipeline: Pipeline) -> Marking:
    """That of a pipeline's job."""
    specs = tuple(document.spec(table) for table, document in pipeline.documents.items())
    return Marking(pipeline.parallelism, pipeline.events.of_debezium, specs)


class DecodeAndMark(ProcessFunction):
    """`Decode`, with marks behind what it has decoded."""

    def __init__(self, pipeline: str, events: Events, marking: Marking, sources: Mapping[str, str]) -> None:
        self._name = pipeline
        self._events = events
        self._marking = marking
        self._sources = sources

    def open(self, runtime_context: RuntimeContext) -> None:
        """Open both."""
        self._passing = Passing(self._marking)
        self._decode = Decode(self._name, self._events, self._sources, self._passing.hear)
        self._decode.open(runtime_context)

    def process_element(self, value: Row, ctx: ProcessFunction.Context) -> Iterator[Any]:
        """As `Decode`, and now and then marks, as rows of CHANGES."""
        for each in self._decode.process_element(value, ctx):
            if isinstance(each, tuple) and each[0] is SWEPT:
                self._passing.swept(*each[1])
            yield each
        # behind all that the event, and those before it, had to say
        yield from self._passing.marks(event_of(value))


class Passing:
    """What one subtask that decodes has read, and the marks that say so."""

    def __init__(self, marking: Marking) -> None:
        # each operator has the pipeline's parallelism: PyFlink's context in a JVM can't be asked
        self._slots = slot_keys(marking.parallelism, MAX_PARALLELISM)
        self._specs = marking.specs
        self._claims = Claims(marking.has_places)
        self._by, self._number = uuid4().hex, 0
        self._heard: list[Said] = []
        self._cleared: dict[str, Position] = {}
        self._left, self._filled = float(_AT_ONCE), time.monotonic()

    def hear(self, said: Said) -> None:
        """Something that the event says."""
        self._heard.append(said)

    def swept(self, table: str, sweep: Row) -> None:
        """A table is to be cleared."""
        self._cleared[table] = max(sweep[0], self._cleared.get(table, BEGINNING))

    def marks(self, event: Event) -> Iterator[Row]:
        """Take the event for read; rows of CHANGES out, now and then."""
        self._claims.take(event, self._heard)
        self._heard.clear()
        if self._may_speak(time.monotonic()):
            yield from self._copies()

    def _may_speak(self, now_s: float) -> bool:
        self._left = min(_AT_ONCE, self._left + (now_s - self._filled) / _EVERY_S)
        self._filled = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def _copies(self) -> Iterator[Row]:
        tables = tuple(self._tables())
        self._number += 1
        ways = len(self._slots) * (1 + len(tables))
        for slot in self._slots:
            copy = Mark(self._by, self._number, ways, self._claims.reached, tables, self._cleared, slot)
            yield Row(slot, Row(payloads.MARK.encode(copy), b""))

    def _tables(self) -> Iterator[str]:
        """By which names changes are settled that this subtask may have read."""
        for spec in self._specs:
            if not spec.id_from_source:
                yield spec.table
            else:
                yield from (of_source(spec.table, each) for each in self._claims.sources)
