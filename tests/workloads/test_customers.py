"""The made-up people: sent as Debezium sends, always the same, and distinguished by the rules of the page."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
import yaml

from core.change import BEGINNING, Change, Event, Operation, Skip
from core.config.pipeline import Pipeline
from core.decoding import decoder
from core.formats.recordings import Record
from core.identity.linking import RecordChange
from core.identity.query import profile_of
from core.identity.rules import digest
from core.identity.state import Memory
from core.profiles.records import RowState, record_id, step
from core.profiles.step import Persons
from tests.pages import ROOT, blocks
from workloads.customers import TABLES, Truth, customers, truth_csv

BLOCK = next(each for each in blocks(ROOT / "docs" / "profiles.md") if each.title == "customers.yaml")
PIPELINE = Pipeline.model_validate(yaml.safe_load(BLOCK.text))


def produced(seed: int, steps: int) -> tuple[list[Record], Truth]:
    truth: Truth = {}
    made = islice(customers("crm", seed, lambda: 10**18, truth), steps)
    return [record for step in made for record in step], truth


def test_the_same_seed_makes_the_same_people() -> None:
    assert produced(1, 500) == produced(1, 500) != produced(2, 500)


def test_rows_are_inserted_changed_moved_and_deleted_in_every_table() -> None:
    records, truth = produced(1, 3000)
    assert {record.topic for record in records} == {f"crm.public.{table}" for table in TABLES}
    changes = [change for change in map(change_of, records) if isinstance(change, Change)]
    kinds = Counter((change.operation, change.moves) for change in changes)
    assert kinds[Operation.UPSERT, True] == kinds[Operation.DELETE, True] > 5
    assert kinds[Operation.DELETE, False] > 50
    there: dict[str, Change] = {}
    for change in changes:
        there[f"{change.table}/{change.key['id']}"] = change
    standing = {name for name, change in there.items() if change.operation is Operation.UPSERT}
    assert standing == {f"public.{table}/{key}" for table, key in truth}
    assert truth_csv(truth).splitlines()[0] == "table,key,person"
    assert len(truth_csv(truth).splitlines()) == len(truth) + 1


def change_of(record: Record) -> Change | Skip:
    headers = dict(record.headers)
    (change,) = decoder(PIPELINE.events)(Event(record.topic, 0, 0, record.key, record.value, headers))
    assert isinstance(change, Change | Skip)
    return change


@pytest.mark.parametrize("seed", [1, 2])
def test_the_pages_rules_tell_people_apart(seed: int) -> None:
    """Of two records of one profile, how many are of one person; of two of one person, how many are found."""
    assert PIPELINE.profiles is not None
    persons = Persons(Memory(), PIPELINE.profiles.linking(0), PIPELINE.profiles.merging)
    records, truth = produced(seed, 3000)
    states: dict[str, RowState | None] = {}
    for change in map(change_of, records):
        if isinstance(change, Change):
            spec = PIPELINE.profiles.spec(change.table)
            name = record_id(spec, change)
            states[name], said = step(states.get(name), change, spec, PIPELINE.profiles.reading, 10**12)
            assert isinstance(said, RecordChange) and said.position > BEGINNING
            persons.step(said)
    found = profiles_of(persons, truth)
    together = Counter(found.values())
    same = Counter((profile, truth[place]) for place, profile in found.items())
    of_one = Counter(truth.values())
    pairs = sum(n * (n - 1) // 2 for n in same.values())
    precision = pairs / sum(n * (n - 1) // 2 for n in together.values())
    recall = pairs / sum(n * (n - 1) // 2 for n in of_one.values())
    assert precision > 0.95 and recall > 0.85, (precision, recall)


def profiles_of(persons: Persons, truth: Truth) -> dict[tuple[str, int], str]:
    found = {}
    for table, key in truth:
        record = persons.graph.records[digest("record", f"public.{table}/{key}")]
        name = profile_of(persons.graph, record.group)
        assert name is not None
        found[table, key] = name.hex()
    return found
