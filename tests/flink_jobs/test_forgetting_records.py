"""What the operator that reads records' rows forgets once a table is cleared, without a job around it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, cast

import msgspec
import pytest
from pyflink.common import Row

from core.change import Change, Event, Operation, Position
from core.forgetting import FIRST_LOOK_MS, mark_of, with_mark
from core.profiles_records import row_from_bytes
from flink_jobs import linking
from flink_jobs.linking import ParseRecord
from flink_jobs.operators import DEAD_LETTERS
from tests.core.test_profiles_records import READING, ROW, SPEC, change
from tests.flink_jobs.test_refusals import PIPELINE, Quiet

DAY_MS = 86_400_000


@dataclass
class Record:
    """One record's state, timers and time, and what its subtask has heard of sweeps."""

    operator: ParseRecord
    now: int = 1_800_000_000_000
    watermark: int = 0
    raw: bytes | None = None
    timers: set[int] = field(default_factory=set)
    marks: dict[str, str] = field(default_factory=dict)

    def value(self) -> bytes | None:
        return self.raw

    def update(self, raw: bytes) -> None:
        self.raw = raw

    def clear(self) -> None:
        self.raw = None

    def get_current_key(self) -> str:
        return "shop.orders/4"

    def timestamp(self) -> int:
        return self.now

    def current_watermark(self) -> int:
        return self.watermark

    def timer_service(self) -> Record:
        return self

    def current_processing_time(self) -> int:
        return self.now

    def register_processing_time_timer(self, at: int) -> None:
        self.timers.add(at)

    def get_broadcast_state(self, _: object) -> Record:
        return self

    def get(self, table: str) -> str | None:
        return self.marks.get(table)

    def put(self, table: str, told: str) -> None:
        self.marks[table] = told

    def take(self, change: Change) -> list[Any]:
        event = msgspec.msgpack.encode(Event("t", 0, 1, None, None))
        return list(self.operator.process_element(Row(msgspec.msgpack.encode(change), event), cast("Any", self)))

    def sweep(self, position: str, due: int) -> None:
        swept = Row("shop.orders", Row(position, due))
        assert list(self.operator.process_broadcast_element(swept, cast("Any", self))) == []

    def until(self, at: int) -> None:
        """Let time pass."""
        while due := [each for each in self.timers if each <= at]:
            self.now = min(due)
            self.timers.remove(self.now)
            assert list(self.operator.on_timer(self.now, cast("Any", self))) == []
        self.now = at


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Record:
    operator = ParseRecord(PIPELINE)
    made = Record(operator)
    monkeypatch.setattr(linking, "time", lambda: made.now / 1000)
    operator._state, operator._meters = made, Quiet()  # type: ignore[assignment]
    operator._specs, operator._reading = {"shop.orders": SPEC}, READING
    return made


def test_a_truncated_row_is_forgotten_and_one_that_came_since_is_not(record: Record) -> None:
    record.take(change(4))
    record.sweep("5", 0)
    record.until(record.now + FIRST_LOOK_MS)
    assert record.raw is None and not record.timers
    record.take(change(6))
    record.until(record.now + 3 * DAY_MS)
    assert record.raw is not None and len(record.timers) == 1


def test_what_a_snapshot_does_not_show_goes_once_every_partition_has_passed_it(record: Record) -> None:
    record.take(change(4))
    record.sweep("5", 1000)
    record.until(record.now + FIRST_LOOK_MS)
    assert record.raw is not None
    record.watermark = 1000
    record.until(record.now + DAY_MS)
    assert record.raw is None


def test_what_comes_late_and_lacks_values_is_no_dead_letter(record: Record) -> None:
    late = replace(change(4), row={**ROW, "email": "marker"}, unavailable=frozenset(["email"]))
    record.sweep("5", 0)
    assert record.take(late) == []
    ((tag, _),) = record.take(replace(late, position=Position("6")))
    assert tag is DEAD_LETTERS


def test_a_deleted_row_is_forgotten_in_its_time(record: Record) -> None:
    record.take(change(4))
    record.take(replace(change(5), operation=Operation.DELETE, row={}))
    assert record.raw is not None and not row_from_bytes(record.raw).row
    record.until(record.now + 7 * DAY_MS)
    assert record.raw is None


def test_of_several_marks_the_highest_holds_that_every_partition_has_passed() -> None:
    told = ""
    for position, due in (("3", 0), ("9", 2000), ("5", 1000)):
        told = with_mark(told, Position(position), due)
    assert [mark_of(told, passed) for passed in (-1, 0, 999, 1000, 2000)] == ["", "3", "3", "5", "9"]
    for _ in range(100):
        told = with_mark(told, Position("9"), 3000)
    assert len(told.splitlines()) == 8
