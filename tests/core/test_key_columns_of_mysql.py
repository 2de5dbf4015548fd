"""Documents that go by a unique column beside the primary key, whose changes have one place in MySQL's binlog."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from core.change import Change, Event
from core.documents.step import document_id
from tests.core.test_halves import MYSQL, TABLE, Job, changes, event, pipeline
from tests.laws import examples

PIPELINE = pipeline()
SPEC = PIPELINE.documents[TABLE].spec(TABLE)
Rows = dict[int, dict[str, Any]]


def told(chance: random.Random) -> tuple[Rows, list[Event]]:
    """Rows that leave and take each other's codes, at few places, and the events of them in their order."""
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
        operation = "c" if before is None else "d" if after is None else "u"
        events.append(event(operation, {"id": number}, {**MYSQL, "pos": place}, before, after, at=offset))
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
    assert job.texts() == {f"{TABLE}/{row['code']}": row["title"] for row in rows.values()}
