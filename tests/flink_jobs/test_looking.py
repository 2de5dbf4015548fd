"""Looks at objects, without a job around them: in parts, past crashes, and never in the way of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyflink.common import Row as FlinkRow
from pyflink.datastream import TimeDomain

from core.change import Change, Event, Position
from core.config.pipeline import Pipeline
from core.documents.objects import Loaded, ObjectChange, Row, pieces
from core.errors import Unavailable
from flink_jobs.steps import looking
from flink_jobs.steps.looking import LookAtObjects
from flink_jobs.steps.operators import DEAD_LETTERS
from tests.flink_jobs.test_refusals import Quiet
from udfs.parsing.loading import Look

OF_OBJECTS = Pipeline.model_validate(
    {
        "name": "p",
        "format": {"s3": {}},
        "dead_letters": {"kafka": {"topic": "letters"}},
        "source": {"kafka": {"topic": "a", "properties.bootstrap.servers": "localhost:1"}},
        "documents": {"s3.docs": {"text": "{text}"}},
        "embedding": {"model": "hash"},
        "store": {"pgvector": {"dsn": "postgresql://localhost/db", "table": "documents"}},
    }
)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Change).decode


@dataclass
class Flink:
    """Keyed state, timers and context of one operator; copied, they are a checkpoint."""

    states: dict[tuple[str, str], Any] = field(default_factory=dict)
    timers: list[tuple[int, str]] = field(default_factory=list)
    at_the_end: dict[int, str] = field(default_factory=dict)
    key: str = ""
    domain: TimeDomain = TimeDomain.PROCESSING_TIME

    def get_state(self, descriptor: Any) -> State:
        return State(self, descriptor.get_name())

    get_list_state = get_state

    def get_metrics_group(self) -> Any:
        return self

    def get_current_key(self) -> str:
        return self.key

    def timer_service(self) -> Flink:
        return self

    def time_domain(self) -> TimeDomain:
        return self.domain

    def register_processing_time_timer(self, at: int) -> None:
        self.timers.append((at, self.key))

    def register_event_time_timer(self, at: int) -> None:
        self.at_the_end[at] = self.key


@dataclass
class State:
    """A ValueState or a ListState."""

    flink: Flink
    name: str

    def value(self) -> Any:
        return self.flink.states.get((self.name, self.flink.key))

    get = value

    def update(self, value: Any) -> None:
        self.flink.states[self.name, self.flink.key] = value

    def add(self, value: Any) -> None:
        self.update([*(self.value() or []), value])

    def clear(self) -> None:
        self.flink.states.pop((self.name, self.flink.key), None)


class Clock:
    """What the operator takes for the time: that of the last timer."""

    def __init__(self) -> None:
        self.ms = 1_000

    def to(self, ms: int) -> None:
        self.ms = max(self.ms + 1, ms)


@pytest.fixture(autouse=True, scope="module")
def clock() -> Iterator[Clock]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(looking, "time_ns", lambda: CLOCK.ms * 1_000_000)
        patch.setattr(looking, "monotonic", lambda: CLOCK.ms / 1_000)
        yield CLOCK


CLOCK = Clock()


class Store:
    """Objects, as rows by key, and the looks at them, which end when a test says so: a `Loader`."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, str] | None] = {}
        self.clock = 1
        self.looks: list[tuple[Look, Loaded]] = []
        self.forgotten: list[Look] = []
        self.lifted = False

    def look(self, bucket: str, key: str) -> Look:
        """As the object is now, found when it ends."""
        rows = self.objects.get(key)
        found = [Row(name, {"text": text}) for name, text in (rows or {}).items()]
        each = [piece for row in found for piece in pieces([row])]
        self.looks.append((Look(), Loaded(bucket, key, self.clock, {"key": key}, each, gone=rows is None)))
        return self.looks[-1][0]

    def end(self, which: int = 0) -> None:
        look, found = self.looks.pop(which)
        look.set_result(found)

    def lift(self) -> None:
        self.lifted = True

    def forget(self, look: Look) -> None:
        self.forgotten.append(look)

    def close(self) -> None:
        self.looks.clear()


class Job:
    """The operator; what it tells goes to `rows`, by document, where positions decide as in a store."""

    def __init__(self, unbounded: bool = True) -> None:
        self.store = Store()
        self.rows: dict[str, tuple[Position, str | None]] = {}
        self.letters: list[Any] = []
        self.unbounded = unbounded
        self.sent = 0
        self.restore(Flink())

    def restore(self, flink: Flink) -> None:
        self.store.close()
        CLOCK.to(0)
        self.flink = flink
        of, bounded = ("p", OF_OBJECTS.format, OF_OBJECTS.documents, OF_OBJECTS.embedding), not self.unbounded
        self.operator = LookAtObjects(*of, lambda: self.store, bounded)  # type: ignore[arg-type,return-value]
        self.operator._meters = Quiet()  # type: ignore[assignment]
        self.operator._meters.open = lambda group: None  # type: ignore[method-assign]
        self.operator.open(flink)  # type: ignore[arg-type]

    def notify(self, key: str) -> tuple[str, bytes, bytes]:
        self.sent += 1
        change = ObjectChange("docs", key, Position(f"{self.sent:08}"))
        event = _encode(Event("t", 0, self.sent, key.encode(), b"notified"))
        self.process(notice := (key, _encode(change), event))
        return notice

    def process(self, notice: tuple[str, bytes, bytes]) -> None:
        self.flink.key = notice[0]
        self._take(self.operator.process_element(FlinkRow(*notice[1:]), self.flink))  # type: ignore[arg-type]

    def fire(self, most: int = 1_000_000) -> list[int]:
        """The timers in their order; how many rows each emitted."""
        counts: list[int] = []
        while self.flink.timers and len(counts) < most:
            self.flink.timers.sort()
            at, self.flink.key = self.flink.timers.pop(0)
            CLOCK.to(at)
            counts.append(self._take(self.operator.on_timer(at, self.flink)))  # type: ignore[arg-type]
        return counts

    def settle(self) -> None:
        """Until nothing is asked any more."""
        while any(name == "asked" for name, _ in self.flink.states):
            for _ in range(len(self.store.looks)):
                self.store.end()
            self.fire(10)

    def end_of_source(self) -> None:
        self.flink.domain = TimeDomain.EVENT_TIME
        while self.flink.at_the_end:
            at = min(self.flink.at_the_end)
            self.flink.key = self.flink.at_the_end.pop(at)
            self._take(self.operator.on_timer(at, self.flink))  # type: ignore[arg-type]

    def texts(self) -> dict[str, str]:
        return {document: text for document, (_, text) in self.rows.items() if text is not None}

    def _take(self, outputs: Iterator[Any]) -> int:
        number = 0
        for each in outputs:
            if isinstance(each, tuple):
                assert each[0] is DEAD_LETTERS
                self.letters.append(each[1])
                continue
            number += 1
            document, change = each[0], _decode(each[1][0])
            if change.position >= self.rows.get(document, (Position(""), None))[0]:
                self.rows[document] = (change.position, change.row.get("text"))
        return number


def documents(objects: dict[str, dict[str, str] | None]) -> dict[str, str]:
    return {
        f"s3.docs/{key}" + (f"/{row}" if row else ""): text
        for key, rows in objects.items()
        for row, text in (rows or {}).items()
    }


@pytest.fixture
def job() -> Job:
    return Job()


def test_what_takes_long_is_in_nobodys_way(job: Job) -> None:
    job.store.objects = {key: {"": key} for key in ("slow", "a", "b")}
    for key in job.store.objects:
        job.notify(key)
    job.store.end(2)
    job.store.end(1)
    assert sum(job.fire(30)) == 2
    assert set(job.texts()) == {"s3.docs/a", "s3.docs/b"}
    assert ("asked", "slow") in job.flink.states and len(job.flink.timers) == 1
    job.settle()
    assert job.texts() == documents(job.store.objects)
    assert len(job.store.forgotten) == 3
    assert {name for name, _ in job.flink.states} == {"gate", "object"}


def test_many_rows_are_sent_in_parts(job: Job) -> None:
    job.store.objects = {"many": {str(number): "x" for number in range(300)}, "a": {"": "a"}}
    job.notify("many")
    job.store.end()
    assert max(job.fire(100)) == 1  # a row is a piece here
    job.notify("a")
    job.store.end()
    job.fire(60)
    assert "s3.docs/a" in job.texts() and "s3.docs/many/299" not in job.texts()
    job.settle()
    assert job.texts() == documents(job.store.objects)


def test_one_look_serves_whatever_was_notified_during_another(job: Job) -> None:
    job.store.objects["a"] = {"": "one"}
    job.notify("a")
    for text in ("two", "three"):
        job.store.objects["a"] = {"": text}
        job.notify("a")
    assert len(job.store.looks) == 1
    job.settle()
    assert job.texts() == {"s3.docs/a": "three"}
    assert len(job.store.forgotten) == 2


def test_what_is_wrong_with_a_file_is_a_letter_and_the_next_look_is_made(job: Job) -> None:
    job.store.objects["a"] = {"": "one"}
    job.notify("a")
    job.notify("a")
    look, found = job.store.looks.pop()
    look.set_result(replace(found, error="a is broken"))
    job.settle()
    (letter,) = job.letters
    assert letter[2]["freshet.stage"] == b"load" and letter[2]["freshet.document"] == b"docs/a"
    assert job.texts() == {"s3.docs/a": "one"}


def test_a_store_that_is_away_stops_the_job_and_is_asked_again_by_the_next(job: Job) -> None:
    job.store.objects["a"] = {"": "one"}
    job.notify("a")
    job.store.looks.pop()[0].set_exception(Unavailable("away"))
    with pytest.raises(Unavailable):
        job.fire()
    job.restore(Flink(job.flink.states, [(1, "a")]))
    job.fire(1)
    job.settle()
    assert job.texts() == {"s3.docs/a": "one"}


@pytest.mark.parametrize("broken", [False, True])
def test_rows_of_a_look_that_a_crash_interrupted_leave_with_the_next_one(job: Job, broken: bool) -> None:
    job.store.objects["a"] = {str(number): "x" for number in range(5)}
    job.notify("a")
    job.store.end()
    assert sum(job.fire(3)) in (2, 3)
    saved = deepcopy(job.flink)
    # the store's clocks may disagree by a little
    job.store.objects["a"], job.store.clock = {"4": "y"}, 0
    job.restore(saved)
    if broken:
        job.fire(1)
        look, found = job.store.looks.pop()
        look.set_result(replace(found, error="a is broken"))
        job.settle()
        job.notify("a")
    job.settle()
    assert job.texts() == {"s3.docs/a/4": "y"}


def test_where_the_source_ends_all_is_sent_before_the_job_ends() -> None:
    job = Job(unbounded=False)
    job.store.objects = {key: {str(row): key for row in range(3)} for key in "ab"}
    for key in "aba":
        job.notify(key)
    for _ in range(2):
        job.store.end()
    ended = job.store.look
    job.store.look = lambda bucket, key: _at_once(job.store, ended(bucket, key))  # type: ignore[method-assign]
    job.end_of_source()
    assert job.texts() == documents(job.store.objects)
    assert job.store.lifted


def _at_once(store: Store, look: Look) -> Look:
    store.end(-1)
    return look


ACTS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from("ab"), st.dictionaries(st.sampled_from("1234"), st.sampled_from("xy"))),
    st.tuples(st.just("delete"), st.sampled_from("ab")),
    st.tuples(st.just("look ends"), st.integers(0, 1)),
    st.tuples(st.just("timers"), st.integers(1, 6)),
    st.tuples(st.sampled_from(["checkpoint", "crash", "clock"])),
)


@settings(max_examples=150)
@given(st.lists(ACTS, max_size=40))
def test_wherever_a_run_is_killed_the_end_is_the_bucket(acts: list[tuple[Any, ...]]) -> None:
    job, saved, since = Job(), Flink(), list[tuple[str, bytes, bytes]]()
    before: set[str] = set()
    excused: set[str] = set()
    for act, *more in acts:
        if act in ("put", "delete"):
            key = more[0]
            job.store.objects[key] = more[1] if act == "put" else None
            job.store.clock += 1
            since.append(job.notify(key))
        elif act == "look ends" and len(job.store.looks) > more[0]:
            job.store.end(more[0])
        elif act == "timers":
            job.fire(more[0])
        elif act == "checkpoint":
            saved, since, before = deepcopy(job.flink), [], set(job.texts())
        elif act == "crash":
            # what came into a file since the checkpoint and leaves it before it is read again, nobody knows of
            excused |= set(job.texts()) - before
            job.restore(deepcopy(saved))
            for notice in since:
                job.process(notice)
        elif act == "clock":
            job.store.clock -= 1
    job.settle()
    end = documents(job.store.objects)
    assert {document: text for document, text in job.texts().items() if document in end} == end
    assert set(job.texts()) - set(end) <= excused
    assert not any(name in ("asked", "told") for name, _ in job.flink.states)
