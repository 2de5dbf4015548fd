"""What is forgotten of documents that the stores have cleared; tests/core/test_model.py has the law of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from core.change import Operation, Position
from core.documents.forgetting import is_cleared, next_look, table_of, word_of
from core.documents.moves import give_up, settle
from core.documents.standing import Holes
from core.documents.state import DocumentState, state_from_bytes, state_to_bytes
from tests.core.test_grown_topic import MOVED, PUT, Job, gone, upsert

DAY_MS = 86_400_000
SINCE = 1_800_000_000_000


def looks(until_ms: int) -> list[int]:
    """How old a document is each time that it is looked at."""
    found, now = [], SINCE
    while (now := next_look(SINCE, now)) <= SINCE + until_ms:
        found.append(now - SINCE)
    return found


def test_a_document_is_looked_at_soon_and_then_more_and_more_rarely_but_each_day() -> None:
    assert looks(DAY_MS) == [30_000, 240_000, 1_920_000, 15_360_000]
    assert {later - sooner for sooner, later in pairwise(looks(30 * DAY_MS)[3:])} == {DAY_MS}


@given(st.integers(0, 400 * DAY_MS))
def test_whichever_timer_rings_the_next_is_the_documents_own(age: int) -> None:
    """As one of a document of before does, which was forgotten: it begins no second row of looks."""
    due = next_look(SINCE, SINCE + age)
    assert SINCE + age < due <= SINCE + age + DAY_MS
    assert due - SINCE in looks(age + DAY_MS) and next_look(SINCE, due - 1) == due


def test_a_state_of_the_last_release_is_one_that_was_never_looked_at() -> None:
    raw = b"\x03" + b"\x82\xa8position\xa41000\xa3row\x81\xa4body\xa1b"
    state = state_from_bytes(raw)
    assert (state.since, state.row) == (0, {"body": "b"})
    assert state_from_bytes(state_to_bytes(replace(state, since=SINCE))).since == SINCE


def test_what_stands_at_the_mark_is_what_the_snapshot_brought() -> None:
    state = DocumentState(Position("0005"))
    assert [is_cleared(state, Position(mark)) for mark in ("", "0004", "0005", "0006")] == [False, False, False, True]


def test_values_learned_for_a_row_that_was_truncated_go_with_it() -> None:
    job = Job().read(PUT, *MOVED)
    assert "values public.t/2" in job.memory
    name = "public.t/2"
    word = word_of(name, state_from_bytes(job.states.pop(name)))
    assert word is not None and settle(job.memory, word) == [] and "values public.t/2" not in job.memory
    assert job.read(upsert(2, 20, body="anew", note="whole")).text(2) == "anew|whole"
    assert not job.unknown


def test_of_a_row_that_came_whole_nothing_else_is_kept() -> None:
    job = Job().read(PUT)
    assert word_of("public.t/1", state_from_bytes(job.states["public.t/1"])) is None


def test_the_word_goes_where_the_tables_other_changes_do() -> None:
    assert table_of("public.a%2Fb@shop:app/1/2") == "public.a/b@shop:app"
    word = word_of("public.t/1", DocumentState(Position("0001"), holes=Holes()))
    assert word is not None and word.change.table == "public.t" and word.change.operation is Operation.REFUSED


def test_what_was_learned_of_a_truncated_row_stays_no_longer_where_another_comes_to_its_key() -> None:
    """As far as anyone knows the first is there still, as a deferrable key lets it, and leaves with its values."""
    job = Job().read(PUT, *MOVED, upsert(3, 8, body="b8", note="n8"))
    job.read(gone(3, 9, moves=True), upsert(2, 9, moves=True, body="b8", note="n8"))
    assert "elder public.t/2" in job.memory
    for at in (5, 9):
        job.hear(give_up(job.memory, Position(f"{at:04}")))
    assert not job.memory and job.text(2) == "b8|n8"


def test_what_is_learned_behind_the_mark_for_a_row_before_it_is_not_kept() -> None:
    """Its state was forgotten before the other half of its key change came."""
    job = Job().read(PUT, *MOVED)
    job.states.clear()
    job.hear(give_up(job.memory, Position("0005"), mark=Position("0006")))
    assert not job.memory
