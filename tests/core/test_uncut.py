"""A document that is planned in one piece and cut later is the one that was cut at once, whatever happens to it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.change import Change
from core.documents.chunking import chunker
from core.documents.sources import named_table
from core.documents.spec import Chunker
from core.documents.state import DocumentState, state_from_bytes, state_to_bytes
from core.documents.step import Refused, Unsettled, document_id, plan_of, step
from core.documents.uncut import cut, remembering, uncut
from core.plans import Plan, fold
from tests.core.histories import Course, all_of, history, topic
from tests.core.model import SPEC

CHUNKER = chunker("signs", lambda text: [found.start() for found in re.finditer(r"\w\w?|\W", text)], 4, 1)
COURSES = (
    Course(("put", "put", "update", "update", "delete", "move"), grows=True, repeats=True),
    Course(("put", "update", "update", "delete", "truncate", "lose")),
    Course(("put", "put", "update", "delete", "move"), compressed=True, repeats=True),
    Course(("put", "put", "update", "delete", "move"), mysql=True),
)
Emitted = Plan | Unsettled | Refused


def changes(seed: int, course: Course) -> Iterator[Change]:
    chance = random.Random(seed)
    for sent in all_of(topic(history(chance, course))):
        if isinstance(sent.change, Change):
            yield from [sent.change] * chance.choice((1, 1, 2))


def stepped(history: Sequence[Change], by: Chunker) -> tuple[list[list[Emitted]], dict[str, bytes]]:
    """What follows from each change, and the states in the end, as Flink keeps them."""
    states: dict[str, bytes] = {}
    found: list[list[Emitted]] = []
    for change in history:
        name = document_id(SPEC, change)
        before = state_from_bytes(states[name]) if name in states else None
        state, emitted = step(before, change, SPEC, "m", by)
        found.append(list(emitted))
        if state is not None:
            states[name] = state_to_bytes(state)
    return found, states


def settled(emitted: Sequence[Emitted], by: Chunker) -> list[Plan]:
    """The plans of a batch, and those that `settle` would make of what it could settle at once."""
    of_both = (
        plan_of(each, SPEC, "m", by)
        for each in emitted
        if isinstance(each, Unsettled) and not each.change.unavailable and each.change.row
    )
    return [*(each for each in emitted if isinstance(each, Plan)), *of_both]


def bare(state: bytes) -> DocumentState:
    return replace(state_from_bytes(state), made_by="", ranges=())


def shown(each: Emitted) -> Any:
    return (each.name, each.change, str(each.error)) if isinstance(each, Refused) else each


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 32), st.sampled_from(COURSES), st.integers(1, 9))
def test_one_piece_cut_after_the_fold_is_all_cut_before_it(seed: int, course: Course, size: int) -> None:
    of_course = list(changes(seed, course))
    at_once, states = stepped(of_course, CHUNKER)
    later, kept = stepped(of_course, uncut(CHUNKER))
    made = [[cut(each, "m", CHUNKER) if isinstance(each, Plan) else each for each in emitted] for emitted in later]
    assert [list(map(shown, each)) for each in made] == [list(map(shown, each)) for each in at_once]
    assert {name: bare(state) for name, state in kept.items()} == {name: bare(state) for name, state in states.items()}
    assert all(
        bool(state_from_bytes(kept[name]).made_by) is bool(state_from_bytes(states[name]).made_by) for name in kept
    )
    for start in range(0, len(later), size):
        batch = [each for emitted in later[start : start + size] for each in settled(emitted, uncut(CHUNKER))]
        plain = [each for emitted in at_once[start : start + size] for each in settled(emitted, CHUNKER)]
        assert {name: cut(plan, "m", CHUNKER) for name, plan in fold(batch).items()} == fold(plain)


def test_histories_have_texts_of_several_chunks() -> None:
    histories = [list(changes(seed, course)) for course in COURSES for seed in range(3)]
    plans = [each for one in histories for emitted in stepped(one, CHUNKER)[0] for each in settled(emitted, CHUNKER)]
    assert max(len(plan.write) for plan in plans) > 3 and any(not plan.write for plan in plans)


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_state_of_before_goes_on(chance: random.Random) -> None:
    """A release that cut at once left ranges in it."""
    of_course = list(changes(chance.randrange(1 << 32), chance.choice(COURSES)))
    turn = chance.randrange(len(of_course) + 1)
    at_once, _ = stepped(of_course, CHUNKER)
    states: dict[str, DocumentState | None] = {}
    for number, change in enumerate(of_course):
        name = document_id(SPEC, change)
        by = CHUNKER if number < turn else uncut(CHUNKER)
        states[name], emitted = step(states.get(name), change, SPEC, "m", by)
        made = [cut(each, "m", CHUNKER) if isinstance(each, Plan) and number >= turn else each for each in emitted]
        assert list(map(shown, made)) == list(map(shown, at_once[number]))


@settings(deadline=None)
@given(st.lists(st.text("ab \n", max_size=30), max_size=30), st.integers(0, 12))
def test_what_is_remembered_is_what_is_cut(texts: list[str], most: int) -> None:
    asked: list[str] = []

    def ranges(text: str) -> Sequence[tuple[int, int]]:
        asked.append(text)
        return CHUNKER.ranges(text)

    remembered = remembering(Chunker(CHUNKER.name, ranges), most)
    assert remembered.name == CHUNKER.name
    for text in texts:
        assert list(remembered.ranges(text)) == list(CHUNKER.ranges(text))
        again = len(asked)
        remembered.ranges(text)
        assert len(asked) == again or len(CHUNKER.ranges(text)) > most


def test_what_was_asked_for_last_is_remembered() -> None:
    asked: list[str] = []
    one_each = Chunker("one", lambda text: [(asked.append(text), (0, len(text)))[1]])
    remembered = remembering(one_each, 2)
    for text in ("a", "b", "a", "c", "a", "b"):
        remembered.ranges(text)
    assert asked == ["a", "b", "c", "b"]


@pytest.mark.parametrize(
    ("table", "named", "which"),
    [
        ("public.a", ("public.a", "public.ab"), "public.a"),
        ("public.a@shop:app", ("public.a", "public.b"), "public.a"),
        ("public.a@b@shop", ("public.a", "public.a@b"), "public.a@b"),
        ("s3://bucket/docs", ("s3://bucket/docs",), "s3://bucket/docs"),
    ],
)
def test_a_documents_table_is_found_with_its_database_and_without(
    table: str, named: tuple[str, ...], which: str
) -> None:
    assert named_table(table, named) == which
