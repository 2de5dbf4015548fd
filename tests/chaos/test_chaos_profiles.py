"""Chaos' feed of persons: what its writers do, and that a store which differs is seen and explained."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from uuid import uuid4

import psycopg
import pytest

from chaos import world
from chaos.compare import details, settle
from chaos.feeds import FEEDS
from chaos.patience import Patience
from chaos.people import TABLES, plans
from chaos.profiles import TEXT, Profiles, of_profiles
from connectors.opening.stores import open_profiles, stores_of
from connectors.postgres.rows import Reselect
from core.identity.state import Memory
from core.profiles.records import read_as
from core.profiles.step import Persons
from core.stores.profile_verification import said_by
from core.stores.verification import Kind
from stack.local import Stack
from tests.profile_writer import Writer

NOW_MS = time.time_ns() // 1_000_000


def test_a_seed_decides_what_writers_do_and_they_do_it_to_every_table() -> None:
    assert plans(Random(1), 3, 1.0) == plans(Random(1), 3, 1.0) != plans(Random(2), 3, 1.0)
    done = Counter(
        tuple(statement.sql.split()[:3])
        for seed in range(20)
        for plan in plans(Random(seed), 4, 4.0)
        for transaction in plan
        for statement in transaction.statements
    )
    for table in (name.partition(".")[2] for name in TABLES):
        assert done["INSERT", "INTO", table] > 100 and done["DELETE", "FROM", table] > 100
    assert done["UPDATE", "customers", "SET"] > 100
    assert sum(count for words, count in done.items() if words[0] == "TRUNCATE") > 3


@pytest.fixture
def here(stack: Stack, tmp_path: Path) -> Iterator[world.World]:
    name = f"chaos_{uuid4().hex[:6]}"
    made = world.make(stack, tmp_path, name, ("pgvector",), Random(1), FEEDS["profiles"].begin, None)
    yield made
    world.end(made)


def fill(here: world.World) -> None:
    """Bring the profile store to what the rows say, as the job would."""
    pipeline, memory = here.pipeline, Memory()
    profiles = pipeline.profiles
    assert profiles is not None
    source = Reselect(here.place.dsn, pipeline.events.debezium, False)
    with closing(open_profiles(stores_of(pipeline))) as store, closing(source), source.snapshot() as state:
        persons = Persons(memory, profiles.linking(pipeline.delete_retention_ms), profiles.merging)
        writer = Writer(store, persons, memory, text=TEXT)
        for table in profiles.records:
            spec = profiles.spec(table)
            for batch in state.rows(table, source.columns(read_as(spec)), 1000):
                rows = (source.as_in_events(table, raw) for raw in batch)
                writer.follow([said_by(row, ("id",), spec, profiles.reading, NOW_MS).change for row in rows])


def test_what_differs_is_seen_and_explained(here: world.World) -> None:
    feed = here.feed
    assert isinstance(feed, Profiles)
    missing = of_profiles(feed, here.pipeline)
    assert {difference.kind for _, difference in missing} == {Kind.MISSING}
    fill(here)
    assert of_profiles(feed, here.pipeline) == []
    with psycopg.connect(here.place.dsn) as connection:
        deleted = connection.execute(
            "DELETE FROM orders WHERE id = (SELECT min(id) FROM orders WHERE customer_id IS NOT NULL) RETURNING id"
        ).fetchall()
    assert deleted
    differing = of_profiles(feed, here.pipeline)
    assert differing and all(store == "postgres" for store, _ in differing)
    found = settle(here, Patience(1.0, 1.0))  # no job runs, so nothing else comes
    assert {store for store, _ in found.differences} == {"postgres", "pgvector"}
    assert "markers in pgvector" in found.waited_for
    known = details(here, next(each.document_id for _, each in differing if each.kind is Kind.STALE))
    assert any(" op r " in event or " op c " in event for event in known.events)
