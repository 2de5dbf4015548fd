"""A table read in ranges of its key: each row once, whatever the key is of, and not before what a topic tells."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from connectors.postgres import ranges as postgres_ranges
from connectors.postgres.ranges import Key, Ranges, catch_up, relations
from connectors.postgres.rows import Reselect
from core.errors import ConfigError, Unavailable
from stack.local import Stack
from tests.databases import new_database

TABLE = 'public.things "x"'
KEYS = {
    "bigint": "n",
    "text": "chr(97 + n % 7) || E'\\'; é \"' || n",
    "numeric": "(n - 20) / 7.0",
    "timestamptz": "'2024-01-01+01'::timestamptz + n * '1 hour 0.000123 s'::interval",
    "date": "CASE n WHEN 3 THEN 'infinity' ELSE '2024-01-01'::date + n END",
    "interval": "n * '1 month -3 days'::interval",
    "bytea": "decode(lpad(to_hex(n), 4, '0'), 'hex')",
    "float8": "n / 3.0::float8",
    "char(5)": "chr(97 + n % 26) || n",
    "uuid": "md5(n::text)::uuid",
    "boolean": "n % 2 = 0",
    "mood": "(ARRAY['sad', 'happy'])[1 + n % 2]::mood",
}


@pytest.fixture(scope="module")
def dsn(stack: Stack) -> str:
    name = f"r{uuid4().hex[:8]}"
    made = new_database(stack.postgres.dsn, name)
    run(made, "CREATE TYPE mood AS ENUM ('sad', 'happy')")
    return made


def run(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@pytest.fixture
def source(dsn: str) -> Iterator[Reselect]:
    run(dsn, 'DROP TABLE IF EXISTS "things ""x"""')
    made = Reselect(dsn)
    yield made
    made.close()


def read(ranges: Ranges, after: Key = (), at_once: int = 7) -> list[tuple[int, Key]]:
    return [(row["n"], key) for row, key in ranges.rows(after, lambda: at_once)]


@pytest.mark.parametrize("kind", KEYS)
def test_each_row_comes_once_from_wherever_one_goes_on(dsn: str, source: Reselect, kind: str) -> None:
    run(
        dsn,
        f'CREATE TABLE "things ""x""" (n int, "k ""%" {kind}, PRIMARY KEY ("k ""%", n))',
        f'INSERT INTO "things ""x""" SELECT n, {KEYS[kind]} FROM generate_series(1, 40) n',  # noqa: S608
    )
    table = source.table(TABLE)
    assert table.key == ('k "%', "n")
    ranges = Ranges(source, TABLE, table.key, tuple(table.types))
    found = read(ranges)
    assert sorted(n for n, _ in found) == list(range(1, 41))
    for at in (0, 13, 38, 39):
        assert read(ranges, found[at][1], 3) == found[at + 1 :]


def test_rows_that_have_no_key_are_left_out_and_those_of_one_key_may_be(dsn: str, source: Reselect) -> None:
    run(
        dsn,
        'CREATE TABLE "things ""x""" (n int, code text)',
        """INSERT INTO "things ""x\""" VALUES (1, 'a'), (2, NULL), (3, 'b'), (4, 'c')""",
    )
    ranges = Ranges(source, TABLE, ("code",), ("n", "code"))
    assert read(ranges, at_once=1) == [(1, ("a",)), (3, ("b",)), (4, ("c",))]


def test_how_many_there_are_is_the_planners_guess(dsn: str, source: Reselect) -> None:
    run(dsn, 'CREATE TABLE "things ""x""" (n int PRIMARY KEY)')
    ranges = Ranges(source, TABLE, ("n",), ("n",))
    assert ranges.about() == 0
    run(dsn, 'INSERT INTO "things ""x""" SELECT generate_series(1, 500)', 'ANALYZE "things ""x"""')
    assert ranges.about() == 500


def test_a_partitioned_table_is_read_as_one(dsn: str, source: Reselect) -> None:
    run(
        dsn,
        'CREATE TABLE "things ""x""" (n int PRIMARY KEY) PARTITION BY RANGE (n)',
        'CREATE TABLE IF NOT EXISTS low PARTITION OF "things ""x""" FOR VALUES FROM (0) TO (10)',
        'CREATE TABLE IF NOT EXISTS high PARTITION OF "things ""x""" FOR VALUES FROM (10) TO (100)',
        'INSERT INTO "things ""x""" SELECT generate_series(0, 29)',
        "ANALYZE low",
        "ANALYZE high",
    )
    ranges = Ranges(source, TABLE, ("n",), ("n",))
    assert [n for n, _ in read(ranges)] == list(range(30))
    assert ranges.about() == 30
    found = {each.name: (each.partitioned, each.root) for each in relations(source)}
    assert found == {TABLE: (True, ""), "public.low": (False, TABLE), "public.high": (False, TABLE)}


def test_what_cannot_be_read_is_an_error(dsn: str, source: Reselect) -> None:
    run(dsn, 'CREATE TABLE "things ""x""" (n int PRIMARY KEY)', 'INSERT INTO "things ""x""" VALUES (1)')
    ranges = Ranges(source, TABLE, ("n",), ("n",))
    assert source.table(TABLE).key == ("n",)
    rows = ranges.rows((), lambda: 10)
    run(dsn, 'ALTER TABLE "things ""x""" RENAME n TO m')
    with pytest.raises(ConfigError, match=r"reselect\.postgres: PostgreSQL at 127\.0\.0\.1"):
        next(rows)


def test_a_transaction_that_is_not_seen_yet_is_waited_for(dsn: str, source: Reselect) -> None:
    """As one of which a connector has sent events while it waits for its standby."""
    run(dsn, 'CREATE TABLE "things ""x""" (n int PRIMARY KEY)')
    with psycopg.connect(dsn) as other:
        other.execute(b'INSERT INTO "things ""x""" VALUES (1)')
        ((transaction,),) = other.execute("SELECT pg_current_xact_id()::text::bigint % (2::bigint ^ 32)::bigint")
        ranges = Ranges(source, TABLE, ("n",), ("n",), frozenset({transaction}))
        with pytest.raises(Unavailable, match=f"doesn't show transaction {transaction} yet, and the topic has events"):
            next(ranges.rows((), lambda: 10))
        done = threading.Event()

        def wait() -> None:
            with_own = Reselect(dsn)
            catch_up(with_own, frozenset({transaction}))
            with_own.close()
            done.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not done.wait(0.5)
        other.commit()
        waiting.join(10)
    assert done.is_set()
    assert [n for n, _ in read(ranges)] == [1]


def test_one_that_goes_on_is_not_waited_for_long(dsn: str, source: Reselect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_ranges, "_PATIENCE_S", 0.2)
    with psycopg.connect(dsn) as other:
        other.execute(b"CREATE TEMPORARY TABLE own AS SELECT 1")
        started = time.monotonic()
        catch_up(source, frozenset())
        assert 0.5 < time.monotonic() - started < 5
        ((transaction,),) = other.execute("SELECT pg_current_xact_id()::text::bigint")
        with pytest.raises(Unavailable, match="a replica that is behind"):
            catch_up(source, frozenset({transaction}))
