"""Halves of key changes as records of persons see them: a person's record stays while its row is there."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import msgspec
import pytest

from core.change import Change, Event, Operation
from core.documents.unsettled import Refused
from core.formats.debezium import decoding as debezium
from core.profiles.records import Reading, RecordSpec, RowState, record_id, row_from_bytes, row_to_bytes, step
from tests.core.test_halves import MYSQL, NEW_KEY, OLD_KEY, TABLE, at, event

READING = Reading({}, lambda text: False, 10**9)


def names_of(events: list[Event], key: tuple[str, ...] = ()) -> dict[str, Any]:
    """What is said last of each record that is there. Who links refuses what is older, and such a deletion in a tie."""
    spec = RecordSpec(TABLE, attributes={"name": "title"}, key=key)
    states: dict[str, RowState | None] = {}
    records: dict[str, tuple[str, Any]] = {}
    for each in events:
        change = debezium.decode(each)
        assert isinstance(change, Change)
        record = record_id(spec, change)
        state, said = step(states.get(record), change, spec, READING, 10**12)
        states[record] = None if state is None else row_from_bytes(row_to_bytes(state))
        if said is None or isinstance(said, Refused):
            continue
        if said.position > records.get(record, ("", None))[0] or not said.deleted:
            assert said.position >= records.get(record, ("", None))[0]
            records[record] = (said.position, None if said.deleted else (state or RowState()).row["title"])
    return {record: title for record, (_, title) in records.items() if title is not None}


def test_two_rows_have_a_deferrable_key_for_a_while() -> None:
    events = [
        event("c", {"id": 1}, at(40, 50), after={"id": 1, "title": "one"}),
        event("c", {"id": 2}, at(40, 51), after={"id": 2, "title": "two"}),
        event("d", {"id": 1}, at(90, 100), before={"id": 1, "title": "one"}, header=NEW_KEY),
        event("c", {"id": 2}, at(90, 100), after={"id": 2, "title": "one"}, header=OLD_KEY),
        event("d", {"id": 2}, at(90, 110), before={"id": 2, "title": "two"}, header=NEW_KEY),
        event("c", {"id": 3}, at(90, 110), after={"id": 3, "title": "two"}, header=OLD_KEY),
    ]
    assert names_of(events) == {"public.a/2": "one", "public.a/3": "two"}
    assert names_of([*events, *events[2:]]) == {"public.a/2": "one", "public.a/3": "two"}
    gone = event("d", {"id": 2}, at(190, 200), before={"id": 2})
    assert names_of([*events, gone]) == {"public.a/3": "two"}


@pytest.mark.parametrize("title", [None, "third"])
def test_a_row_that_was_truncated_is_no_elder(title: str | None) -> None:
    events = [
        event("c", {"id": 2}, at(40, 51), after={"id": 2, "title": "two"}),
        event("c", {"id": 1}, at(70, 80), after={"id": 1, "title": "third"}),
        event("d", {"id": 1}, at(90, 100), before={"id": 1, "title": title}, header=NEW_KEY),
        event("c", {"id": 2}, at(90, 100), after={"id": 2, "title": "third"}, header=OLD_KEY),
        event("d", {"id": 2}, at(90, 110), before={"id": 2, "title": title}, header=NEW_KEY),
        event("c", {"id": 3}, at(90, 110), after={"id": 3, "title": "third"}, header=OLD_KEY),
    ]
    assert names_of(events) == {"public.a/3": "third"}


@pytest.mark.parametrize("repeats", [1, 2])
@pytest.mark.parametrize("offsets", [(900, 10), (10, 900)])
@pytest.mark.parametrize("order", [*permutations((0, 1))])
def test_mysql_tells_of_a_primary_key_that_the_record_is_not_named_by(
    order: tuple[int, ...], offsets: tuple[int, int], repeats: int
) -> None:
    """The halves' positions end in offsets of two partitions, which say nothing of each other."""
    old, new = {"id": 1, "code": "x", "title": "old"}, {"id": 2, "code": "x", "title": "new"}
    halves = [
        event("d", {"id": 1}, MYSQL, before=old, header=NEW_KEY, at=offsets[0]),
        event("c", {"id": 2}, MYSQL, after=new, header=OLD_KEY, at=offsets[1]),
    ]
    events = [event("c", {"id": 1}, {**MYSQL, "pos": 4}, after=old), *[halves[number] for number in order] * repeats]
    assert names_of(events, ("code",)) == {"public.a/x": "new"}
    last = [
        event("u", {"id": 2}, {**MYSQL, "pos": 500}, before=new, after={**new, "title": "last"}),
        event("d", {"id": 2}, {**MYSQL, "pos": 600}, before=new),
    ]
    assert names_of([*events, last[0]], ("code",)) == {"public.a/x": "last"}
    assert names_of([*events, *last], ("code",)) == {}


def test_a_state_of_the_last_release_between_the_halves_lets_the_other_one_come() -> None:
    spec = RecordSpec(TABLE, attributes={"name": "title"}, key=("code",))
    row = {"id": 2, "code": "x", "title": "new"}
    came = debezium.decode(event("c", {"id": 2}, at(90, 100), after=row, header=OLD_KEY))
    assert isinstance(came, Change) and came.operation is Operation.UPSERT
    deleted = row_from_bytes(b"\x01" + msgspec.msgpack.encode({"position": came.position, "row": {}, "forget_ms": 9}))
    state, said = step(deleted, came, spec, READING, 10**12)
    assert said is not None and state is not None and state.row == {"title": "new"}
