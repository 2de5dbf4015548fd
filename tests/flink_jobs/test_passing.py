"""Marks behind what is read: what they claim, on how many ways they go, and when all before them is applied."""

from __future__ import annotations

import base64
import json

from msgspec import structs

from core.change import Event
from core.decoding import decoder
from core.formats.debezium.places import HEARTBEAT
from core.shards.progress import Passed, Reached
from flink_jobs import payloads
from flink_jobs.payloads import Mark
from flink_jobs.steps.passing import Passing, marking
from tests.flink_jobs.events import envelope, key, row
from tests.flink_jobs.test_ends_of_snapshots import PIPELINE


def passing(parallelism: int) -> Passing:
    return Passing(marking(PIPELINE.model_copy(update={"parallelism": parallelism})))


def came(passed: Passed, copy: Mark) -> bool:
    return passed.take(copy.by, copy.number, copy.way, copy.ways)


def read(of: Passing, value: bytes, offset: int, partition: int = 0) -> list[Mark]:
    event = Event("t", partition, offset, key(1), value)
    for each in decoder(PIPELINE.events)(event):
        of.hear(each)
    return [payloads.MARK.decode(change[0]) for _, change in of.marks(event)]


def committed(last: int, lsn: int, ms: int, snapshot: str = "false") -> bytes:
    """A change of a transaction that was committed at a time, behind the commit at `last`."""
    change = json.loads(envelope(lsn, row(1, "body"), "r" if snapshot != "false" else "c", snapshot=snapshot))
    change["source"] |= {"sequence": json.dumps([str(last), str(lsn)]), "ts_ms": ms}
    return json.dumps(change).encode()


def beat(lsn: int, ms: int) -> bytes:
    content = base64.b64encode(str(ms).encode()).decode()
    source = {"connector": "postgresql", "lsn": lsn}
    return json.dumps({"op": "m", "source": source, "message": {"prefix": HEARTBEAT, "content": content}}).encode()


def test_a_mark_goes_to_each_subtask_and_from_there_by_each_table() -> None:
    marks = read(passing(3), beat(16, 5), 0)
    assert len({mark.way for mark in marks}) == 3
    assert {(mark.ways, mark.tables) for mark in marks} == {(6, ("public.documents",))}
    assert {str(mark.reached) for mark in marks} == {str({"t/0": Reached(0, f"{16:016x}", 5)})}


def test_what_is_claimed_ends_before_the_transaction_that_is_under_way() -> None:
    of = passing(1)

    def claim(value: bytes, offset: int) -> Reached:
        return read(of, value, offset)[-1].reached["t/0"]

    assert claim(committed(50, 50, 1, snapshot="true"), 0) == Reached(0), "a snapshot's rows say nothing of the others"
    assert claim(committed(100, 110, 1_000), 1) == Reached(1, f"{100:016x}", None)
    assert claim(committed(100, 120, 1_000), 2) == Reached(2, f"{100:016x}", None)
    assert claim(committed(130, 140, 2_000), 3) == Reached(3, f"{130:016x}", 1_000)
    assert claim(beat(200, 2_500), 4) == Reached(4, f"{200:016x}", 2_500)
    assert claim(committed(150, 160, 1_500), 5) == Reached(5, f"{200:016x}", 2_500), "a restarted connector repeats"


def test_marks_are_few_where_much_is_read() -> None:
    of = passing(1)
    counted = sum(len(read(of, committed(number, number, 1), number)) for number in range(1, 400))
    assert 20 <= counted < 100


def test_all_is_applied_once_each_copy_has_passed() -> None:
    first, passed = Mark("a", 1, 3, {}), Passed()
    copies = [structs.replace(first, way=way) for way in ("x", "y", "z")]
    assert [came(passed, each) for each in (copies[0], copies[1], copies[0])] == [False, False, False]
    later = [structs.replace(each, number=2) for each in copies]
    assert [came(passed, each) for each in later] == [False, False, True]
    assert not came(passed, copies[2]), "a later one has said more"
    # what another start of the subtask sent doesn't count together with it
    again = [structs.replace(each, by="b", number=3) for each in copies]
    mixed = [again[0], structs.replace(again[1], by="c"), structs.replace(again[2], by="d")]
    assert not any(came(passed, each) for each in mixed)
