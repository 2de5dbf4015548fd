"""Histories that once ended wrong without a word, change by change; tests/core/test_model.py has the law of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from core.change import Change, Event, Operation, Position
from core.documents.memory import Kept
from core.documents.moves import Settled, Unknown, settle
from core.documents.step import DocumentSpec, DocumentState, Unsettled, plan_of, step
from core.formats.debezium.decoding import UNAVAILABLE, decode
from core.plans import Plan
from tests.core.test_grown_topic import SPEC, WHOLE, Job, gone, upsert


def event(operation: str, lsn: int, **row: Any) -> Event:
    """Of row 1, with what isn't given unchanged and not sent."""
    source = {"connector": "postgresql", "name": "shop", "db": "app", "schema": "public", "table": "articles"}
    source |= {"lsn": lsn, "sequence": json.dumps([str(lsn - 10), str(lsn)]), "ts_ms": 1}
    value = {"op": operation, "before": None, "after": {"id": 1, "body": UNAVAILABLE, **row}, "source": source}
    return Event("t", 0, lsn, b'{"id": 1}', json.dumps(value).encode())


@pytest.mark.parametrize("unread", [False, True])
def test_an_update_that_was_refused_leaves_no_old_text_behind_and_later_changes_end_with_the_new_one(
    unread: bool,
) -> None:
    """It lacks a column that was renamed for a while, but says the text; or nothing of it can be read."""
    spec = DocumentSpec("public.articles", "{title} :: {body} :: {n}")
    state: DocumentState | None = None
    memory: dict[str, Kept] = {}

    def take(each: Event, replayed: bool = False, unread: bool = False) -> list[str]:
        nonlocal state
        change = decode(each)
        assert isinstance(change, Change)
        if unread:
            change = replace(change, operation=Operation.REFUSED, row={}, unavailable=frozenset())
        state, emitted = step(state, change, spec, "m", WHOLE, replayed)
        found = [
            each.write[0].text if isinstance(each, Plan) else "refused"
            for each in emitted
            if not isinstance(each, Unsettled)
        ]
        answers = [answer for each in emitted if not isinstance(each, Plan) for answer in settle(memory, each)]
        plans = [plan_of(each.what, spec, "m", WHOLE) for each in answers if isinstance(each, Settled)]
        asked = [
            f"asks for {name}" for each in answers if isinstance(each, Unknown) for name in each.what.change.unavailable
        ]
        return [*found, *(each.write[0].text for each in plans), *asked]

    assert take(event("c", 100, title="t1", body="V1", n=1)) == ["t1 :: V1 :: 1"]
    if unread:
        assert take(event("u", 200, title="t1", body="V2", n=1), unread=True) == []
        assert take(event("u", 300, title="t3", n=1)) == ["asks for body"]
        assert take(event("u", 200, title="t1", body="V2", n=1), replayed=True) == ["t3 :: V2 :: 1"]
    else:
        assert take(event("u", 200, title="t1", body="V2")) == ["refused"]
        assert take(event("u", 300, title="t3", n=1)) == ["t3 :: V2 :: 1"]
    assert take(event("u", 400, title="t4", n=2)) == ["t4 :: V2 :: 2"]


def test_a_topic_that_grew_ends_with_the_new_text_though_a_later_change_was_read_before_it() -> None:
    old, new = upsert(1, 1, body="OLD long text", note="t"), upsert(1, 2, body="NEW long text", note="t")
    job = Job().read(old, upsert(1, 3, note="t2"), new)
    assert (job.text(1), job.unknown) == ("NEW long text|t2", [])


def test_a_deleted_rows_text_never_comes_back_with_the_next_row_of_its_key() -> None:
    job = Job().read(upsert(1, 1, body="SECRET of the first row", note="a"))
    job.read(gone(1, 2, moves=True), upsert(2, 2, moves=True, note="a"))
    assert job.text(2) == "SECRET of the first row|a"
    job.read(upsert(2, 3, body="second text", note="a"), gone(2, 4))
    assert job.text(2) == "" and "SECRET" not in repr(job.memory)
    refused = Change(SPEC.table, {"id": 2}, Operation.UPSERT, Position("0005"), {"body": "THIRD text"})
    job.read(refused, upsert(2, 6, note="c"))
    assert (job.text(2), job.unknown) == ("THIRD text|c", [])
