from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.change import Change, Event, Operation, Skip, Truncate
from core.documents.moves import Settled, Unknown, learn, settle
from core.documents.step import Chunker, DocumentSpec, Refused, Unsettled, document_id, step
from core.errors import DecodeError
from core.formats.dms import DmsFormat, decode
from core.plans import Plan

MESSAGES = json.loads((Path(__file__).parents[2] / "fixtures" / "dms" / "messages.json").read_text())["records"]
KEYED = DmsFormat(keys={"public.articles": ("id",)})
META = {
    "timestamp": "2024-07-29T00:57:35.691762Z",
    "record-type": "data",
    "operation": "load",
    "schema-name": "public",
    "table-name": "articles",
}


def event(message: Any, offset: int = 7) -> Event:
    return Event("t", 0, offset, None, json.dumps(message).encode())


def message(operation: str = "update", data: Any = None, at: int = 0) -> dict[str, Any]:
    stamp = f"2024-07-29T00:57:35.{at:06}Z"
    return {"data": data or {"id": 1}, "metadata": {**META, "operation": operation, "timestamp": stamp}}


def decoded(message: Any, settings: DmsFormat = KEYED) -> Change:
    [change] = decode(event(message), settings)
    assert isinstance(change, Change)
    return change


def test_fractions_that_no_float_holds_are_numbers() -> None:
    raw = json.dumps(message("update", {"id": 1, "price": "@", "t": "0.5"})).replace('"@"', "0.1234567890123456789")
    [change] = decode(Event("t", 0, 0, None, raw.encode()), KEYED)
    assert isinstance(change, Change)
    assert (change.row["price"], change.numbers) == ("0.1234567890123456789", {"price"})


def test_messages() -> None:
    with pytest.raises(DecodeError, match=r"DMS begins to load public.articles anew.*freshet verify"):
        decode(event(MESSAGES[0]), KEYED)
    assert decode(event(MESSAGES[0]), DmsFormat()) == (Skip.SCHEMA_CHANGE,), "of a table that nobody wants"
    decoded_messages = [each for given in MESSAGES[1:] for each in decode(event(given), KEYED)]
    created, exceptions, load, insert, update, gone, moved, truncate, delete = decoded_messages
    assert created is exceptions is Skip.SCHEMA_CHANGE
    changes = [each for each in decoded_messages if isinstance(each, Change)]
    assert [change.operation.value for change in changes] == ["upsert"] * 3 + ["delete", "upsert", "delete"]
    assert [change.key["id"] for change in changes] == [42, 46, 42, 46, 45, 45]
    assert {change.table for change in changes} == {"public.articles"}
    assert [change.moves for change in changes] == [False, False, False, True, True, False]
    assert isinstance(load, Change) and load.row == {"id": 42, "title": "first", "body": "text", "price": 10.5}
    assert isinstance(insert, Change) and isinstance(update, Change) and isinstance(delete, Change)
    assert (load.committed_ms, insert.committed_ms) == (None, 1722214697974)
    assert isinstance(gone, Change) and isinstance(moved, Change) and isinstance(truncate, Truncate)
    assert truncate.table == "public.articles"
    positions = [load.position, insert.position, update.position, moved.position, truncate.position, delete.position]
    assert positions == sorted(set(positions)) and gone.position == moved.position
    assert (delete.partial, gone.partial, moved.partial, load.partial) == (False, False, True, True)


def test_a_load_is_older_than_the_changes_after_it_and_newer_than_those_before() -> None:
    first, change, again = (decoded(message(name, at=at)) for at, name in enumerate(("load", "update", "load")))
    assert first.position < change.position < again.position


def test_equal_times_are_ordered_by_arrival() -> None:
    early, late = (decode(event(message(), offset), KEYED)[0] for offset in (9, 10))
    assert isinstance(early, Change) and isinstance(late, Change)
    assert early.position < late.position


@pytest.mark.parametrize(
    ("settings", "old_image"),
    [
        (KEYED, {"before-image": {"id": 1, "t": "old"}}),
        (DmsFormat(before_image="was", keys=KEYED.keys), {"was": {"id": 1}}),
        (DmsFormat(before_prefix="BI_", keys=KEYED.keys), {"data": {"id": 2, "t": "new", "BI_id": 1}}),
    ],
)
def test_another_key_in_the_before_image_is_two_changes(settings: DmsFormat, old_image: dict[str, Any]) -> None:
    gone, came = decode(event({**message(data={"id": 2, "t": "new"}), **old_image}), settings)
    assert isinstance(gone, Change) and isinstance(came, Change)
    assert (gone.operation, gone.key, came.operation, came.key) == (
        Operation.DELETE, {"id": 1}, Operation.UPSERT, {"id": 2},
    )  # fmt: skip
    assert gone.moves and came.moves and gone.position == came.position
    spec = DocumentSpec("public.articles", "{t}", key=("id",))
    assert (document_id(spec, gone), document_id(spec, came)) == ("public.articles/1", "public.articles/2")


def test_a_composite_key_keeps_what_the_before_image_leaves_out() -> None:
    settings = DmsFormat(keys={"public.articles": ("shop", "id")})
    gone, came = decode(event({**message(data={"id": 2, "shop": 5}), "before-image": {"id": 1}}), settings)
    assert isinstance(gone, Change) and isinstance(came, Change)
    assert (gone.key, came.key) == ({"shop": 5, "id": 1}, {"shop": 5, "id": 2})


@pytest.mark.parametrize("before", [{}, None, {"id": 1}, {"id": None}, {"t": "old"}])
def test_the_same_key_is_one_change(before: Any) -> None:
    assert not decoded({**message(), "before-image": before}).moves


def test_tables_without_a_known_key_have_no_moves() -> None:
    change = decoded({**message(data={"id": 2}), "before-image": {"id": 1}}, DmsFormat())
    assert (change.key, change.row, change.moves) == ({}, {"id": 2}, False)


def test_a_table_without_a_schema() -> None:
    without_schema = message()
    without_schema["metadata"]["schema-name"] = ""
    assert decoded(without_schema).table == "articles"


def test_a_null_is_skipped() -> None:
    assert decode(Event("t", 0, 0, b"k", None)) == (Skip.TOMBSTONE,)


SPEC = DocumentSpec("public.articles", "{title}: {body}", key=("id",))
WHOLE = Chunker("whole", lambda text: [(0, len(text))])
FULL = {"id": 1, "title": "t", "body": "b"}
WITHOUT = {"id": 1, "title": "t"}


def test_a_column_left_out_is_asked_for_and_no_earlier_value_stands() -> None:
    state, [plan] = step(None, decoded(message("insert", FULL)), SPEC, "m", WHOLE)
    assert isinstance(plan, Plan) and plan.write[0].text == "t: b"
    state, [unsettled] = step(state, decoded(message("update", WITHOUT, at=1)), SPEC, "m", WHOLE)
    assert isinstance(unsettled, Unsettled) and unsettled.change.unavailable == {"body"}
    assert unsettled.change.row == {"title": "t"}
    memory: dict[str, Any] = {}
    learn(memory, Unsettled(unsettled.document_id, decoded(message("insert", FULL))), frozenset(["body"]))
    assert settle(memory, unsettled) == [Unknown(unsettled)]


def test_a_column_that_may_be_missing_is_not_asked_for() -> None:
    [plan] = step(None, decoded(message("insert", WITHOUT)), DocumentSpec(SPEC.table, "{title}{body|}"), "m", WHOLE)[1]
    assert isinstance(plan, Plan) and plan.write[0].text == "t"


def test_a_moved_row_takes_no_left_out_column_from_where_it_was() -> None:
    gone, came = decode(event({**message("update", {**WITHOUT, "id": 2}, at=1), "before-image": {"id": 1}}), KEYED)
    assert isinstance(gone, Change) and isinstance(came, Change)
    old, _ = step(None, decoded(message("insert", FULL)), SPEC, "m", WHOLE)
    [departure], [arrival] = step(old, gone, SPEC, "m", WHOLE)[1], step(None, came, SPEC, "m", WHOLE)[1]
    assert isinstance(departure, Unsettled) and isinstance(arrival, Unsettled)
    assert departure.change.row == {"title": "t", "body": "b"}
    memory: dict[str, Any] = {}
    assert settle(memory, arrival) == []
    assert settle(memory, departure) == [Unknown(arrival), Settled(departure)]


def test_with_null_and_empty_a_missing_column_is_a_mistake() -> None:
    change = decoded(message("insert", WITHOUT), DmsFormat(include_null_and_empty=True, keys=KEYED.keys))
    [refused] = step(None, change, SPEC, "m", WHOLE)[1]
    assert isinstance(refused, Refused) and "uses column 'body', which the row lacks" in str(refused.error)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"data": {}}, "not a DMS message: metadata is None"),
        ({"metadata": {}}, "metadata.record-type is None, must be data or control"),
        ({"metadata": {**META, "operation": "merge"}}, "metadata.operation is 'merge', must be one of load, insert"),
        ({"metadata": {**META, "operation": ["load"]}}, "metadata.operation is a list of 1"),
        ({"metadata": META}, "operation is 'load' but data is None, must be the row"),
        ({"metadata": {**META, "table-name": ""}, "data": {}}, "metadata names the table ''"),
        ({"metadata": {**META, "schema-name": None}, "data": {}}, "in schema None; both must be text"),
        (
            {"metadata": {**META, "timestamp": "today"}, "data": {}},
            "metadata.timestamp is 'today', must be an ISO 8601",
        ),
        ({"metadata": {**META, "timestamp": "1969-01-01"}, "data": {}}, "metadata.timestamp is '1969-01-01'"),
        ({"metadata": META, "data": {}, "before-image": [1]}, "before-image is a list of 1, must be an object"),
    ],
)
def test_refusals_name_what_is_wrong(fields: Any, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode(event(fields), KEYED)


@given(st.integers(0, 999_999), st.integers(0, 999_999), st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_positions_compare_as_time_and_arrival(one: int, other: int, at: int, later: int) -> None:
    pairs = ((one, at), (other, later))
    found = [decode(event(message(at=micros), offset), KEYED)[0] for micros, offset in pairs]
    first, second = (each.position for each in found if isinstance(each, Change))
    assert (first < second, first == second, len(first)) == (pairs[0] < pairs[1], pairs[0] == pairs[1], len(second))


@given(
    st.lists(st.none() | st.integers(0, 5), min_size=1, max_size=6),
    st.integers(0, 5),
    st.lists(st.integers(0, 5), max_size=3),
)
def test_a_load_its_changes_and_tasks_that_resume_end_right(
    texts: list[int | None], read: int, resumed: list[int]
) -> None:
    """The row is read at any moment of its history, which is sent after it, and again from wherever a task resumes."""
    there = texts[min(read, len(texts) - 1)]
    sent = [] if there is None else [message("load", {"id": 1, "text": there})]
    for begin in (0, *resumed):
        for text in texts[begin:]:
            name = "delete" if text is None else "update"
            sent.append(message(name, {"id": 1, "text": text}, at=len(sent) + 1))
    state, store = None, ""
    for each in sent:
        state, plans = step(state, decoded(each), DocumentSpec("public.articles", "{text}"), "m", WHOLE)
        for plan in plans:
            assert isinstance(plan, Plan)
            store = "".join(chunk.text for chunk in plan.write)
    assert store == ("" if texts[-1] is None else str(texts[-1]))
