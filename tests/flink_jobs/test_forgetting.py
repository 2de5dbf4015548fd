"""What the operators forget once the stores have cleared a table, without a job around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest
from pyflink.common import Row

from core.change import BEGINNING, Change, Event, Operation, Position
from core.documents.forgetting import FIRST_LOOK_MS
from core.documents.step import Unsettled, state_from_bytes
from core.errors import Unavailable
from core.stores.contract import VectorStore
from flink_jobs import payloads
from flink_jobs.steps import planning
from flink_jobs.steps.marks import ASKED_EVERY_S, PAUSE_S, Marks
from flink_jobs.steps.operators import DEAD_LETTERS, UNSETTLED
from flink_jobs.steps.planning import PlanDocument
from flink_jobs.steps.settling import EARLY_MS, PATIENCE_MS
from tests.flink_jobs.test_refusals import PIPELINE, Quiet, plan_document
from tests.flink_jobs.test_waiting import Timers, settle
from udfs.embedding.tokenizing import document_chunker

TABLE, NAME = "public.documents", "public.documents/1"
DAY_MS = 86_400_000


@dataclass
class Cleared:
    """What a store says of its marks; `away`: that it doesn't answer."""

    marks: dict[str, Position] = field(default_factory=dict)
    away: bool = False
    asked: int = 0

    def mark(self, table: str) -> Position:
        self.asked += 1
        if self.away:
            raise Unavailable("away")
        return self.marks.get(table, BEGINNING)


@dataclass
class Document:
    """One document's state, timers and time."""

    operator: PlanDocument
    now: int = 1_800_000_000_000
    raw: bytes | None = None
    timers: set[int] = field(default_factory=set)
    watermark: int = 0
    of_events: set[int] = field(default_factory=set)

    def value(self) -> bytes | None:
        return self.raw

    def update(self, raw: bytes) -> None:
        self.raw = raw

    def clear(self) -> None:
        self.raw = None

    def get_current_key(self) -> str:
        return NAME

    def timestamp(self) -> int:
        return 5

    def timer_service(self) -> Document:
        return self

    def current_processing_time(self) -> int:
        return self.now

    def current_watermark(self) -> int:
        return self.watermark

    def register_processing_time_timer(self, at: int) -> None:
        self.timers.add(at)

    def register_event_time_timer(self, at: int) -> None:
        self.of_events.add(at)

    def take(
        self, at: int, body: str | None = "b", operation: Operation = Operation.UPSERT, moves: bool = False
    ) -> list[Any]:
        """A change of the document; `body` None: it did not travel."""
        row = {"title": "t", "body": body or "marker"} if operation is Operation.UPSERT else {}
        left_out = frozenset() if body else frozenset(["body"])
        change = Change(TABLE, {"id": 1}, operation, Position(f"{at:04}"), row, left_out, moves=moves)
        event = msgspec.msgpack.encode(Event("t", 0, at, None, None))
        return list(self.operator.process_element(Row(msgspec.msgpack.encode(change), event), cast("Any", self)))

    def passed(self, watermark: int) -> None:
        """Every partition is as far as that, by the time of its events."""
        self.watermark = watermark
        for due in sorted(each for each in self.of_events if each <= watermark):
            self.of_events.remove(due)
            assert list(self.operator.on_timer(due, cast("Any", self))) == []

    def until(self, at: int) -> list[Any]:
        """Let time pass; what timers tell."""
        found = []
        while due := [each for each in self.timers if each <= at]:
            self.now = min(due)
            self.timers.remove(self.now)
            found += list(self.operator.on_timer(self.now, cast("Any", self)))
        self.now = at
        return found


@pytest.fixture
def store() -> Cleared:
    return Cleared()


@pytest.fixture
def document(store: Cleared, monkeypatch: pytest.MonkeyPatch) -> Document:
    operator = plan_document()
    made = Document(operator)
    monkeypatch.setattr(planning, "time", lambda: made.now / 1000)
    settings = PIPELINE.documents[TABLE]
    operator._state, operator._meters = made, Quiet()  # type: ignore[assignment]
    operator._chunkers = {TABLE: document_chunker("hash", settings.chunk)}
    operator._marks = marks([store], lambda: made.now / 1000)
    return made


def marks(stores: list[Cleared], clock: Callable[[], float]) -> Marks:
    return Marks(lambda: cast("list[VectorStore]", stores), clock)


def test_a_truncated_document_is_forgotten_and_its_next_change_begins_anew(document: Document, store: Cleared) -> None:
    document.take(1)
    start = document.now
    assert document.until(start + FIRST_LOOK_MS) == [] and document.raw is not None
    store.marks[TABLE] = Position("0005")
    assert document.until(start + 8 * FIRST_LOOK_MS) == []
    assert document.raw is None and not document.timers
    document.take(7)
    assert document.until(document.now + FIRST_LOOK_MS) == [] and document.raw is not None


def test_one_that_changed_since_stays_for_as_long_as_it_is_there(document: Document, store: Cleared) -> None:
    store.marks[TABLE] = Position("0005")
    document.take(1)
    document.take(5)
    assert document.until(document.now + 30 * DAY_MS) == []
    assert document.raw is not None and len(document.timers) == 1
    assert store.asked < 40


def test_a_document_has_one_row_of_looks_however_often_it_is_deleted_and_comes_again(document: Document) -> None:
    for number in range(1, 6):
        document.take(2 * number)
        document.take(2 * number + 1, operation=Operation.DELETE)
        document.until(document.now + 7 * DAY_MS)
        assert document.raw is None and not document.timers
    document.take(20)
    document.until(document.now + 3 * DAY_MS)
    assert len(document.timers) == 1


def test_a_document_has_one_timer_however_often_it_is_deleted_and_forgotten_when_it_is_time(document: Document) -> None:
    for number in range(1, 100):
        document.take(2 * number)
        document.take(2 * number + 1, operation=Operation.DELETE)
        document.until(document.now + 1000)
    assert len(document.timers) == 1
    deleted = document.now - 1000
    document.until(deleted + 7 * DAY_MS - 1)
    assert document.raw is not None and len(document.timers) == 1
    document.until(deleted + 7 * DAY_MS)
    assert document.raw is None and not document.timers


def test_what_comes_late_of_a_row_that_left_keeps_its_key_no_longer_in_mind(document: Document) -> None:
    document.take(1)
    document.take(3, operation=Operation.DELETE, moves=True)
    before = document.raw
    (output,) = document.take(2, body="late")
    assert output[0] is UNSETTLED and document.raw != before
    document.until(document.now + 7 * DAY_MS)
    assert document.raw is None


def test_a_row_that_left_is_forgotten_once_every_partition_has_passed_it(document: Document) -> None:
    def left() -> int:
        return len(state_from_bytes(document.raw).departures) if document.raw else 0

    for at in (10, 20):
        document.take(at)
        document.take(at + 2, operation=Operation.DELETE, moves=True)
    document.take(30)
    document.until(document.now + DAY_MS)
    assert left() == 2 and document.of_events == {5 + EARLY_MS}
    document.passed(5 + EARLY_MS)
    document.until(document.now + PATIENCE_MS - 1)
    assert left() == 2
    (output,) = document.take(11, body="late")
    assert output[0] is UNSETTLED
    document.until(document.now + 1)
    assert left() == 0
    assert document.take(21, body="late") == []


def test_a_state_of_an_earlier_release_is_looked_at_from_its_next_change_on(document: Document) -> None:
    document.take(1)
    assert document.raw is not None
    document.raw = msgspec.msgpack.encode({**msgspec.msgpack.decode(document.raw[1:]), "since": 0})
    document.raw = b"\x03" + document.raw
    document.timers.clear()
    document.take(2, body=None)
    assert len(document.timers) == 1 and state_from_bytes(document.raw).row["body"] == "b"


def test_where_values_were_learned_their_keeper_is_sent_the_word(document: Document, store: Cleared) -> None:
    document.take(1, body=None)
    store.marks[TABLE] = Position("0005")
    (output,) = document.until(document.now + FIRST_LOOK_MS)
    tag, (key, (unsettled, _)) = output
    word = payloads.UNSETTLED.decode(unsettled)
    assert tag is UNSETTLED and (key, word.document_id) == (TABLE, NAME)
    assert word.change.operation is Operation.REFUSED and not word.change.unavailable


def test_a_mark_is_all_stores_and_one_that_is_away_keeps_everything() -> None:
    now = 0.0
    one, two = Cleared({TABLE: Position("0005")}), Cleared()
    both = marks([one, two], lambda: now)
    assert both.of(TABLE) == BEGINNING
    two.marks[TABLE] = Position("0003")
    assert both.of(TABLE) == BEGINNING and two.asked == 1
    now += ASKED_EVERY_S
    assert both.of(TABLE) == "0003"
    two.away, now = True, now + ASKED_EVERY_S
    two.marks[TABLE] = Position("0004")
    assert both.of(TABLE) == "0003" and both.of("public.other") == BEGINNING and two.asked == 3
    two.away, now = False, now + PAUSE_S
    assert both.of(TABLE) == "0004"


def test_what_nobody_knows_of_a_row_that_was_truncated_since_is_no_dead_letter(store: Cleared) -> None:
    operator, timers = settle(), Timers()
    operator._marks = marks([store], lambda: 0.0)
    store.marks[TABLE] = Position("0005")
    event = msgspec.msgpack.encode(Event("t", 0, 1, None, None))
    for at, letters in ((4, 0), (5, 1)):
        change = Change(TABLE, {"id": 1}, Operation.UPSERT, Position(f"{at:04}"), {"title": "t"}, frozenset(["body"]))
        outputs = list(
            operator.process_element((payloads.UNSETTLED.encode(Unsettled(NAME, change, event)), at), timers)
        )
        assert [tag for tag, _ in outputs] == [DEAD_LETTERS] * letters
