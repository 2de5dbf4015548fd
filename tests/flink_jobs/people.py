"""Debezium's events of three tables about people, made up; and the profiles that they come to, linked all at once."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from connectors.kafka.producer import ensure_topics
from connectors.postgres.profiles.store import PostgresProfiles
from core.change import Change, Event
from core.config.file import load
from core.config.pipeline import Pipeline
from core.decoding import decoder
from core.identity.linking import RecordChange
from core.identity.state import Memory
from core.profiles.merging import Profile
from core.profiles.records import record_id, step
from core.profiles.step import Persons
from tests.core.identity_batch import latest, link
from tests.flink_jobs.conftest import Workshop
from tests.topics import delivering

PROFILES: dict[str, Any] = {
    "identifiers": [
        {"type": "customer_id", "limit": 1},
        {"type": "email", "normalize": "email", "limit": 3},
        {"type": "device", "limit": 4},
    ],
    "blocked": ["none@.*"],
    "records": {
        "public.customers": {
            "identifiers": {"customer_id": "id", "email": "email"},
            "attributes": {"name": "name", "city": "city"},
            "trust": 3,
        },
        "public.orders": {
            "identifiers": {"customer_id": "customer_id", "email": "email"},
            "events": {"last_order": "created_at", "total_spent": {"sum": "amount"}, "orders": "count"},
        },
        "public.visits": {
            "identifiers": {"device": "device", "email": "login"},
            "attributes": {"language": "lang"},
            "trust": 1,
        },
    },
    "survivorship": {"name": "most_trusted", "language": "most_frequent"},
}
TEXT = "{name}, {city}. {orders} orders, last {last_order}."
DAY = "2026-01-{:02}T00:00:00Z"


@dataclass(frozen=True)
class RowEvent:
    """One event, as it is sent."""

    table: str
    key: int
    row: dict[str, Any] | None
    number: int

    @property
    def raw(self) -> tuple[bytes, bytes]:
        """Key and value."""
        position = json.dumps([str(self.number), str(self.number)])
        source = {
            "connector": "postgresql", "schema": "public", "table": self.table, "lsn": self.number,
            "snapshot": "false", "sequence": position, "ts_ms": self.number * 1000,
        }  # fmt: skip
        operation = "d" if self.row is None else "c"
        value = {"op": operation, "before": None, "after": self.row, "source": source}
        return json.dumps({"id": self.key}).encode(), json.dumps(value).encode()


def customer(key: int, email: str | None, name: str = "Kari", city: str = "Bergen") -> dict[str, Any]:
    return {"id": key, "email": email, "name": name, "city": city}


def order(key: int, customer_id: int | None, email: str | None, amount: str = "10.50", day: int = 1) -> dict[str, Any]:
    return {"id": key, "customer_id": customer_id, "email": email, "amount": amount, "created_at": DAY.format(day)}


def visit(key: int, device: str, login: str | None = None, lang: str = "no") -> dict[str, Any]:
    return {"id": key, "device": device, "login": login, "lang": lang}


def history(seed: int, changes: int, people: int) -> list[RowEvent]:
    """Inserts, updates and deletes by chance, of few enough people that they meet, part and break limits."""
    chance = random.Random(seed)

    def email() -> str | None:
        return chance.choice([None, "none@x.no", *[f"p{chance.randrange(people)}@x.no"] * 6])

    def row(table: str, key: int) -> dict[str, Any]:
        if table == "customers":
            return customer(key, email(), f"name {chance.randrange(9)}", chance.choice(["Bergen", "Oslo"]))
        if table == "orders":
            known = chance.choice([None, chance.randrange(people)])
            return order(key, known, email(), f"{chance.randrange(9999) / 100:.2f}", chance.randrange(1, 28))
        return visit(key, f"d{chance.randrange(people)}", email(), chance.choice(["no", "en", "de"]))

    events = []
    for number in range(1, changes + 1):
        table = chance.choice(["customers", "orders", "visits"])
        key = chance.randrange(people * 2)
        events.append(RowEvent(table, key, None if chance.random() < 0.15 else row(table, key), number))
    return events


def pipeline(workshop: Workshop, **changes: Any) -> Path:
    """A pipeline file of profiles, whose vectors go to the same database."""
    store = {"postgres": {"dsn": workshop.dsn}, "pgvector": {"dsn": workshop.dsn, "table": "people"}}
    embedding = {"model": "hash", "text": TEXT}
    of_profiles = {"name": "people", "documents": {}, "profiles": PROFILES, "embedding": embedding, "store": store}
    return workshop.pipeline(**{**of_profiles, **changes})


def send(workshop: Workshop, events: list[RowEvent], partitions: int = 2) -> None:
    """Into a topic a table, in their order within each partition."""
    ensure_topics(workshop.bootstrap_servers, {f"{workshop.prefix}.public.{each.table}": partitions for each in events})
    with delivering(workshop.bootstrap_servers) as producer:
        for each in events:
            key, value = each.raw
            producer.produce(f"{workshop.prefix}.public.{each.table}", value=value, key=key)


def truth(events: list[RowEvent], rules: Pipeline) -> tuple[dict[str, Profile], dict[str, str]]:
    """The profiles that all records together come to, and each record's profile; ids by the plainest way of linking."""
    assert rules.profiles is not None
    last = latest([change_of(each, rules) for each in events])
    linking = rules.profiles.linking(rules.delete_retention_ms)
    people = link(last, linking, 0)
    persons = Persons(Memory(), linking, rules.profiles.merging)
    for each in reversed(last):
        persons.step(each)
    profiles = {}
    for name, (_, identifiers) in people.items():
        found = persons.profile(name)
        assert found is not None and frozenset(found.identifiers) == identifiers
        profiles[name] = found
    return profiles, {record: name for name, (records, _) in people.items() for record in records}


def change_of(event: RowEvent, rules: Pipeline) -> RecordChange:
    """What an event's record says."""
    assert rules.profiles is not None
    key, value = event.raw
    (change,) = decoder(rules.events)(Event("t", 0, 0, key, value))
    assert isinstance(change, Change)
    spec = rules.profiles.spec(change.table)
    assert record_id(spec, change)
    _, said = step(None, change, spec, rules.profiles.reading, 2**41)
    assert isinstance(said, RecordChange)
    return said


def differences(workshop: Workshop, file: Path, events: list[RowEvent]) -> list[object]:
    """What of profiles, records and vectors is otherwise than all `events` come to."""
    rules = load(file)
    profiles, records = truth(events, rules)
    store = PostgresProfiles(workshop.dsn, rules.name)
    with psycopg.connect(workshop.dsn) as connection:
        names = {each for (each,) in connection.execute("SELECT profile_id FROM people_profiles")}
        of: dict[str, str] = dict(connection.execute("SELECT record, profile_id FROM people_records").fetchall())
        held = connection.execute("SELECT count(*) FROM people_identifiers").fetchall()[0][0]
        query = sql.SQL("SELECT document_id, text FROM {}").format(sql.Identifier("people"))
        texts: dict[str, str] = dict(connection.execute(query).fetchall())
    wrong = [(each, store.get(name)) for name, each in profiles.items() if store.get(name) != each]
    store.close()
    wanted = {f"profiles/{name}": _text(profile) for name, profile in profiles.items()}
    return [
        *(names ^ set(profiles)),
        *(set(of.items()) ^ set(records.items())),
        *wrong,
        *(set(texts.items()) ^ set(wanted.items())),
        *([] if held == sum(len(each.identifiers) for each in profiles.values()) else [held]),
    ]


def _text(profile: Profile) -> str:
    name, city, orders, last = (profile.values.get(each) for each in ("name", "city", "orders", "last_order"))
    return f"{name or ''}, {city or ''}. {'' if orders is None else orders} orders, last {last or ''}."
