from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from core.change import Change, Operation, Position
from core.documents.unsettled import Refused
from core.errors import ProfileError
from core.identity import identifiers as of
from core.identity.identifiers import Identifier
from core.identity.linking import RecordChange
from core.identity.linking import step as link
from core.identity.rules import IdentifierRule, Rules, digest
from core.identity.state import Graph, Memory
from core.profiles.merging import facts_from_bytes
from core.profiles.records import Event, Reading, RecordSpec, RowState, row_from_bytes, row_to_bytes, step

ARRIVAL = 1_790_000_000_000
DAY_MS = 86_400_000
READING = Reading({"id": of.text, "email": of.email, "who": of.fold}, of.blocker(["", "n/a"]), DAY_MS)
SPEC = RecordSpec(
    "shop.orders",
    {"id": ("customer",), "email": ("email", "other"), "who": ("{name}|{born}",)},
    {"city": "city", "full": "{name}, {city}"},
    {"last": Event("latest", "created", "created"), "spent": Event("sum", "amount"), "orders": Event("count")},
    trusted=frozenset(["city"]),
    trust=3,
    time="created",
)
ROW = {
    "customer": 7,
    "email": "K@x.no",
    "other": "n/a",
    "name": "Kari",
    "born": "1990-01-01",
    "city": "Oslo",
    "created": "2026-01-02T03:04:05Z",
    "amount": "12.50",
    "unused": 1,
}
CREATED = 1_767_323_045_000


def change(number: int = 1, **row: Any) -> Change:
    return Change(
        "shop.orders", {"no": 4}, Operation.UPSERT, Position(str(number)), {**ROW, **row}, committed_ms=ARRIVAL
    )


def said_by(state: RowState | None, each: Change, spec: RecordSpec = SPEC) -> RecordChange:
    said = step(state, each, spec, READING, ARRIVAL)[1]
    assert isinstance(said, RecordChange)
    return said


def reason(refused: Change, reading: Reading = READING) -> str:
    said = step(None, refused, SPEC, reading, ARRIVAL)[1]
    assert isinstance(said, Refused) and isinstance(said.error, ProfileError)
    return str(said.error)


def test_a_row_says_who_and_what() -> None:
    state, said = step(None, change(), SPEC, READING, ARRIVAL)
    assert isinstance(said, RecordChange) and state is not None
    assert (said.record, said.table, said.time_ms) == ("shop.orders/4", "shop.orders", CREATED)
    assert said.identifiers == (
        Identifier("id", "7"),
        Identifier("email", "k@x.no"),
        Identifier("who", "kari|1990-01-01"),
    )
    facts = facts_from_bytes(said.facts)
    assert {name: fact.value for name, fact in facts.items()} == {
        "city": "Oslo",
        "full": "Kari, Oslo",
        "last": ROW["created"],
        "spent": "12.5",
        "orders": True,
    }
    at = (CREATED, "1", "shop.orders/4")
    assert (facts["city"].place, facts["full"].place, facts["last"].place) == ((3, *at), (0, *at), (CREATED, *at))
    assert "unused" not in state.row
    assert row_from_bytes(row_to_bytes(state)) == state


def test_null_and_blank_say_nothing() -> None:
    nothing: dict[str, Any] = {
        "customer": None,
        "email": "n/a",
        "name": " ",
        "city": "",
        "created": None,
        "amount": None,
    }
    said = said_by(None, change(**nothing))
    assert (said.identifiers, said.time_ms, list(facts_from_bytes(said.facts))) == ((), ARRIVAL, ["orders"])


def test_late_and_repeated_changes_are_none() -> None:
    state, _ = step(None, change(2), SPEC, READING, ARRIVAL)
    assert step(state, change(1), SPEC, READING, ARRIVAL) == (state, None)
    assert step(state, change(2), SPEC, READING, ARRIVAL) == (state, None)
    assert step(state, change(2), SPEC, READING, ARRIVAL, replayed=True)[1] is not None


def test_a_deletion_is_remembered() -> None:
    state, _ = step(None, change(1), SPEC, READING, ARRIVAL)
    gone = Change("shop.orders", {"no": 4}, Operation.DELETE, Position("2"), committed_ms=ARRIVAL + 10 * 365 * DAY_MS)
    state, said = step(state, gone, SPEC, READING, ARRIVAL)
    assert isinstance(said, RecordChange)
    assert (state, said.deleted, said.record, said.time_ms) == (RowState(Position("2")), True, "shop.orders/4", ARRIVAL)


def test_values_that_did_not_travel_stand() -> None:
    state, _ = step(None, change(1), SPEC, READING, ARRIVAL)
    toast = replace(
        change(2, city="marker", amount=None), unavailable=frozenset(["city"]), doubtful=frozenset(["amount"])
    )
    said = said_by(state, toast)
    facts = facts_from_bytes(said.facts)
    assert facts["city"].value == "Oslo"
    assert "spent" not in facts
    assert "shop.orders uses amount, whose value didn't travel" in reason(toast)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"customer": "x" * 1_000_000}, "identifier id has 1000000 characters; it may have 512"),
        ({"amount": "much"}, "spent is a sum, and 'much' is no number"),
        (
            {"created": "2036-01-02"},
            r"record shop.orders/4 has an event time \d+ h ahead of its arrival; a clock is wrong",
        ),
        ({"created": "yesterday"}, "created is 'yesterday'; it must be an ISO 8601 timestamp"),
        ({"created": 10**18}, "in no year from 1 to 9999"),
        ({"city": "a\ud800"}, "half a surrogate pair"),
    ],
)
def test_bad_rows_say_what_is_wrong(row: dict[str, Any], says: str) -> None:
    assert re.search(says, reason(change(**row)))


def test_a_missing_column_is_named_with_those_that_are_there() -> None:
    row = {name: value for name, value in ROW.items() if name != "city"}
    said = reason(replace(change(), row=row))
    assert "uses column 'city', which the row lacks; it has: customer, email" in said


def test_without_identifier() -> None:
    alone = change(customer=None, email=None, name=None)
    said = reason(alone, replace(READING, keep_alone=False))
    assert "record shop.orders/4 has no identifier (id, email, who)" in said


def test_keys() -> None:
    with pytest.raises(ProfileError, match=r"shop\.orders has no primary key"):
        step(None, replace(change(), key={}), SPEC, READING, ARRIVAL)
    said = said_by(None, change(), replace(SPEC, key=("customer", "city")))
    assert said.record == "shop.orders/7/Oslo"
    with pytest.raises(ProfileError, match=r"profiles\.records\.shop\.orders\.key names city, which this upsert lacks"):
        step(None, change(city=None), replace(SPEC, key=("customer", "city")), READING, ARRIVAL)


def test_a_row_deleted_twice_is_remembered_from_the_second_time_on() -> None:
    deleted = RowState(Position("2"), forget_ms=1000)
    assert not deleted.is_forgotten(999) and deleted.is_forgotten(1000)
    assert not RowState(Position("3"), {"id": 1}).is_forgotten(5000)
    assert not RowState(Position("4"), forget_ms=9000).is_forgotten(1000)
    assert row_from_bytes(row_to_bytes(deleted)) == deleted


def test_a_record_that_was_refused_leaves_no_old_value_behind() -> None:
    """Refused for its time, which says nothing against its values; or unread, which leaves them unknown."""
    spec = RecordSpec("shop.orders", {}, {"city": "city"}, time="created")
    first, _ = step(None, change(1), spec, READING, ARRIVAL)
    ahead = change(2, city="Bergen", created="2036-01-02")
    toast = replace(change(3, city="marker"), unavailable=frozenset(["city"]))
    state, refused = step(first, ahead, spec, READING, ARRIVAL)
    assert isinstance(refused, Refused) and row_from_bytes(row_to_bytes(state or RowState())) == state
    assert facts_from_bytes(said_by(state, toast, spec).facts)["city"].value == "Bergen"

    unread = replace(change(2), operation=Operation.REFUSED, row={})
    state, nothing = step(first, unread, spec, READING, ARRIVAL)
    assert nothing is None and row_from_bytes(row_to_bytes(state or RowState())) == state
    state, refused = step(state, toast, spec, READING, ARRIVAL)
    assert isinstance(refused, Refused) and "city, whose value didn't travel" in str(refused.error)
    state, said = step(state, change(2, city="Bergen"), spec, READING, ARRIVAL, replayed=True)
    assert isinstance(said, RecordChange) and said.position == "3"
    assert facts_from_bytes(said.facts)["city"].value == "Bergen"
    assert state is not None and state.holes is None


def test_a_partial_rows_gap_is_filled_by_nothing_from_before() -> None:
    spec = RecordSpec("shop.orders", {}, {"city": "city"}, time="created")
    state, _ = step(None, change(1), spec, READING, ARRIVAL)
    gap = replace(change(2), row={"created": ROW["created"]}, partial=True)
    assert isinstance(step(state, gap, spec, READING, ARRIVAL)[1], Refused)


def test_a_rows_state_of_the_release_before_is_read() -> None:
    kept = {"position": "1", "row": {"city": "Oslo"}, "forget_ms": 0}
    assert row_from_bytes(b"\x01" + msgspec.msgpack.encode(kept)) == RowState(Position("1"), {"city": "Oslo"})


@pytest.mark.parametrize("gone_first", [True, False])
def test_a_primary_key_changes_that_the_record_is_not_named_by(gone_first: bool) -> None:
    """Both halves are one record's, at one position: the row stays, whichever comes first and however often."""
    spec = replace(SPEC, key=("email",))
    gone = replace(change(2), operation=Operation.DELETE, moves=True)
    came = replace(change(2, city="Bergen"), key={"no": 5}, moves=True)
    store, rules = Memory(), Rules([IdentifierRule(kind, 3) for kind in ("id", "email", "who")])
    state: RowState | None = None
    for each in (change(1), *((gone, came) if gone_first else (came, gone)) * 2):
        state, said = step(state, each, spec, READING, ARRIVAL)
        if isinstance(said, RecordChange):
            graph = Graph(store, rules)
            link(graph, said)
            graph.save()
    record = Graph(store, rules).records.get(digest("record", "shop.orders/K@x.no"))
    assert record is not None and record.group and not record.forget
    assert facts_from_bytes(record.facts)["city"].value == "Bergen"


def test_a_late_change_tells_what_later_ones_left_out() -> None:
    """The topic was given more partitions, and the one with the record's later changes is read first."""

    def left_out(number: int, *names: str, **row: Any) -> Change:
        return replace(change(number, **row), unavailable=frozenset(names))

    first, late = change(1, city="Oslo"), left_out(2, "name", city="Bergen")
    last, later = left_out(3, "city", "name", amount="1"), left_out(4, "city", "name", amount="2")
    state: RowState | None = None
    graph = Graph(Memory(), Rules([IdentifierRule(kind, 3) for kind in ("id", "email", "who")]))
    for each in (first, last, later):
        state, said = step(state, each, SPEC, READING, ARRIVAL)
        assert state is not None and row_from_bytes(row_to_bytes(state)) == state
        assert isinstance(said, RecordChange)
        link(graph, said)
    assert isinstance(said, RecordChange) and facts_from_bytes(said.facts)["city"].value == "Oslo"
    state, said = step(state, late, SPEC, READING, ARRIVAL)
    assert isinstance(said, RecordChange) and said.position == later.position
    facts = {name: fact.value for name, fact in facts_from_bytes(said.facts).items()}
    assert (facts["city"], facts["spent"], facts["full"]) == ("Bergen", "2", "Kari, Bergen")
    link(graph, said)
    record = graph.records.get(digest("record", "shop.orders/4"))
    assert record is not None and record.group and facts_from_bytes(record.facts)["city"].value == "Bergen"
    assert step(state, late, SPEC, READING, ARRIVAL) == (state, None)
    assert facts_from_bytes(said_by(state, left_out(5, "city", "name")).facts)["city"].value == "Bergen"


def test_a_record_whose_first_change_comes_last_is_returned_then() -> None:
    last = replace(change(2), unavailable=frozenset(["city"]))
    state, said = step(None, last, SPEC, READING, ARRIVAL)
    assert isinstance(said, Refused)
    record = said_by(state, change(1, city="Oslo", amount="3"))
    assert record.position == "2" and facts_from_bytes(record.facts)["spent"].value == "12.5"
