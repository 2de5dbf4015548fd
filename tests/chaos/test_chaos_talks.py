"""Chaos' feed of conversations: what is sent, and that rows which differ are seen and explained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from chaos import talks, world
from chaos.compare import details, settle
from chaos.feeds import FEEDS
from chaos.patience import Patience
from chaos.talks import Talks, acts, expected
from core.formats import conversations
from core.formats.conversations import Feedback, Latency, Turn
from core.stores.verification import Kind
from stack.local import Stack
from tests.topics import consume

TABLES = {
    "satisfaction": "(window_start timestamptz, tenant text, model text, turns bigint, rated bigint, good bigint,"
    " satisfaction float, sentiment float, comment_sentiment float)",
    "closed": "(window_start timestamptz, tenant text, turns bigint)",
}


def turn(name: str, at: str) -> Turn:
    return Turn(
        name, "c", 1, at, "acme", None, "?", "!", "small-1", 1, 1, "stop", Latency(1.0, 1.0, 1.0), (), {}
    )  # fmt: skip


def test_a_seed_decides_what_writers_do() -> None:
    assert acts(Random(1), 1.0) == acts(Random(1), 1.0) != acts(Random(2), 1.0)
    planned = acts(Random(1), 20.0)
    assert min(sum(each.which is None for each in planned), sum(each.which is not None for each in planned)) > 300


def test_the_last_rating_counts_and_a_window_that_is_not_over_has_no_row() -> None:
    said = [
        turn("a", "2026-03-01T10:00:00.5Z"),
        turn("b", "2026-03-01T10:00:01.5Z"),
        turn("c", "2026-03-01T10:00:02.5Z"),
        Feedback("a", "c", "2026-03-01T10:00:09Z", "acme", -1, "thumbs", None),
        Feedback("a", "c", "2026-03-01T10:00:08Z", "acme", 1, "thumbs", "Great, thank you!"),
    ]
    rows = expected(said, datetime(2026, 3, 1, 10, 0, 3, tzinfo=UTC))
    assert rows == {
        ("satisfaction", "2026-03-01T10:00:00+00:00", "acme", "small-1"): (3, 1, 0, None),
        ("closed", "2026-03-01T10:00:00+00:00", "acme"): (2,),
    }


@pytest.fixture
def here(stack: Stack, tmp_path: Path) -> Iterator[world.World]:
    name = f"chaos_{uuid4().hex[:6]}"
    made = world.make(stack, tmp_path, name, ("postgres",), Random(1), FEEDS["feedback"].begin, None)
    yield made
    world.end(made)


def test_what_differs_is_seen_and_explained(here: world.World) -> None:
    feed = here.feed
    assert isinstance(feed, Talks)
    feed.work(Random(1))(1e12)
    feed.mark("m")
    sent = consume(here.stack.kafka.bootstrap_servers, here.name)
    values = [conversations.event(each.value or b"") for each in sent]
    assert {each.partition for each in sent} == {0, 1, 2}
    assert len({each.value for each in sent}) < len(sent), "some come twice"
    known: set[str] = set()
    early = [each for each in values if _comes_before_its_turn(each, known)]
    assert early, "some ratings come before their turns"

    count, missing = feed.rows()
    assert count == len(missing) and {each.kind for each in missing} == {Kind.MISSING}
    rows = expected(list({each.at: each for each in values}.values()), datetime.now(UTC))
    with psycopg.connect(here.place.dsn, autocommit=True) as connection:
        for kpi, columns in TABLES.items():
            table = sql.Identifier(f"{here.name}_{kpi}")
            connection.execute(sql.SQL("CREATE TABLE {} ").format(table) + sql.SQL(columns))
            for (of, *key), row in rows.items():
                values_of = [*key, *row[:3], None, None, *row[3:]] if kpi == "satisfaction" else [*key, *row]
                places = sql.SQL(", ").join(sql.Placeholder() * len(values_of))
                if of == kpi:
                    connection.execute(sql.SQL("INSERT INTO {} VALUES ({})").format(table, places), values_of)
        assert feed.rows() == (count, [])
        hours = sql.Identifier(f"{here.name}_satisfaction")
        connection.execute(sql.SQL("UPDATE {} SET good = good + 1 WHERE tenant = 'acme'").format(hours))
        connection.execute(sql.SQL("UPDATE {} SET tenant = 'nobody' WHERE tenant = 'marker'").format(hours))
    found = settle(here, Patience(1.0, 1.0))  # no job runs, so it stays so
    kinds = {
        json.loads(each.document_id)[2]: each.kind for _, each in found.differences if "satisf" in each.document_id
    }
    assert kinds == {"acme": Kind.STALE, "nobody": Kind.GHOST, "marker": Kind.MISSING}
    assert "the job has not committed" in found.waited_for
    events = details(here, next(each.document_id for _, each in found.differences)).events
    assert any('"event":"turn"' in each for each in events)


def _comes_before_its_turn(said: conversations.Event, known: set[str]) -> bool:
    if isinstance(said, Turn):
        known.add(said.id)
        return False
    return said.id not in known


def test_faults_are_those_of_the_job_of_kafka_and_of_postgres() -> None:
    assert {each.partition(" ")[0] for each in talks.FAULTS} == {"worker", "idle", "JVM", "job", "Kafka", "Postgres"}
