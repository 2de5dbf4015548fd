"""What the parser of records forgets of a table that was emptied, without a job around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest
from pyflink.common import Row

from core.change import Change, Event, Operation, Position
from core.config.pipeline import Pipeline
from core.documents.forgetting import FIRST_LOOK_MS
from core.profiles.forgetting import Sweep, mark, sweeps_from_bytes, sweeps_to_bytes, with_sweep
from core.profiles.records import row_from_bytes
from flink_jobs import payloads
from flink_jobs.steps import linking
from flink_jobs.steps.linking import ParseRecord
from flink_jobs.steps.operators import DEAD_LETTERS
from tests.flink_jobs.test_refusals import Quiet

TABLE, NAME = "public.customers", "public.customers/1"
PIPELINE = Pipeline.model_validate(
    {
        "name": "p",
        "source": {"kafka": {"topic": "t", "properties.bootstrap.servers": "127.0.0.1:1"}},
        "format": "debezium",
        "profiles": {
            "identifiers": [{"type": "email", "normalize": "email", "limit": 2}],
            "records": {TABLE: {"identifiers": {"email": "email"}, "attributes": {"name": "name"}}},
        },
        "embedding": {"text": "{name}"},
        "store": {"postgres": {"dsn": "postgresql://u@127.0.0.1:1/d"}},
        "dead_letters": {"kafka": {"topic": "l"}},
    }
)


DAY_MS = 86_400_000


@dataclass
class Record:
    """One record's state, timers and time; the sweeps that were heard of, and the watermark."""

    operator: ParseRecord
    now: int = 1_800_000_000_000
    watermark: int = 0
    raw: bytes | None = None
    timers: set[int] = field(default_factory=set)
    swept: dict[str, bytes] = field(default_factory=dict)

    def value(self) -> bytes | None:
        return self.raw

    def update(self, raw: bytes) -> None:
        self.raw = raw

    def clear(self) -> None:
        self.raw = None

    def get_current_key(self) -> str:
        return NAME

    def get_broadcast_state(self, _: object) -> Record:
        return self

    def items(self) -> Any:
        return self.swept.items()

    def put(self, table: str, raw: bytes) -> None:
        self.swept[table] = raw

    def timestamp(self) -> int:
        return 5

    def timer_service(self) -> Record:
        return self

    def current_processing_time(self) -> int:
        return self.now

    def current_watermark(self) -> int:
        return self.watermark

    def register_processing_time_timer(self, at: int) -> None:
        self.timers.add(at)

    def take(self, at: int, name: str | None = "n", operation: Operation = Operation.UPSERT) -> list[Any]:
        """A change of the record; `name` None: it did not travel."""
        row = {"email": "a@x.no", "name": name or "marker"} if operation is Operation.UPSERT else {}
        change = Change(
            TABLE, {"id": 1}, operation, Position(f"{at:04}"), row, frozenset() if name else frozenset(["name"])
        )
        value = Row(payloads.CHANGE.encode(change), msgspec.msgpack.encode(Event("t", 0, at, None, None)))
        return list(self.operator.process_element(value, cast("Any", self)))

    def sweep(self, at: int, due: int = 0) -> None:
        value = Row(TABLE, Row(Position(f"{at:04}"), due))
        assert not list(self.operator.process_broadcast_element(value, cast("Any", self)))

    def until(self, at: int) -> None:
        """Let time pass."""
        while due := [each for each in self.timers if each <= at]:
            self.now = min(due)
            self.timers.remove(self.now)
            assert not list(self.operator.on_timer(self.now, cast("Any", self)))
        self.now = at


def parser() -> ParseRecord:
    return ParseRecord("p", PIPELINE.profiles_job.profiles, 7 * 86_400_000, bounded=False)


def resumed(record: Record) -> Record:
    """The same in another process."""
    operator = parser()
    operator._state, operator._meters, operator._swept, operator._passed_ms = record, Quiet(), None, 0  # type: ignore[assignment]
    operator._specs = {TABLE: PIPELINE.profiles_job.profiles.spec(TABLE)}
    operator._reading = PIPELINE.profiles_job.profiles.reading
    record.operator = operator
    return record


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Record:
    made = resumed(Record(parser()))
    monkeypatch.setattr(linking, "time", lambda: made.now / 1000)
    return made


def test_a_truncated_record_is_forgotten_and_what_comes_late_of_it_is_no_dead_letter(record: Record) -> None:
    record.take(1)
    record.until(record.now + FIRST_LOOK_MS)
    assert record.raw is not None
    record.sweep(5)
    resumed(record).until(record.now + 8 * FIRST_LOOK_MS)
    assert record.raw is None and not record.timers
    assert record.take(4) == record.take(4, name=None) == [] and record.raw is None
    (lacking,) = record.take(5, name=None)
    assert lacking[0] is DEAD_LETTERS
    (taken,) = record.take(7)
    assert payloads.RECORD.decode(taken[1][0]).record == NAME


def test_one_that_came_since_stays_and_is_looked_at_again(record: Record) -> None:
    record.sweep(5)
    record.take(5)
    since = row_from_bytes(record.raw or b"").since
    record.take(6, name=None)
    record.until(record.now + 30 * 86_400_000)
    assert record.raw is not None and len(record.timers) == 1
    assert row_from_bytes(record.raw).since == since > 0


def test_a_record_has_one_timer_however_often_it_is_deleted(record: Record) -> None:
    for number in range(1, 50):
        record.take(2 * number)
        record.take(2 * number + 1, operation=Operation.DELETE)
        record.until(record.now + 1000)
    assert len(record.timers) == 1
    deleted = record.now - 1000
    record.until(deleted + 7 * DAY_MS - 1)
    assert record.raw is not None
    record.until(deleted + 7 * DAY_MS)
    assert record.raw is None


def test_a_snapshots_end_counts_once_every_partition_has_passed_it(record: Record) -> None:
    record.take(1)
    record.sweep(5, due=1_000)
    record.until(record.now + 8 * FIRST_LOOK_MS)
    assert record.raw is not None
    record.watermark = 1_000
    record.until(record.now + 64 * FIRST_LOOK_MS)
    assert record.raw is None


def test_of_sweeps_the_highest_that_was_passed_is_kept_and_what_waits() -> None:
    first, second, third = (Sweep(Position(f"{at:04}"), due) for at, due in ((1, 10), (2, 0), (3, 30)))
    known = with_sweep(with_sweep(with_sweep((), first, 5), third, 5), second, 5)
    assert known == (Sweep(Position("0002"), 0), third) == sweeps_from_bytes(sweeps_to_bytes(known))
    assert (mark((), 5), mark(known, 29), mark(known, 30)) == ("", "0002", "0003")
    assert with_sweep(known, first, 40) == (Sweep(Position("0003"), 0),)
