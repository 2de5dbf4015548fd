"""The operators of the vector pipeline: each carries a pure step of `core` and does nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from pyflink.common import Row, Types
from pyflink.datastream import OutputTag, RuntimeContext
from pyflink.datastream.functions import KeyedProcessFunction, MapFunction, ProcessFunction
from pyflink.datastream.state import ValueState, ValueStateDescriptor

from core.change import Change, Event, Skip
from core.config import Pipeline
from core.documents import document_id, state_from_bytes, state_to_bytes, step
from core.errors import ChangeError, EmbeddingError
from core.formats import debezium
from core.letters import letter_headers
from core.plans import Outcome, plan_to_bytes
from udfs.tokenizing import model_chunker

BYTES = Types.PRIMITIVE_ARRAY(Types.BYTE())
HEADERS = Types.MAP(Types.STRING(), BYTES)
EVENT_FIELDS = ("key", "value", "topic", "partition", "offset", "headers")
# Between operators the event is one field of bytes: each field that crosses to or from Python is converted.
CHANGES = Types.ROW_NAMED(["document", "change", "event"], [Types.STRING(), BYTES, BYTES])
PLANS = Types.ROW_NAMED(["plan", "event"], [BYTES, BYTES])
LETTERS = Types.ROW_NAMED(["key", "value", "headers"], [BYTES, BYTES, HEADERS])
DEAD_LETTERS = OutputTag("dead-letters", LETTERS)

_encode = msgspec.msgpack.Encoder().encode
_decode_event = msgspec.msgpack.Decoder(Event).decode
_decode_outcome = msgspec.msgpack.Decoder(Outcome).decode
_decode_change = msgspec.msgpack.Decoder(Change).decode


def letter(pipeline: str, stage: str, error: str, reason: str, event: Event) -> Row:
    """A row of the dead-letter topic."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    origin = (event.topic, event.partition, event.offset)
    return Row(event.key, event.value, letter_headers(event.headers, pipeline, stage, error, reason, origin, time))


class Decode(ProcessFunction):
    """Event to change, keyed by document. Tables that the pipeline doesn't name are ignored, and counted."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._name = pipeline.name
        self._specs = {table: document.spec(table) for table, document in pipeline.documents.items()}

    def open(self, runtime_context: RuntimeContext) -> None:
        """Make the counters."""
        self._group = runtime_context.get_metrics_group().add_group("freshet")
        self._skipped: dict[str, Any] = {}
        self._changes = self._group.counter("changes")
        self._refused = self._group.counter("decode_dead_letters")

    def process_element(self, value: Row, ctx: ProcessFunction.Context) -> Iterator[Any]:
        """One event in; one row of CHANGES, a dead letter or nothing out."""
        key, body, topic, partition, offset, headers = value
        event = Event(topic, partition, offset, key, body, headers or {})
        try:
            change = debezium.decode(event)
            if isinstance(change, Skip):
                return self._skip(change)
            spec = self._specs.get(change.table)
            if spec is None:
                return self._skip(Skip.OTHER_TABLE)
            document = document_id(spec, change)
        except ChangeError as error:
            self._refused.inc()
            yield DEAD_LETTERS, letter(self._name, "decode", type(error).__name__, str(error), event)
            return
        self._changes.inc()
        yield Row(document, _encode(change), _encode(event))

    def _skip(self, reason: Skip) -> None:
        if reason not in self._skipped:
            self._skipped[reason] = self._group.counter(f"skipped_{reason.replace('-', '_')}")
        self._skipped[reason].inc()


class PlanDocument(KeyedProcessFunction):
    """Change to plan, by document: `core.documents.step` over Flink's keyed state."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._name = pipeline.name
        self._model = pipeline.embedding.model
        self._documents = dict(pipeline.documents)
        self._specs = {table: document.spec(table) for table, document in pipeline.documents.items()}

    def open(self, runtime_context: RuntimeContext) -> None:
        """Open the state and the tokenizer."""
        self._state: ValueState = runtime_context.get_state(
            ValueStateDescriptor("document", Types.PICKLED_BYTE_ARRAY())
        )
        self._chunkers = {
            table: model_chunker(self._model, document.chunk.tokens, document.chunk.overlap)
            for table, document in self._documents.items()
        }
        group = runtime_context.get_metrics_group().add_group("freshet")
        self._stale = group.counter("stale")
        self._kept = group.counter("chunks_kept")
        self._refused = group.counter("plan_dead_letters")

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        """One row of CHANGES in; one of PLANS, a dead letter or nothing out."""
        _, encoded, event = value
        change = _decode_change(encoded)
        raw = self._state.value()
        try:
            state, plan = step(
                None if raw is None else state_from_bytes(raw),
                change,
                self._specs[change.table],
                self._model,
                self._chunkers[change.table],
            )
        except ChangeError as error:
            self._refused.inc()
            yield DEAD_LETTERS, letter(self._name, "plan", type(error).__name__, str(error), _decode_event(event))
            return
        if plan is None:
            self._stale.inc()
            return
        if state is not None:
            self._state.update(state_to_bytes(state))
        self._kept.inc(len(plan.chunk_ids) - len(plan.write))
        yield Row(plan_to_bytes(plan), event)


class RejectedToLetter(MapFunction):
    """A plan's rejected outcome, with the event it came from, to a dead letter."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._name = pipeline.name

    def map(self, value: Row) -> Row:
        """`value` has an encoded Outcome and the encoded event."""
        rejection, event = value
        outcome = _decode_outcome(rejection)
        stage = "embed" if outcome.error == EmbeddingError.__name__ else "write"
        return letter(self._name, stage, outcome.error, outcome.reason, _decode_event(event))
