"""Rows that have one key for a while, as deferrable keys and compressed transactions let them: each keeps its own."""

from __future__ import annotations

from itertools import permutations

import pytest

from tests.core.test_halves import MARKER, NEW_KEY, OLD_KEY, Job, at, changes, event, pipeline

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
        event("d", {"id": 1}, at(90, 100), before={"id": 1}, header=NEW_KEY),
        event("c", {"id": 2}, at(90, 100), after={"id": 2, "title": "one", "body": MARKER}, header=OLD_KEY),
        event("d", {"id": 2}, at(90, 110), before={"id": 2}, header=NEW_KEY),
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
