"""Rows that have one key for a while, as deferrable keys and compressed transactions let them: each keeps its own."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from core.documents.moves import Kept, settle
from core.documents.unsettled import Refused, unknown
from core.errors import DecodeError, DocumentError
from tests.core.test_halves import MARKER, MYSQL, NEW_KEY, OLD_KEY, Job, at, changes, event, pipeline

ONE, TWO = "body of one " * 20, "body of two " * 20
LONG = pipeline(key=[], text="{title}: {body}", types={"id": "integer"})


@pytest.mark.parametrize("order", sorted(set(permutations((1, 2, 2, 3)))))
def test_what_was_learned_of_the_elder_leaves_with_it(order: tuple[int, ...]) -> None:
    """`UPDATE … SET id = id + 1` of rows 1 and 2, where row 2 came by a key change, without its unchanged body."""
    job = Job(LONG)
    start = [
        event("c", {"id": 1}, at(40, 50), after={"id": 1, "title": "one", "body": ONE}),
        event("c", {"id": 0}, at(40, 51), after={"id": 0, "title": "two", "body": TWO}),
        event("d", {"id": 0}, at(60, 70), before={"id": 0}, header=NEW_KEY),
        event("c", {"id": 2}, at(60, 70), after={"id": 2, "title": "two", "body": MARKER}, header=OLD_KEY),
    ]
    shift = [
        event("d", {"id": 1}, at(90, 100), before={"id": 1, "title": "one", "body": ONE}, header=NEW_KEY),
        event("c", {"id": 2}, at(90, 100), after={"id": 2, "title": "one", "body": MARKER}, header=OLD_KEY),
        event("d", {"id": 2}, at(90, 110), before={"id": 2, "title": "two", "body": TWO}, header=NEW_KEY),
        event("c", {"id": 3}, at(90, 110), after={"id": 3, "title": "two", "body": MARKER}, header=OLD_KEY),
    ]
    for change in changes(LONG, start):
        job.take(change)
    by_key = {1: shift[:1], 2: shift[1:3], 3: shift[3:]}
    for key in order:
        for change in changes(LONG, [by_key[key].pop(0)]):
            job.take(change)
    assert job.texts() == {"public.a/2": f"one: {ONE}", "public.a/3": f"two: {TWO}"}
    assert not job.open


def moved(old: int, new: int, title: str, offsets: tuple[int, int]) -> list[Any]:
    """A key change as MySQL tells it; of one compressed transaction all have one position in the binlog."""
    row = {"id": new, "title": title}
    return [
        event("d", {"id": old}, MYSQL, before={**row, "id": old}, header=NEW_KEY, at=offsets[0]),
        event("c", {"id": new}, MYSQL, after=row, header=OLD_KEY, at=offsets[1]),
    ]


@pytest.mark.parametrize("order", sorted(set(permutations((1, 2, 2, 3)))))
@pytest.mark.parametrize("moves_on", [True, False])
def test_key_changes_of_one_compressed_transaction(order: tuple[int, ...], moves_on: bool) -> None:
    """Row 1 goes to 2 and on to 3; or row 2 goes to 3, and then row 1 to 2. Keys are in partitions of their own."""
    of = pipeline(key=[], types={"id": "integer"})
    start = [event("c", {"id": 1}, {**MYSQL, "pos": 4}, after={"id": 1, "title": "one"}, at=1)]
    if moves_on:
        (gone, came), (left, last) = moved(1, 2, "one", (10, 10)), moved(2, 3, "one", (11, 10))
        by_key, want = {1: [gone], 2: [came, left], 3: [last]}, {"public.a/3": "one"}
    else:
        start.append(event("c", {"id": 2}, {**MYSQL, "pos": 5}, after={"id": 2, "title": "two"}, at=1))
        (left, last), (gone, came) = moved(2, 3, "two", (10, 10)), moved(1, 2, "one", (10, 11))
        by_key, want = {1: [gone], 2: [left, came], 3: [last]}, {"public.a/2": "one", "public.a/3": "two"}
    job = Job(of)
    for each in (*start, *(by_key[key].pop(0) for key in order)):
        for change in changes(of, [each]):
            job.take(change)
    assert job.texts() == want
    assert not job.memory


def test_a_column_that_key_names_becomes_null() -> None:
    """The old document goes; that the row has no key now is said of the new one alone."""
    of = pipeline(types={"id": "integer"})
    row = {"id": 1, "code": "x", "title": "first"}
    first = event("c", {"id": 1}, at(40, 50), after=row)
    null = event("u", {"id": 1}, at(60, 70), before=row, after={**row, "code": None})
    gone, left = changes(of, [null])
    job = Job(of)
    for change in (*changes(of, [first]), gone):
        job.take(change)
    assert job.texts() == {}
    with pytest.raises(DocumentError, match="key names code, which is null in this row"):
        job.take(left)
    back = event("u", {"id": 1}, at(80, 90), before={**row, "code": None}, after={**row, "code": "y"})
    with pytest.raises(DecodeError, match="or that it was null"):
        changes(of, [back])


def two_rows() -> Job:
    job = Job(LONG)
    for change in changes(LONG, [event("c", {"id": row["id"]}, at(40, 40), after=row) for row in (OLD_ONE, OLD_TWO)]):
        job.take(change)
    return job


OLD_ONE, OLD_TWO = {"id": 1, "title": "old one", "body": ONE}, {"id": 2, "title": "old two", "body": TWO}
COMES = [
    event("d", {"id": 1}, at(90, 100), before=OLD_ONE, header=NEW_KEY),
    event("c", {"id": 2}, at(90, 100), after={"id": 2, "title": "new", "body": MARKER}, header=OLD_KEY),
]


def test_rows_that_are_made_alike_as_they_move_keep_what_else_they_have() -> None:
    """`UPDATE … SET id = id + 1, title = 'new'`: that the newcomer has the title says nothing of which row leaves."""
    job = two_rows()
    leaves = [
        event("d", {"id": 2}, at(90, 110), before=OLD_TWO, header=NEW_KEY),
        event("c", {"id": 3}, at(90, 110), after={"id": 3, "title": "new", "body": MARKER}, header=OLD_KEY),
    ]
    for change in changes(LONG, [*COMES, *leaves]):
        job.take(change)
    assert job.texts() == {"public.a/2": f"new: {ONE}", "public.a/3": f"new: {TWO}"}


def test_an_elder_that_is_deleted_leaves_the_newcomer() -> None:
    """A key that is looked at when its transaction ends."""
    job = two_rows()
    for change in changes(LONG, [*COMES, event("d", {"id": 2}, at(90, 110), before=OLD_TWO)]):
        job.take(change)
    assert job.texts() == {"public.a/2": f"new: {ONE}"}


@pytest.mark.parametrize("whole", [False, True])
def test_a_row_that_was_truncated_is_no_elder(whole: bool) -> None:
    """The state of a key doesn't hear of a TRUNCATE. A row comes to it, and moves on in the same transaction."""
    job = two_rows()
    left = {"id": 1, "title": "a third", "body": ONE}
    before = [{**left, "id": key} if whole else {"id": key, "title": None, "body": None} for key in (1, 2)]
    third = [
        event("c", {"id": 1}, at(70, 80), after=left),
        event("d", {"id": 1}, at(90, 100), before=before[0], header=NEW_KEY),
        event("c", {"id": 2}, at(90, 100), after={**left, "id": 2, "body": MARKER}, header=OLD_KEY),
        event("d", {"id": 2}, at(90, 110), before=before[1], header=NEW_KEY),
        event("c", {"id": 3}, at(90, 110), after={**left, "id": 3, "body": MARKER}, header=OLD_KEY),
    ]
    for change in changes(LONG, third):
        job.take(change)
    assert job.texts() == {"public.a/3": f"a third: {ONE}"}
    assert not job.open


def test_what_was_learned_of_an_elder_goes_with_the_next_change_of_its_key() -> None:
    job = two_rows()
    job.memory["values public.a/2"] = Kept(values={"body": TWO})
    for change in changes(LONG, COMES):
        job.take(change)
    assert "elder public.a/2" in job.memory
    row = {"id": 2, "title": "last", "body": ONE}
    (last,) = changes(LONG, [event("u", {"id": 2}, at(190, 200), after=row)])
    settle(job.memory, Refused("public.a/2", unknown(last), DocumentError("it is bad")))
    assert "elder public.a/2" not in job.memory
