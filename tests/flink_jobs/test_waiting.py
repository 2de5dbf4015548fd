"""What waits for the other half of a key change, when nobody waits any more: the operator, without a job around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from connectors.opening.stores import stores_of
from core.change import Change, Event, Operation, Position
from core.documents.step import Unsettled
from flink_jobs import payloads
from flink_jobs.steps.marks import Marks
from flink_jobs.steps.settling import _END, EARLY_MS, PATIENCE_MS, Settle, _KeptInState
from tests.flink_jobs.test_refusals import PIPELINE, Quiet
from udfs.embedding.tokenizing import document_chunker


class Map(dict[Any, Any]):
    """A MapState."""

    def put(self, name: Any, value: Any) -> None:
        self[name] = value

    def remove(self, name: Any) -> None:
        del self[name]


@dataclass
class Timers:
    """A context and its timers."""

    watermark: int = 0
    event_time: list[int] = field(default_factory=list)
    processing_time: list[int] = field(default_factory=list)

    def timer_service(self) -> Timers:
        return self

    def get_current_key(self) -> str:
        return "public.documents"

    def current_watermark(self) -> int:
        return self.watermark

    def current_processing_time(self) -> int:
        return 1000

    def register_event_time_timer(self, at: int) -> None:
        self.event_time.append(at)

    def register_processing_time_timer(self, at: int) -> None:
        self.processing_time.append(at)


def settle() -> Settle:
    made = Settle(PIPELINE.documents, PIPELINE.embedding, stores_of(PIPELINE), None, PIPELINE.events.debezium)
    made._memory, made._due, made._last = _KeptInState(Map()), Map(), Map()
    made._chunkers = {table: document_chunker("hash", document.chunk) for table, document in PIPELINE.documents.items()}
    made._source, made._meters = None, Quiet()  # type: ignore[assignment]
    made._marks = Marks(lambda: [])
    return made


def half(key: int, at: int, **row: str) -> Any:
    lacks = frozenset(["title", "body"]) - row.keys()
    position = Position(f"{at:04}")
    change = Change("public.documents", {"id": key}, Operation.UPSERT, position, row, lacks, moves=True)
    event = msgspec.msgpack.encode(Event("t", 0, at, None, None))
    return payloads.UNSETTLED.encode(Unsettled(f"public.documents/{key}", change, event)), at


@pytest.mark.parametrize("bounded", [False, True])
def test_a_half_that_waited_behind_another_goes_on_when_that_one_is_given_up(bounded: bool) -> None:
    operator, timers = settle(), Timers(watermark=_END if bounded else 50)
    for each in (half(1, 10), half(1, 20, title="t", body="b")):
        assert list(operator.process_element(each, timers)) == []
    assert timers.event_time == [10 + EARLY_MS]
    found = list(operator.on_timer(10 + EARLY_MS, timers))
    if not bounded:
        assert found == [] and timers.processing_time == [1000 + PATIENCE_MS]
        found = list(operator.on_timer(1000 + PATIENCE_MS, timers))
        assert timers.event_time[1:] == [50 + EARLY_MS]
        found += list(operator.on_timer(50 + EARLY_MS, timers))
    letter, plan = found
    assert isinstance(letter, tuple)
    assert "".join(chunk.text for chunk in payloads.PLAN.decode(plan[0]).write) == "t\n\nb"
    if not bounded:
        assert list(operator.on_timer(1000 + PATIENCE_MS, timers)) == []
    assert len(operator._memory) == 0
