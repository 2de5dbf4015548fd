"""The gate before loading and the unfolding behind it: whatever comes late or twice, what is there last stands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.change import BEGINNING, Operation, Position
from core.documents.objects import (
    Asked,
    GateState,
    Loaded,
    ObjectChange,
    Row,
    ToLoad,
    asked,
    asked_from_bytes,
    gate,
    gate_state_from_bytes,
    pieces,
    row_id,
    rows_from_bytes,
    state_to_bytes,
)
from core.documents.unfolding import (
    ObjectSpec,
    ObjectState,
    begun,
    interrupted,
    object_state_from_bytes,
    object_state_to_bytes,
    parts,
    position,
    unfold,
)
from core.errors import ObjectError

SPEC = ObjectSpec("s3.docs")


def at(sequence: int) -> Position:
    return Position(f"{sequence:064x}")


def note(sequence: int, **more: Any) -> ObjectChange:
    return ObjectChange("docs", "a.txt", at(sequence), **more)


def found(read_ms: int, rows: dict[str, str], **columns: Any) -> Loaded:
    made = [Row(name, {"text": text}) for name, text in rows.items()]
    return Loaded("docs", "a.txt", read_ms, {"key": "a.txt", **columns}, list(pieces(made)))


def gone(read_ms: int) -> Loaded:
    return Loaded("docs", "a.txt", read_ms, gone=True)


def test_late_and_repeated_notifications_load_nothing() -> None:
    state, first = gate(None, note(5, committed_ms=7))
    assert first == ToLoad("docs", "a.txt", 7)
    assert gate(state, note(5)) == (state, None)
    assert gate(state, note(4)) == (state, None)
    assert gate(state, note(6))[1] is not None


def test_a_notification_without_a_position_is_always_acted_on_and_moves_nothing() -> None:
    state, _ = gate(None, note(5, version_id="v5"))
    after, to_load = gate(state, ObjectChange("docs", "a.txt", version_id="v1"))
    assert to_load is not None
    assert after == state


def test_a_version_that_a_backfill_had_loaded_is_not_loaded_again() -> None:
    state, _ = gate(None, ObjectChange("docs", "a.txt", version_id="v1"))
    after, to_load = gate(state, note(5, version_id="v1"))
    assert to_load is None
    assert after.position == at(5)
    assert gate(state, note(5, version_id="v2"))[1] is not None
    assert gate(state, note(5, version_id="v1", gone=True))[1] is not None
    assert gate(state, note(5, version_id="v1"), replayed=True)[1] is not None


@pytest.mark.parametrize("version_id", [None, "null"])
def test_without_versions_the_same_name_may_be_other_content(version_id: str | None) -> None:
    state, _ = gate(None, ObjectChange("docs", "a.txt", version_id=version_id))
    assert gate(state, note(5, version_id=version_id))[1] is not None


def test_a_replayed_notification_is_acted_on_again_but_not_a_late_one() -> None:
    state, _ = gate(None, note(5))
    assert gate(state, note(5), replayed=True)[1] == ToLoad("docs", "a.txt", replayed=True)
    assert gate(state, note(4), replayed=True)[1] is None


def test_rows_that_are_new_or_other_are_emitted_and_those_that_left() -> None:
    state, changes = unfold(None, found(10, {"1": "one", "2": "two", "3": "three"}), SPEC)
    assert [change.key for change in changes] == [{"key": "a.txt", "row": row} for row in "123"]
    assert changes[0].row == {"key": "a.txt", "text": "one"}
    after, changes = unfold(state, found(20, {"1": "one", "3": "THREE", "4": "four"}), SPEC)
    emitted = [(change.operation, change.key["row"]) for change in changes]
    assert emitted == [(Operation.UPSERT, "3"), (Operation.UPSERT, "4"), (Operation.DELETE, "2")]
    assert {change.position for change in changes} == {position(after)}
    assert position(after) > position(state)


def test_an_object_of_one_document_is_keyed_by_its_key_alone() -> None:
    state, (change,) = unfold(None, found(10, {"": "text"}), SPEC)
    assert (change.table, change.key) == ("s3.docs", {"key": "a.txt"})
    _, (change,) = unfold(state, gone(20), SPEC)
    assert (change.operation, change.key, change.row) == (Operation.DELETE, {"key": "a.txt"}, {})


def test_columns_that_no_document_uses_change_nothing() -> None:
    spec = ObjectSpec("s3.docs", frozenset({"text"}))
    state, changes = unfold(None, found(10, {"": "text"}, etag="one"), spec)
    assert len(changes) == 1
    assert unfold(state, found(20, {"": "text"}, etag="two"), spec)[1] == []
    assert len(unfold(state, found(20, {"": "text"}, etag="two"), SPEC)[1]) == 1


def test_another_model_has_every_row_emitted_again() -> None:
    state, _ = unfold(None, found(10, {"1": "one", "2": "two"}), ObjectSpec("s3.docs", made_by="a"))
    assert len(unfold(state, found(20, {"1": "one", "2": "two"}), ObjectSpec("s3.docs", made_by="b"))[1]) == 2


def test_a_replay_tells_everything_again_with_a_later_position() -> None:
    state, (first,) = unfold(None, found(10, {"": "text"}), SPEC)
    _, (again,) = unfold(state, replace(found(10, {"": "text"}), replayed=True), SPEC)
    assert again.position > first.position
    assert replace(again, position=first.position) == first
    state, _ = unfold(state, gone(20), SPEC)
    _, (again,) = unfold(state, replace(gone(30), replayed=True), SPEC)
    assert again.operation is Operation.DELETE


def test_an_error_leaves_what_was_emitted() -> None:
    state, _ = unfold(None, found(10, {"": "text"}), SPEC)
    with pytest.raises(ObjectError, match="encrypted"):
        unfold(state, Loaded("docs", "a.txt", 20, error="a.txt is encrypted"), SPEC)


@dataclass
class Delivery:
    """A notification of event `event`, loaded when events up to `seen` had happened."""

    event: int
    seen: int
    clock: int


CONTENTS = st.lists(
    st.none() | st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), min_size=1), min_size=1, max_size=6
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[dict[str, str] | None], list[Delivery]]:
    """Contents in order, and notifications of each at least once, in any order, with loads at any time after them."""
    contents = draw(CONTENTS)
    last = len(contents) - 1
    numbers = draw(st.permutations([*range(len(contents)), *draw(st.lists(st.integers(0, last), max_size=4))]))
    deliveries = []
    seen = 0
    for number in numbers:
        seen = draw(st.integers(max(seen, number), last))
        deliveries.append(Delivery(number, seen, draw(st.integers(0, 3))))
    return contents, deliveries


@given(histories(), st.booleans(), st.sampled_from(["plain", "versions", "no order"]))
def test_whatever_the_order_the_final_object_stands(
    history: tuple[list[dict[str, str] | None], list[Delivery]], in_batches: bool, kind: str
) -> None:
    contents, deliveries = history
    gate_state, state = None, None
    documents: dict[str, tuple[Position, str]] = {}
    for delivery in deliveries:
        content = contents[delivery.event]
        change = note(
            delivery.event + 1,
            gone=content is None,
            version_id=f"v{delivery.event}" if kind == "versions" else None,
        )
        if kind == "no order":
            change = replace(change, position=BEGINNING)
        gate_state, to_load = gate(gate_state, change)
        if to_load is None:
            continue
        now = contents[delivery.seen]
        # the store's clocks may disagree by a little, and a batch reads an object once for all that asked
        clock = 1_000 if in_batches else 1_000 + delivery.seen - delivery.clock
        state, changes = unfold(state, gone(clock) if now is None else found(clock, now), SPEC)
        for change in changes:
            row = change.key.get("row", "")
            assert change.position > documents.get(row, (BEGINNING, ""))[0]
            documents[row] = (change.position, change.row.get("text", ""))
    final = contents[-1] or {}
    assert {row: text for row, (_, text) in documents.items() if text} == final


def test_a_job_that_lost_its_state_deletes_what_is_gone() -> None:
    _, (change,) = unfold(None, gone(10), SPEC)
    assert (change.operation, change.key) == (Operation.DELETE, {"key": found(10, {"": "one"}).key})


def test_a_job_that_lost_its_state_is_believed_by_what_knows_the_old_positions() -> None:
    state, _ = unfold(None, found(10, {"": "one"}), SPEC)
    for _ in range(3):
        state, changes = unfold(state, replace(found(10, {"": "one"}), replayed=True), SPEC)
    _, (fresh,) = unfold(None, found(11, {"": "one"}), SPEC)
    assert fresh.position > changes[0].position
    assert len(fresh.position) == len(changes[0].position) == 20


def test_a_restored_state_does_not_know_what_was_emitted_after_it_was_saved() -> None:
    absent, _ = unfold(None, gone(10), SPEC, run=1)
    saved, _ = unfold(absent, found(20, {"": "one"}), SPEC, run=1)
    # run 1 is killed; run 2 looks anew, and the object is as it was when the state was saved
    for state, look in ((absent, gone(30)), (saved, found(30, {"": "one"}))):
        assert unfold(state, look, SPEC, run=1)[1] == []
        after, (change,) = unfold(state, look, SPEC, run=2)
        assert change.operation is (Operation.DELETE if look.gone else Operation.UPSERT)
        assert unfold(after, replace(look, read_ms=40), SPEC, run=2)[1] == []


@given(st.lists(st.sampled_from(["one", "two", "gone", "look", "look", "saved", "killed"]), max_size=30))
def test_whenever_a_run_is_killed_what_the_last_look_finds_stands(history: list[str]) -> None:
    text: str | None = None
    state: ObjectState | None = None
    saved: ObjectState | None = None
    run = 0
    stored: tuple[Position, str | None] = (Position(""), None)
    for clock, event in enumerate([*history, "look"], start=1):
        if event == "saved":
            saved = state
        elif event == "killed":
            run, state = run + 1, saved
        elif event == "look":
            look = gone(clock) if text is None else found(clock, {"": text})
            state, changes = unfold(state, look, SPEC, run)
            for change in changes:
                if change.position >= stored[0]:
                    stored = (change.position, change.row.get("text"))
        else:
            text = None if event == "gone" else event
    assert stored[1] == text


def test_long_row_ids_are_short_and_stay_apart() -> None:
    assert row_id("page 3") == "page 3"
    ids = {row_id("x" * 100 + str(number)) for number in range(100)}
    assert len(ids) == 100
    assert max(map(len, ids)) <= 64


def test_states_come_back_from_bytes() -> None:
    wanted = Asked(ToLoad("docs", "é", 5, b"\x00\xff", replayed=True), ToLoad("docs", "é"))
    assert asked_from_bytes(state_to_bytes(wanted)) == wanted
    state, _ = unfold(None, found(7, {"1": "one"}, etag="e"), SPEC)
    assert object_state_from_bytes(object_state_to_bytes(state)) == state
    assert gate_state_from_bytes(state_to_bytes(GateState(at(3), "v"))) == GateState(at(3), "v")
    with pytest.raises(ValueError, match="version 09"):
        object_state_from_bytes(b"\x09" + object_state_to_bytes(ObjectState())[1:])


def test_one_look_serves_all_that_want_one_while_another_is_made() -> None:
    first, second, third = (ToLoad("docs", "a", number, replayed=number == 2) for number in (1, 2, 3))
    assert asked(None, first) == Asked(first)
    assert asked(asked(None, first), second) == Asked(first, second)
    # one answer for all that wanted it: a replayed letter among them has every row emitted again
    assert asked(asked(asked(None, first), second), third) == Asked(first, replace(third, replayed=True))


def test_rows_are_carried_in_small_pieces() -> None:
    rows = [Row(str(number), {"text": "x" * (1_000_000 if number == 5 else 9_000)}) for number in range(250)]
    made = list(pieces(rows))
    assert [row for piece in made for row in rows_from_bytes(piece)] == rows
    assert sorted(map(len, made))[-2] <= 300 * 1024
    assert [len(rows_from_bytes(piece)) for piece in pieces(replace(row, columns={}) for row in rows)] == [100, 100, 50]
    assert list(pieces([])) == []


def test_a_look_is_emitted_in_parts_whose_sum_it_is() -> None:
    rows = {str(number): "text" for number in range(250)}
    state, _ = unfold(None, found(10, {str(number): "text" for number in range(200, 500)}), SPEC)
    some = list(parts(state, found(20, rows), SPEC))
    assert [len(part.changes) for part in some] == [100, 100, 0, 100, 100, 50]
    assert [part.after is None for part in some] == [True] * 5 + [False]
    assert [len(part.row_ids) for part in some] == [100, 100, 0, 0, 0, 0]
    after, changes = unfold(state, found(20, rows), SPEC)
    assert (after, changes) == (some[-1].after, [change for part in some for change in part.changes])


ROWS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("xy"))


@given(ROWS, ROWS, ROWS, st.integers(0, 8), st.integers(-1, 1))
def test_whatever_a_crash_leaves_of_a_look_the_next_look_ends_it(
    first: dict[str, str], second: dict[str, str], third: dict[str, str], emitted: int, clock: int
) -> None:
    def one_a_piece(read_ms: int, rows: dict[str, str]) -> Loaded:
        each = [piece for name, text in rows.items() for piece in pieces([Row(name, {"text": text})])]
        return replace(found(read_ms, {}), rows=each)

    store: dict[str, tuple[Position, str | None]] = {}

    def write(changes: Any) -> None:
        for change in changes:
            row = change.key.get("row", "")
            if change.position >= store.get(row, (BEGINNING, None))[0]:
                store[row] = (change.position, change.row.get("text"))

    state, changes = unfold(None, one_a_piece(10, first), SPEC, run=1)
    write(changes)
    saved, known = state, list[str]()
    look = one_a_piece(20, second)
    for part in list(parts(state, look, SPEC, run=1))[:-1][:emitted]:
        write(part.changes)
        known += part.row_ids
        saved = begun(state, look)
    # the store's clocks may disagree by a little
    _, changes = unfold(interrupted(saved, known), one_a_piece(20 + clock, third), SPEC, run=2)
    write(changes)
    assert {row: text for row, (_, text) in store.items() if text is not None} == third
