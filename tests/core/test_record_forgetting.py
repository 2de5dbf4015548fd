"""Rows that are forgotten once their table was emptied: profiles end as if nothing were ever forgotten.

Partitions are read in any order, a truncate comes before what it emptied or long behind it, who links hears of it
sooner or later than who parses, and any row of before may be forgotten at any time from then on.
"""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from core.change import Change, Operation, Position, Truncate
from core.documents.unsettled import Refused
from core.identity.rules import Rules
from core.identity.state import Memory
from core.profiles.forgetting import Sweep, Sweeps, mark, with_sweep
from core.profiles.merging import Rule
from core.profiles.records import Reading, RecordSpec, RowState, record_id, step
from core.profiles.step import Persons
from tests.laws import examples

TABLE = "crm"
SPEC = RecordSpec(TABLE, attributes={"name": "name", "note": "note"})
READING = Reading({}, lambda text: False, 10**9)
LINKING = Rules([], {TABLE: 0})
MERGING = {"name": Rule("latest"), "note": Rule("latest")}
KEYS = 3

Rows = dict[int, dict[str, str]]


def history(chance: random.Random, length: int) -> tuple[Rows, list[list[Change | Truncate]]]:
    """A table's rows in the end, and its changes by partition: one a key, and one for truncates."""
    rows: Rows = {}
    partitions: list[list[Change | Truncate]] = [[] for _ in range(KEYS + 1)]
    for number in range(length):
        at, key, lot = Position(f"{number:04}"), chance.randrange(KEYS), chance.random()
        if lot < 0.2:
            rows.clear()
            partitions[KEYS].append(Truncate(TABLE, at))
        elif lot < 0.3 and key in rows:
            del rows[key]
            partitions[key].append(Change(TABLE, {"id": key}, Operation.DELETE, at))
        else:
            left_out = frozenset(["note"] if key in rows and lot < 0.7 else [])
            rows[key] = {"note": f"note {number}", **rows.get(key, {}), "name": f"name {number}"}
            sent = rows[key] | dict.fromkeys(left_out, "marker")
            partitions[key].append(Change(TABLE, {"id": key}, Operation.UPSERT, at, sent, left_out))
    return rows, partitions


class Job:
    """Who parses and who links, over what they remember. `waiting`: what who links has yet to hear of truncates."""

    def __init__(self) -> None:
        self.persons = Persons(Memory(), LINKING, MERGING)
        self.states: dict[str, RowState] = {}
        self.sweeps: Sweeps = ()
        self.waiting: list[Position] = []
        self.forgotten = 0

    def read(self, change: Change | Truncate) -> None:
        if isinstance(change, Truncate):
            self.sweeps = with_sweep(self.sweeps, Sweep(change.position, 0), 0)
            self.waiting.append(change.position)
            return
        record = record_id(SPEC, change)
        before = self.states.get(record)
        if before is None and change.position < mark(self.sweeps, 0):
            return
        after, said = step(before, change, SPEC, READING, 10**12)
        assert not isinstance(said, Refused), said
        if after is not None:
            self.states[record] = after
        if said is not None:
            self.persons.step(said)

    def cleared(self) -> list[str]:
        return [record for record, row in self.states.items() if row.position < mark(self.sweeps, 0)]

    def forget(self, record: str) -> None:
        self.forgotten += 1
        del self.states[record]

    def empty(self) -> None:
        before = self.waiting.pop(0)
        self.persons.clear(self.persons.sweep(TABLE, before), before, 0)


def run(chance: random.Random, partitions: list[list[Change | Truncate]]) -> Job:
    job = Job()
    while unread := [partition for partition in partitions if partition]:
        lot = chance.random()
        if lot < 0.2 and job.waiting:
            job.empty()
        elif lot < 0.5 and (cleared := job.cleared()):
            job.forget(chance.choice(cleared))
        else:
            job.read(chance.choice(unread).pop(0))
    while job.waiting:
        job.empty()
    for record in job.cleared():
        job.forget(record)
    return job


@settings(max_examples=examples(400))
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_profiles_end_with_the_rows_and_nothing_else_is_remembered(seed: int, length: int) -> None:
    chance = random.Random(seed)
    rows, partitions = history(chance, length)
    deleted = {f"{TABLE}/{each.key['id']}" for some in partitions[:KEYS] for each in some if not each.row}  # type: ignore[union-attr]
    job = run(chance, partitions)
    true = {f"{TABLE}/{key}": row for key, row in rows.items()}
    graph = job.persons.graph
    profiles = [job.persons.profile(cluster.canonical.hex()) for _, cluster in graph.clusters.saved()]
    found = [sorted(profile.values.items()) for profile in profiles if profile is not None]
    assert sorted(found) == sorted(sorted(row.items()) for row in true.values())
    assert {record for record, state in job.states.items() if state.row} == true.keys()
    assert {record.name for _, record in graph.records.saved()} - deleted == true.keys() - deleted
