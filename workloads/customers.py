"""Made-up people and what five systems hear of them, as Debezium's Postgres connector would tell it; with the truth.

People live in households that share a phone, a device and a town. They mistype e-mail addresses and correct them, give
phone numbers up that others get later, change their number as a customer (a key change), and have rows deleted.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import msgspec

from core.formats.recordings import Headers, Record
from workloads.articles import iso

TABLES = ("customers", "accounts", "orders", "conversations", "web_visits")
"""Of the schema `public`; each row has the key `id`."""

RECORDS: Mapping[str, Any] = {
    "public.customers": {
        "identifiers": {"customer_id": "id", "email": "email", "phone": "phone"},
        "attributes": {"name": "name", "city": "city"},
        "trust": 3,
    },
    "public.accounts": {
        "identifiers": {"customer_id": "customer_id", "email": "email"},
        "attributes": {"nickname": "nickname"},
    },
    "public.orders": {
        "identifiers": {"customer_id": "customer_id", "email": "email"},
        "events": {"last_order": "created_at", "total_spent": {"sum": "amount"}, "orders": "count"},
        "time": "created_at",
    },
    "public.conversations": {
        "identifiers": {"email": "email", "phone": "phone"},
        "events": {"conversations": "count"},
        "time": "opened_at",
    },
    "public.web_visits": {
        "identifiers": {"device": "device", "email": "login_email"},
        "attributes": {"language": "lang"},
        "time": "visited_at",
    },
}
"""How a pipeline reads the tables: `profiles.records`."""

_NEW_PERSON = 0.15
_CHANGES = {"correct": 0.08, "move_on": 0.02, "renumber": 0.01, "take_back": 0.06}
"""Of all steps. A new person is a customer; what is left are new rows of the other tables."""
_TYPO = 0.1
_FIRST = ("Kari", "Ola", "Ingrid", "Lars", "Astrid", "Nils", "Solveig", "Erik", "Liv", "Per", "Sigrid", "Jonas")
_LAST = ("Nordmann", "Hansen", "Berg", "Dahl", "Lie", "Moen", "Strand", "Vik", "Haugen", "Solberg")
_TOWNS = ("Oslo", "Bergen", "Trondheim", "Tromsø", "Bodø", "Ålesund")

Truth = dict[tuple[str, int], int]
"""Which person a row is of: (table, key) to their number."""


@dataclass(slots=True)
class _Person:
    number: int
    name: str
    email: str
    phone: str | None
    device: str
    town: str
    customer: int


@dataclass(slots=True)
class _World:
    chance: random.Random
    prefix: str
    truth: Truth
    clock: Callable[[], int]
    people: list[_Person] = field(default_factory=list)
    rows: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    given_up: list[str] = field(default_factory=list)
    wrong: list[tuple[str, int]] = field(default_factory=list)
    last_id: dict[str, int] = field(default_factory=dict)
    position: int = 0x1B00000
    now: int = 0

    def next_id(self, table: str) -> int:
        self.last_id[table] = self.last_id.get(table, 0) + 1
        return self.last_id[table]


def customers(prefix: str, seed: int, clock: Callable[[], int], truth: Truth) -> Iterator[tuple[Record, ...]]:
    """Steps without end, each the messages of one change into topics `prefix.public.TABLE`; `truth` follows them.

    `clock` gives nanoseconds since 1970. The same seed makes the same people and changes, but for their times.
    """
    world = _World(random.Random(seed), prefix, truth, clock)
    while True:
        yield _step(world)


def truth_csv(truth: Mapping[tuple[str, int], int]) -> str:
    """The rows there are, as CSV: table, key and the number of the person that they are of."""
    text = StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("table", "key", "person"))
    writer.writerows((f"public.{table}", key, person) for (table, key), person in sorted(truth.items()))
    return text.getvalue()


def _step(world: _World) -> tuple[Record, ...]:
    world.now = max(world.clock(), world.now + 1_000)
    draw = world.chance.random()
    if not world.people or draw < _NEW_PERSON:
        return _join(world)
    edge = _NEW_PERSON
    for name, share in _CHANGES.items():
        edge += share
        if draw < edge:
            return _CHANGE[name](world) or _do(world)
    return _do(world)


def _join(world: _World) -> tuple[Record, ...]:
    """A new customer: of a new household, or of one that is there."""
    chance, number = world.chance, len(world.people) + 1
    kin = chance.choice(world.people) if world.people and chance.random() < 0.3 else None
    name = f"{chance.choice(_FIRST)} {kin.name.split()[1] if kin else chance.choice(_LAST)}"
    phone = _phone(world, number) if kin is None or chance.random() < 0.5 else kin.phone
    device = f"device-{number}" if kin is None or chance.random() < 0.5 else kin.device
    town = kin.town if kin else chance.choice(_TOWNS)
    email = f"{name.split()[0].lower()}.{number}@example.com"
    person = _Person(number, name, email, phone, device, town, world.next_id("customers"))
    world.people.append(person)
    row = {"id": person.customer, "name": name, "email": email, "phone": phone, "city": town}
    return _write(world, "customers", row, person)


def _phone(world: _World, number: int) -> str:
    """A number that nobody had, or one that somebody gave up."""
    if world.given_up and world.chance.random() < 0.5:
        return world.given_up.pop(0)
    return f"+47 9{number:07d}"


def _do(world: _World) -> tuple[Record, ...]:
    """Somebody opens an account, orders, writes to the support or looks at a page."""
    chance = world.chance
    person, table = chance.choice(world.people), chance.choice(TABLES[1:])
    key, when = world.next_id(table), iso(world.now)
    mistyped = chance.random() < _TYPO
    email = _mistyped(person.email, chance) if mistyped else person.email
    known = person.customer if chance.random() < 0.7 else None
    rows: dict[str, dict[str, Any]] = {
        "accounts": {"id": key, "customer_id": known, "email": email, "nickname": person.name.split()[0]},
        "orders": {
            "id": key, "customer_id": known, "email": email, "amount": f"{chance.randrange(500, 90_000) / 100:.2f}",
            "created_at": when,
        },
        "conversations": {"id": key, "email": email, "phone": person.phone, "opened_at": when},
        "web_visits": {
            "id": key, "device": person.device, "login_email": email if chance.random() < 0.6 else None,
            "lang": chance.choice(("no", "no", "en")), "visited_at": when,
        },
    }  # fmt: skip
    row = rows[table]
    if mistyped and email in row.values():
        world.wrong.append((table, key))
    return _write(world, table, row, person)


def _mistyped(email: str, chance: random.Random) -> str:
    at = chance.randrange(1, email.index("@"))
    return email[:at] + email[at - 1] + email[at:]


def _correct(world: _World) -> tuple[Record, ...]:
    """A mistyped address is corrected."""
    waiting = [each for each in world.wrong if each in world.rows]
    if not waiting:
        return ()
    table, key = world.chance.choice(waiting)
    world.wrong.remove((table, key))
    person = world.people[world.truth[table, key] - 1]
    name = "login_email" if table == "web_visits" else "email"
    return _write(world, table, {**world.rows[table, key], name: person.email}, person)


def _move_on(world: _World) -> tuple[Record, ...]:
    """Somebody gives their phone number up; another customer gets it one day."""
    person = world.chance.choice(world.people)
    row = world.rows.get(("customers", person.customer))
    if row is None or person.phone is None or any(p.phone == person.phone for p in world.people if p is not person):
        return ()
    world.given_up.append(person.phone)
    person.phone = None
    return _write(world, "customers", {**row, "phone": None}, person)


def _renumber(world: _World) -> tuple[Record, ...]:
    """A customer's key changes: as Debezium tells it, the old row is deleted and a new one created."""
    person = world.chance.choice(world.people)
    row = world.rows.get(("customers", person.customer))
    if row is None:
        return ()
    old, new = person.customer, world.next_id("customers")
    said = {name: msgspec.json.encode({"payload": {"id": key}}) for name, key in (("newkey", new), ("oldkey", old))}
    gone = _delete(world, "customers", old, (("__debezium.newkey", said["newkey"]),))
    person.customer = new
    # one change of the log: both halves have its position
    world.position -= 8
    return (*gone, *_write(world, "customers", {**row, "id": new}, person, (("__debezium.oldkey", said["oldkey"]),)))


def _take_back(world: _World) -> tuple[Record, ...]:
    """A row is deleted, whichever."""
    table, key = world.chance.choice(list(world.rows))
    return _delete(world, table, key)


_CHANGE: Mapping[str, Callable[[_World], tuple[Record, ...]]] = {
    "correct": _correct,
    "move_on": _move_on,
    "renumber": _renumber,
    "take_back": _take_back,
}


def _write(
    world: _World, table: str, row: dict[str, Any], person: _Person, headers: Headers = ()
) -> tuple[Record, ...]:
    place = (table, row["id"])
    operation = "u" if place in world.rows else "c"
    world.rows[place] = row
    world.truth[place] = person.number
    return (_record(world, table, row["id"], operation, row, headers),)


def _delete(world: _World, table: str, key: int, headers: Headers = ()) -> tuple[Record, ...]:
    del world.rows[table, key]
    del world.truth[table, key]
    deletion = _record(world, table, key, "d", None, headers)
    return deletion, Record(deletion.topic, deletion.key, None)


def _record(
    world: _World, table: str, key: int, operation: str, row: Mapping[str, Any] | None, headers: Headers
) -> Record:
    world.position += 8
    milliseconds = world.now // 1_000_000
    source = {
        "version": "3.7.0.Final", "connector": "postgresql", "name": world.prefix, "ts_ms": milliseconds,
        "snapshot": "false", "db": world.prefix, "sequence": f'["{world.position}","{world.position}"]',
        "schema": "public", "table": table, "lsn": world.position,
    }  # fmt: skip
    event = {
        "before": {"id": key} if row is None else None, "after": row, "source": source, "op": operation,
        "ts_ms": milliseconds,
    }  # fmt: skip
    topic = f"{world.prefix}.public.{table}"
    return Record(topic, msgspec.json.encode({"id": key}), msgspec.json.encode(event), headers)
