"""Documents that go by a unique column beside the primary key, whose changes have one place in MySQL's binlog."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.change import Change, Event
from core.documents.step import Refused, document_id, step
from core.identity.linking import RecordChange
from core.plans import Plan
from core.profiles.records import RecordSpec, RowState, record_id
from core.profiles.records import step as record_step
from tests.core.test_halves import MYSQL, NEW_KEY, OLD_KEY, TABLE, WHOLE, Job, changes, event, pipeline
from tests.core.test_record_halves import READING
from tests.laws import examples

PIPELINE = pipeline()
SPEC = PIPELINE.documents[TABLE].spec(TABLE)
RECORDS = RecordSpec(TABLE, attributes={"name": "title"}, key=("code",))
Rows = dict[int, dict[str, Any]]


def told(chance: random.Random, moves: float = 0) -> tuple[Rows, list[Event]]:
    """Rows that leave and take each other's codes, at few places, and the events of them in their order.

    moves  how many of the updates change the primary key as well
    """
    rows: Rows = {}
    events: list[Event] = []
    place = 100
    for offset in range(chance.randrange(2, 12)):
        place += chance.random() < 0.3
        number = chance.randrange(1, 4)
        free = sorted(set("ABCDE") - {row["code"] for row in rows.values()})
        before = rows.pop(number, None)
        after = None
        if before is None:
            after = {"id": number, "code": chance.choice(free), "title": f"t{offset}"}
        elif chance.random() > 0.15:
            code, title = chance.choice((before["code"], *free)), chance.choice((before["title"], f"t{offset}"))
            after = {**before, "code": code, "title": title}
        if after is not None:
            rows[number] = after
        source = {**MYSQL, "pos": place}
        others = sorted({1, 2, 3} - rows.keys())
        if before is not None and after is not None and others and chance.random() < moves:
            new = chance.choice(others)
            rows[new] = moved = {**rows.pop(number), "id": new}
            events.append(event("d", {"id": number}, source, before, header=NEW_KEY, at=offset))
            events.append(event("c", {"id": new}, source, after=moved, header=OLD_KEY, at=offset))
            continue
        operation = "c" if before is None else "d" if after is None else "u"
        events.append(event(operation, {"id": number}, source, before, after, at=offset))
    return rows, events


def shuffled(events: list[Event], chance: random.Random) -> list[Change]:
    """The changes as documents hear of them: each of its own in their order."""
    by_document: dict[str, list[Change]] = {}
    for change in changes(PIPELINE, events):
        by_document.setdefault(document_id(SPEC, change), []).append(change)
    waiting = list(by_document.values())
    found = []
    while waiting:
        some = chance.choice(waiting)
        found.append(some.pop(0))
        waiting = [each for each in waiting if each]
    return found


@settings(max_examples=examples(300), deadline=None)
@given(st.randoms(use_true_random=False))
def test_in_one_partition_documents_end_as_the_rows_do(chance: random.Random) -> None:
    rows, events = told(chance)
    job = Job(PIPELINE)
    for change in shuffled(events, chance):
        job.take(change)
    job.end()
    assert job.texts() == {f"{TABLE}/{row['code']}": row["title"] for row in rows.values()}


def spread(events: list[Event], chance: random.Random) -> list[tuple[int, Event]]:
    """The events with partitions, as the rows' own keys choose them, each with offsets of its own; some come twice."""
    offsets = {number: chance.choice((0, 7, 1_000)) for number in range(1, 6)}
    found = []
    for each in events:
        number = json.loads(each.key or b"")["id"]
        offsets[number] += 1
        found.append((number, replace(each, partition=number, offset=offsets[number])))
    if chance.random() < 0.5:
        return found
    # a connector that died sends again what it had not noted as sent
    since = chance.randrange(len(found) + 1)
    again = []
    for number, each in found[since:]:
        offsets[number] += 1
        again.append((number, replace(each, offset=offsets[number])))
    return [*found, *again]


def interleaved(events: list[tuple[int, Event]], chance: random.Random) -> list[Change]:
    """The changes as documents hear of them: those of each document and partition in their order."""
    waiting: dict[tuple[str, int], list[Change]] = {}
    for number, each in events:
        for change in changes(PIPELINE, [each]):
            waiting.setdefault((document_id(SPEC, change), number), []).append(change)
    queues = [queue[::-1] for queue in waiting.values()]
    found = []
    while queues:
        found.append(chance.choice(queues).pop())
        queues = [queue for queue in queues if queue]
    return found


def held(random_seed: int) -> None:
    """A crash as well: the store keeps what was written before it, and the job hears all again, in another order."""
    chance = random.Random(random_seed)
    rows, events = told(chance, moves=chance.choice((0, 0.3)))
    placed = spread(events, chance)
    job = Job(PIPELINE)
    if chance.random() < 0.5:
        heard = interleaved(placed, chance)
        for change in heard[: chance.randrange(len(heard) + 1)]:
            job.take(change)
        job = Job(PIPELINE, job.store)
    said: dict[str, tuple[str, Any]] = {}
    states: dict[str, RowState | None] = {}
    for change in interleaved(placed, chance):
        job.take(change)
        record = record_id(RECORDS, change)
        states[record], its = record_step(states.get(record), change, RECORDS, READING, 10**12)
        if isinstance(its, RecordChange):
            assert its.position > said.get(record, ("", None))[0], "who links refuses what is older"
            said[record] = (its.position, None if its.deleted else (states[record] or RowState()).row["title"])
    job.end()
    there = {f"{TABLE}/{row['code']}": row["title"] for row in rows.values()}
    assert job.texts() == there
    assert {record: title for record, (_, title) in said.items() if title is not None} == there


@pytest.mark.parametrize("hundred", range(10))
def test_in_several_partitions_documents_and_records_end_as_the_rows_do(hundred: int) -> None:
    for number in range(examples(100)):
        held(hundred * 1_000 + number)


def test_a_dead_letter_that_comes_again_is_the_change_that_it_was() -> None:
    """Row 1 takes the code that row 2 has left, and its first text was refused: its place in the order stays."""
    first, other = {"id": 1, "code": "A"}, {"id": 2, "code": "A", "title": "two"}
    came = event("c", {"id": 1}, MYSQL, after=first, at=3)
    history = [
        event("c", {"id": 2}, {**MYSQL, "pos": 4}, after=other, at=900),
        came,
        event("d", {"id": 2}, MYSQL, before=other, at=901),
    ]
    state = None
    for change in changes(PIPELINE, history):
        state, emitted = step(state, change, SPEC, "m", WHOLE)
    assert isinstance(emitted[-1], Refused), "the row that is there has no title"
    (again,) = changes(PIPELINE, [replace(came, value=(came.value or b"").replace(b'"A"', b'"A", "title": "one"'))])
    state, emitted = step(state, again, SPEC, "m", WHOLE, replayed=True)
    (plan,) = [each for each in emitted if isinstance(each, Plan)]
    assert [chunk.text for chunk in plan.write] == ["one"]
