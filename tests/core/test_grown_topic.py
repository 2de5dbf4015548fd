"""A topic was given more partitions, and the newer of a key's are read first: some cases. `test_model` has the law."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest
from msgspec import structs

from core.change import Change, Operation, Position
from core.documents.departures import MOST_DEPARTURES
from core.documents.memory import Kept
from core.documents.moves import Settled, give_up, learn, settle
from core.documents.step import Chunker, DocumentSpec, document_id, plan_of, state_from_bytes, state_to_bytes, step
from core.documents.unsettled import Answer, Refused
from core.plans import Plan
from flink_jobs import payloads

SPEC = DocumentSpec("public.t", "{body}|{note}")
WHOLE = Chunker("whole", lambda text: [(0, len(text))])


@dataclass
class Job:
    """Plan and settle, and what they know; `texts` is what a store would have."""

    states: dict[str, bytes] = field(default_factory=dict)
    memory: dict[str, Kept] = field(default_factory=dict)
    texts: dict[str, tuple[str, str]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def read(self, *changes: Change) -> Job:
        for change in changes:
            name = document_id(SPEC, change)
            raw = self.states.get(name)
            state, emitted = step(None if raw is None else state_from_bytes(raw), change, SPEC, "m", WHOLE)
            assert state is not None
            self.states[name] = state_to_bytes(state)
            for each in emitted:
                if isinstance(each, Plan):
                    self.apply(each)
                elif isinstance(each, Refused):
                    self.hear(settle(self.memory, each))
                else:
                    self.hear(settle(self.memory, payloads.UNSETTLED.decode(payloads.UNSETTLED.encode(each))))
        return self

    def hear(self, answers: Iterable[Answer]) -> None:
        for each in answers:
            if isinstance(each, Settled):
                self.apply(plan_of(each.what, SPEC, "m", WHOLE, each.moved_from))
            else:
                self.unknown.append(f"{each.what.document_id} {', '.join(sorted(each.what.change.unavailable))}")

    def apply(self, plan: Plan) -> None:
        if plan.position >= self.texts.get(plan.document_id, ("", ""))[0]:
            self.texts[plan.document_id] = (plan.position, "".join(chunk.text for chunk in plan.write))

    def text(self, key: int) -> str:
        return self.texts.get(f"public.t/{key}", ("", ""))[1]


def upsert(key: int, at: int, moves: bool = False, **row: str) -> Change:
    """The row at a key, without the columns that aren't given."""
    left_out = frozenset(["body", "note"]) - row.keys()
    values = {**dict.fromkeys(left_out, "marker"), **row}
    return Change(SPEC.table, {"id": key}, Operation.UPSERT, _at(at), values, left_out, moves=moves)


def gone(key: int, at: int, moves: bool = False) -> Change:
    return Change(SPEC.table, {"id": key}, Operation.DELETE, _at(at), moves=moves)


def _at(at: int) -> Position:
    return Position(f"{at:04}")


PUT = upsert(1, 1, body="b1", note="n1")
LATE = upsert(1, 3, body="b3")
MOVED = (gone(1, 5, moves=True), upsert(2, 5, moves=True))


def test_what_comes_late_of_a_row_that_moved_reaches_its_new_document() -> None:
    job = Job().read(PUT, *MOVED)
    assert job.text(2) == "b1|n1"
    assert job.read(LATE).text(2) == "b3|n1"
    assert job.text(1) == "" and not job.unknown


def test_so_it_does_where_the_new_row_has_changed_meanwhile_or_is_still_to_come() -> None:
    assert Job().read(PUT, *MOVED, upsert(2, 7, note="n7"), LATE).text(2) == "b3|n7"
    assert Job().read(PUT, MOVED[0], LATE, MOVED[1]).text(2) == "b3|n1"
    assert Job().read(PUT, *MOVED, upsert(2, 7, body="b7"), LATE).text(2) == "b7|n1"


def test_it_follows_a_row_that_moved_on_and_a_key_that_has_another_row() -> None:
    on = (gone(2, 7, moves=True), upsert(3, 7, moves=True, note="n7"))
    again = (upsert(1, 8, body="other", note="row"), upsert(2, 9, body="third", note="row"))
    job = Job().read(PUT, *MOVED, *on, *again, LATE)
    assert (job.text(1), job.text(2), job.text(3)) == ("other|row", "third|row", "b3|n7")
    assert not job.unknown


def test_a_row_that_was_another_when_it_left_hands_on_what_its_own_key_knew() -> None:
    """Key 1 had a row, and another came to it by a move that is read behind its departure."""
    came = (gone(4, 3, moves=True), upsert(1, 3, moves=True, note="n3"))
    job = Job().read(PUT, upsert(4, 2, body="b2", note="n2"), *MOVED)
    assert job.text(2) == "b1|n1"
    assert job.read(gone(1, 2), *came).text(2) == "b2|n3"
    assert not job.unknown


def test_what_nobody_tells_of_such_a_row_is_asked_for() -> None:
    job = Job().read(PUT, *MOVED, gone(1, 2), upsert(1, 3, moves=True, note="n3"))
    job.hear(give_up(job.memory, _at(3)))
    assert job.unknown == ["public.t/2 body"]


def test_a_row_that_came_to_its_key_before_what_is_known_of_it_takes_its_own_values() -> None:
    came = (gone(4, 3, moves=True), upsert(1, 3, moves=True))
    job = Job().read(PUT, upsert(4, 2, body="b2", note="n2"), upsert(1, 9, note="n9"))
    assert job.text(1) == "b1|n9"
    assert job.read(gone(1, 2), *came).text(1) == "b2|n9"
    job.hear(give_up(job.memory, _at(3)))
    assert job.text(1) == "b2|n9" and not job.unknown


def test_ways_are_forgotten_and_what_was_learned_goes_with_the_row() -> None:
    job = Job().read(PUT, *MOVED)
    job.hear(give_up(job.memory, _at(5)))
    assert list(job.memory) == ["values public.t/2"] and job.memory["values public.t/2"].origin is None
    job.read(LATE)
    assert job.text(2) == "b1|n1"
    assert job.read(gone(2, 7)).memory == {}


def test_what_the_source_was_asked_for_is_not_handed_on_to_another_key() -> None:
    """It said what is under the key by then, which may be another row."""
    job = Job()
    state, (unsettled,) = step(None, upsert(1, 3, note="n3"), SPEC, "m", WHOLE)
    assert state is not None and not isinstance(unsettled, Plan)
    job.states["public.t/1"] = state_to_bytes(state)
    (asked,) = settle(job.memory, unsettled)
    found = replace(asked.what.change, row={**asked.what.change.row, "body": "another row's"})
    learn(job.memory, structs.replace(asked.what, change=found), frozenset(["body"]))
    job.read(upsert(1, 4, note="n4"))
    assert job.text(1) == "another row's|n4"
    job.read(*MOVED)
    assert job.text(2) == "" and job.unknown == ["public.t/2 body"]


@pytest.mark.parametrize("departures", [1, MOST_DEPARTURES + 4])
def test_a_state_remembers_some_departures(departures: int) -> None:
    job = Job()
    for number in range(departures):
        at = 10 * number
        job.read(upsert(1, at + 1, body="b", note="n"), gone(1, at + 5, moves=True), upsert(2, at + 5, moves=True))
        job.read(gone(2, at + 6))
    state = state_from_bytes(job.states["public.t/1"])
    assert len(state.departures) == min(departures, MOST_DEPARTURES)
    assert state.departures[-1].position == _at(10 * (departures - 1) + 5)
