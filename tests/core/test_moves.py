"""Laws of unsettled changes: however partitions interleave, the store ends with the rows that are there."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.change import Change, Operation, Position
from core.documents.moves import Kept, Settled, Unknown, decode_kept, encode_kept, give_up, settle, tell_early
from core.documents.step import Chunker, DocumentSpec, DocumentState, Unsettled, document_id, plan_of, step
from core.plans import Plan
from tests.laws import examples

SPEC = DocumentSpec("public.t", "{body}|{note}")
WHOLE_ROW = {"body": "short", "note": "short"}
WHOLE = Chunker("whole", lambda text: [(0, len(text))])


@dataclass
class Table:
    """A table whose changes are as Debezium writes them: unchanged values don't travel, but for short ones."""

    rows: dict[int, dict[str, str]] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    def put(self, key: int, **values: str) -> None:
        new = key not in self.rows
        self.rows[key] = {**self.rows.get(key, {"body": "b", "note": "n"}), **values}
        long = [name for name, value in self.rows[key].items() if not value.startswith("short")]
        unchanged = [] if new else [name for name in long if name not in values]
        self._tell(key, Operation.UPSERT, len(self.changes), self.rows[key], unchanged)

    def delete(self, key: int) -> None:
        del self.rows[key]
        self._tell(key, Operation.DELETE, len(self.changes))

    def move(self, old: int, new: int) -> None:
        self.rows[new] = self.rows.pop(old)
        at = len(self.changes)
        self._tell(old, Operation.DELETE, at, moves=True)
        long = [name for name, value in self.rows[new].items() if not value.startswith("short")]
        self._tell(new, Operation.UPSERT, at, self.rows[new], long, moves=True)

    def _tell(
        self,
        key: int,
        operation: Operation,
        at: int,
        row: dict[str, str] | None = None,
        unchanged: list[str] | None = None,
        moves: bool = False,
    ) -> None:
        values = {name: "marker" if name in (unchanged or []) else value for name, value in (row or {}).items()}
        position = Position(f"{at:06}")
        change = Change(SPEC.table, {"id": key}, operation, position, values, frozenset(unchanged or []), moves=moves)
        self.changes.append(change)


@dataclass
class Job:
    """The plan stage and what settles behind it; the store is a dictionary that refuses what is older."""

    states: dict[str, DocumentState | None] = field(default_factory=dict)
    memory: dict[str, Kept] = field(default_factory=dict)
    store: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    unknown: list[Unsettled] = field(default_factory=list)
    moved: list[tuple[str, str]] = field(default_factory=list)

    def take(self, change: Change) -> list[Unsettled]:
        identity = document_id(SPEC, change)
        self.states[identity], emitted = step(self.states.get(identity), change, SPEC, "m", WHOLE)
        for each in emitted:
            if isinstance(each, Plan):
                self.apply(each)
        return [each for each in emitted if isinstance(each, Unsettled)]

    def settle(self, unsettled: Unsettled) -> None:
        self.hear(settle(self.memory, unsettled))
        self.memory = {name: decode_kept(encode_kept(kept)) for name, kept in self.memory.items()}

    def hear(self, answers: list[Settled | Unknown]) -> None:
        for answer in answers:
            if isinstance(answer, Unknown):
                self.unknown.append(answer.what)
                continue
            if answer.moved_from:
                # a short row that moves on and on is emitted at once, though its old document may not have been
                assert answer.moved_from in self.store or answer.what.change.row["body"].startswith("short")
                self.moved.append((answer.moved_from, answer.what.document_id))
            self.apply(plan_of(answer.what, SPEC, "m", WHOLE, answer.moved_from))

    def apply(self, plan: Plan) -> None:
        if plan.position >= self.store.get(plan.document_id, ("", ()))[0]:
            self.store[plan.document_id] = (plan.position, tuple(chunk.text for chunk in plan.write))

    def texts(self) -> dict[str, str]:
        return {identity: "".join(texts) for identity, (_, texts) in self.store.items() if texts}


def true(table: Table) -> dict[str, str]:
    return {f"public.t/{key}": f"{row['body']}|{row['note']}" for key, row in table.rows.items()}


def partition(change: Change, partitions: int) -> int:
    return int(change.key["id"]) % partitions


def run(table: Table, partitions: int, chance: random.Random) -> Job:
    """The changes through partitions that interleave at will; unsettled ones wait in queues of their own, by key."""
    job = Job()
    queues: dict[object, list[Change | Unsettled]] = {}
    for change in table.changes:
        queues.setdefault(partition(change, partitions), []).append(change)
    while queues:
        name = chance.choice(list(queues))
        item = queues[name].pop(0)
        if not queues[name]:
            del queues[name]
        if isinstance(item, Unsettled):
            job.settle(item)
            continue
        for unsettled in job.take(item):
            # one subtask plans each key and sends on in order
            queues.setdefault(f"from {partition(item, partitions)}", []).append(unsettled)
    return job


@st.composite
def tables(draw: st.DrawFn) -> Table:
    table = Table()
    keys = st.integers(0, 5)
    for number in range(draw(st.integers(1, 40))):
        key, other = draw(keys), draw(keys)
        action = draw(st.sampled_from(["put", "put", "body", "touch", "delete", "move", "move", "move"]))
        size = draw(st.sampled_from(["short", "long"]))
        if action == "put" and key not in table.rows:
            table.put(key, body=f"{size} b{number}", note=f"{size} n{number}")
        elif key not in table.rows:
            continue
        elif action == "body":
            table.put(key, body=f"{size} b{number}")
        elif action == "touch":
            table.put(key)
        elif action == "delete":
            table.delete(key)
        elif action == "move" and other not in table.rows:
            table.move(key, other)
    return table


@settings(max_examples=examples(1000))
@given(tables(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_any_interleaving_ends_in_the_rows(table: Table, partitions: int, chance: random.Random) -> None:
    job = run(table, partitions, chance)
    assert not job.unknown
    assert job.texts() == true(table)
    assert not any(name.startswith(("half", "behind")) for name in job.memory)


def test_what_comes_to_a_key_waits_behind_what_came_before() -> None:
    """1 moves to 2, on to 3, and 4 to 2: key 2 hears of all three before the old keys do."""
    table = Table()
    table.put(1, body="one")
    table.put(4, body="four")
    table.move(1, 2)
    table.move(2, 3)
    table.put(3)
    table.move(4, 2)
    table.put(2)
    job = Job()
    by_key: dict[int, list[Change]] = {}
    for change in table.changes:
        by_key.setdefault(change.key["id"], []).append(change)
    first = [job.take(by_key[key].pop(0)) for key in (1, 4)]
    assert first == [[], []]
    for key in (2, 3, 4, 1):
        for change in by_key[key]:
            for unsettled in job.take(change):
                job.settle(unsettled)
    assert not job.unknown
    assert job.texts() == true(table) == {"public.t/3": "one|n", "public.t/2": "four|n"}


def test_what_waits_behind_a_row_waits_for_its_values_and_no_others() -> None:
    """Key 2 hears of a short row that came and went, then of a long one; the short one's old key is heard of first."""
    table = Table()
    table.put(1, body="short", note="short")
    table.put(4, body="long")
    table.move(1, 2)
    table.move(2, 3)
    table.move(4, 2)
    table.move(2, 5)
    job = Job()
    by_key: dict[int, list[Change]] = {}
    for change in table.changes:
        by_key.setdefault(change.key["id"], []).append(change)
    assert [job.take(by_key[key].pop(0)) for key in (1, 4)] == [[], []]
    for key in (2, 1, 3, 5, 4):
        for change in by_key[key]:
            for unsettled in job.take(change):
                job.settle(unsettled)
    assert not job.unknown
    assert job.texts() == true(table) == {"public.t/3": "short|short", "public.t/5": "long|n"}


@given(tables(), st.integers(1, 3), st.randoms(use_true_random=False))
def test_redelivery_changes_nothing(table: Table, partitions: int, chance: random.Random) -> None:
    job = run(table, partitions, chance)
    for change in table.changes:
        for unsettled in job.take(change):
            assert unsettled.late
            job.settle(unsettled)
    assert job.texts() == true(table)


def moved() -> tuple[Change, Change]:
    table = Table()
    table.put(1)
    table.move(1, 2)
    return table.changes[1], table.changes[2]


@pytest.mark.parametrize("first", ["departure", "arrival"])
def test_a_half_alone_is_given_up(first: str) -> None:
    departure, arrival = moved()
    job = Job()
    job.take(Change(SPEC.table, {"id": 1}, Operation.UPSERT, Position("0"), {"body": "b", "note": "n"}))
    for unsettled in job.take(departure if first == "departure" else arrival):
        job.settle(unsettled)
    assert job.texts() == {"public.t/1": "b|n"}
    job.hear(give_up(job.memory, departure.position))
    assert job.memory == {} and give_up(job.memory, departure.position) == []
    if first == "departure":
        assert job.texts() == {}
    else:
        assert [each.change.unavailable for each in job.unknown] == [{"body", "note"}]


def test_a_row_that_came_whole_is_answered_early_and_the_old_one_goes_when_it_is_heard_of() -> None:
    departure, arrival = moved()
    whole = replace(arrival, row={"body": "b", "note": "n"}, unavailable=frozenset())
    job = Job()
    job.take(Change(SPEC.table, {"id": 1}, Operation.UPSERT, Position("0"), {"body": "b", "note": "n"}))
    for unsettled in job.take(whole):
        job.settle(unsettled)
    job.hear(tell_early(job.memory, whole.position))
    assert tell_early(job.memory, whole.position) == []
    assert job.texts() == {"public.t/1": "b|n", "public.t/2": "b|n"}
    for unsettled in job.take(departure):
        job.settle(unsettled)
    assert job.texts() == {"public.t/2": "b|n"}
    assert job.memory == {}


def test_a_half_that_lacks_values_is_not_answered_early() -> None:
    for half in moved():
        job = Job()
        for unsettled in job.take(half):
            job.settle(unsettled)
        assert tell_early(job.memory, half.position) == []


def test_an_old_row_goes_though_the_new_one_has_moved_on_before_it_is_heard_of() -> None:
    table = Table()
    table.put(1, body="short", note="short")
    table.move(1, 2)
    table.move(2, 3)
    job = Job()
    # the changes of key 1 come first, then what row 2 did, and last how it came to be
    _, one_goes, two_comes, two_goes, three_comes = table.changes
    for change in (table.changes[0], two_goes, three_comes, one_goes, two_comes):
        for unsettled in job.take(change):
            job.settle(unsettled)
    assert job.texts() == true(table) == {"public.t/3": "short|short"}
    assert job.memory == {}


@settings(max_examples=examples(1000))
@given(tables(), st.integers(2, 5), st.randoms(use_true_random=False))
def test_both_halves_may_come_in_the_new_keys_partition(table: Table, partitions: int, chance: random.Random) -> None:
    """As DMS sends a key change: in one message, which other partitions' messages about the old key overtake."""
    whole = [replace(each, unavailable=frozenset(), row=each.row and WHOLE_ROW) for each in table.changes]
    messages: list[list[Change]] = []
    for change in whole:
        if messages and messages[-1][0].moves and messages[-1][0].position == change.position:
            messages[-1].append(change)
        else:
            messages.append([change])
    queues: dict[int, list[list[Change]]] = {}
    for message in messages:
        queues.setdefault(partition(message[-1], partitions), []).append(message)
    job = Job()
    while queues:
        name = chance.choice(list(queues))
        for change in queues[name].pop(0):
            for unsettled in job.take(change):
                job.settle(unsettled)
        if not queues[name]:
            del queues[name]
    # a new row whose old one went on in another way is answered without it
    for kept in list(job.memory.values()):
        if kept.half is not None:
            job.hear(tell_early(job.memory, kept.half.change.position))
    assert job.texts().keys() == true(table).keys()
