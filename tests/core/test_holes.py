"""What a state knows behind changes that were refused, case by case; `test_refusals` has the laws."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import msgspec

from core.change import Change, Operation, Position
from core.documents.standing import MOST_HOLES
from core.documents.step import (
    Chunker,
    DocumentSpec,
    DocumentState,
    Refused,
    state_from_bytes,
    state_to_bytes,
    step,
)
from core.documents.templates import render
from core.plans import Plan

SPEC = DocumentSpec("public.t", "{body}|{num}|{note}")
WHOLE = Chunker("whole", lambda text: [(0, len(text))])


def unread(change: Change) -> Change:
    return replace(change, operation=Operation.REFUSED, row={}, unavailable=frozenset())


def upsert(number: int, row: dict[str, object], unavailable: Iterable[str] = ()) -> Change:
    return Change(SPEC.table, {"id": 1}, Operation.UPSERT, Position(f"{number:04}"), row, frozenset(unavailable))


ROW: dict[str, object] = {"body": "V1", "num": None, "note": "n"}


def stepped(
    state: DocumentState | None, change: Change, replayed: bool = False
) -> tuple[DocumentState | None, list[str]]:
    """The state, and in brief what followed."""
    state, found = step(state, change, SPEC, "m", WHOLE, replayed)
    brief = []
    for each in found:
        if isinstance(each, Plan):
            brief.append(f"{each.position} {''.join(chunk.text for chunk in each.write)}")
        elif isinstance(each, Refused):
            brief.append("refused")
        elif each.change.operation is Operation.UPSERT and not each.change.unavailable:
            brief.append(f"{each.change.position} {render(SPEC.text, each.change.row)}")
        elif each.change.operation is not Operation.REFUSED:
            brief.append(f"{each.change.position} lacks {', '.join(sorted(each.change.unavailable))}")
    return state, brief


def test_what_a_refused_row_said_stands_behind_it() -> None:
    state, _ = stepped(None, upsert(1, ROW))
    state, said = stepped(state, upsert(2, {"body": "V2", "num": None}))
    assert said == ["refused"]
    assert stepped(state, upsert(3, {**ROW, "body": "marker", "note": "m"}, ["body"]))[1] == ["0003 V2||m"]


def test_what_a_change_said_that_could_not_be_read_is_missing_until_it_comes_again() -> None:
    state, _ = stepped(None, upsert(1, ROW))
    state, said = stepped(state, unread(upsert(2, {**ROW, "body": "V2"})))
    assert said == []
    state, said = stepped(state, upsert(3, {**ROW, "body": "marker", "note": "m"}, ["body"]))
    assert said == ["0003 lacks body"]
    # late, and as it was meant: what came after it stands
    state, said = stepped(state, upsert(2, {**ROW, "body": "V2"}), replayed=True)
    assert said == ["0003 V2||m"]
    assert stepped(state, upsert(4, {**ROW, "body": "marker"}, ["body"]))[1] == ["0004 V2||n"]


def test_a_row_that_a_refused_change_left_as_it_was_stands() -> None:
    state, _ = stepped(None, upsert(1, ROW))
    state, said = stepped(state, upsert(2, {"body": "marker", "num": None}, ["body"]))
    assert said == ["refused"]
    assert stepped(state, upsert(3, {**ROW, "body": "marker"}, ["body"]))[1] == ["0003 V1||n"]


def test_a_whole_row_fills_every_hole() -> None:
    state, _ = stepped(None, upsert(1, ROW))
    for number in range(2, 6):
        state, _ = stepped(state, unread(upsert(number, ROW)))
    state, said = stepped(state, upsert(6, {**ROW, "body": "V6"}))
    assert said == ["0006 V6||n"] and state is not None and state.holes is None
    assert stepped(state, upsert(3, ROW), replayed=True)[1] == []


def test_holes_are_bounded_and_what_the_oldest_touched_stays_unknown() -> None:
    state, _ = stepped(None, upsert(1, ROW))
    for number in range(2, MOST_HOLES + 10):
        state, _ = stepped(state, unread(upsert(number, ROW)))
    assert state is not None and state.holes is not None and len(state.holes.open) == MOST_HOLES
    assert state.row == {}
    at = MOST_HOLES + 10
    state, said = stepped(state, upsert(at, {**ROW, "body": "marker"}, ["body"]))
    assert said == [f"{at:04} lacks body"]
    for number in range(2, at):
        state, said = stepped(state, upsert(number, {**ROW, "body": f"V{number}"}), replayed=True)
    assert said == [f"{at:04} V{at - 1}||n"]


def test_a_replayed_change_is_no_ground_for_later_ones_where_the_state_was_lost() -> None:
    """Others may have come between the two, of which the state knows nothing."""
    state, said = stepped(None, upsert(2, {**ROW, "body": "V2"}), replayed=True)
    assert said == ["0002 V2||n"]
    assert stepped(state, upsert(4, {**ROW, "body": "marker"}, ["body"]))[1] == ["0004 lacks body"]


def test_what_a_store_rejects_leaves_no_hole() -> None:
    """The state's row is whole, and so is the next plan, whatever became of the one before."""
    state, _ = stepped(None, upsert(1, ROW))
    state, _ = stepped(state, upsert(2, {**ROW, "body": "V2"}))  # rejected when it is embedded or written
    assert stepped(state, upsert(3, {**ROW, "body": "marker", "note": "m"}, ["body"]))[1] == ["0003 V2||m"]
    assert stepped(state, upsert(2, {**ROW, "body": "V2"}), replayed=True)[1] == ["0002 V2||n"]


def test_a_state_with_holes_and_those_of_earlier_releases_are_read() -> None:
    state, _ = stepped(None, upsert(1, ROW))
    state, _ = stepped(state, unread(upsert(2, ROW)))
    assert state is not None and state.holes is not None
    assert state_from_bytes(state_to_bytes(state)) == state and state_to_bytes(state)[:1] == b"\x03"
    kept = {"position": "1", "made_by": "m", "row": {"body": "b"}, "ranges": [[0, 1]], "forget_at": 5}
    before = state_from_bytes(b"\x02" + msgspec.msgpack.encode(kept))
    assert before == DocumentState(Position("1"), "m", {"body": "b"}, ((0, 1),), 5)
