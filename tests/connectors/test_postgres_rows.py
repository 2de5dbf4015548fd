"""Rows read from a real PostgreSQL are those that a real Debezium tells of, type by type and mode by mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from connectors.postgres.rows import Reselect
from core.change import Change
from core.errors import ConfigError
from core.formats.debezium.decoding import DebeziumFormat, decode
from stack.local import Stack
from tests.databases import new_database
from tests.debezium import connector, converters, events

COLUMNS = {
    "id": ("bigint", ["1", "2", "3", "4", "5"]),
    "flag": ("boolean", ["true", "false"]),
    "small": ("smallint", ["-7"]),
    "big": ("bigint", ["9007199254740993"]),
    "rl": ("real", ["0.1", "'NaN'", "3.4e38"]),
    "dbl": ("double precision", ["0.1", "1e300", "'Infinity'", "1.2345678901234568e17"]),
    "price": ("numeric(10,2)", ["12.50", "-0.01", "99999999.99"]),
    "free": ("numeric", ["1.5000", "-100", "123456789012345678901234567890.123456789"]),
    "t": ("text", ["'naïve 東京'", "''"]),
    "v": ("varchar(20)", ["'x'"]),
    "c": ("char(4)", ["'ab'"]),
    "u": ("uuid", ["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"]),
    "j": ("json", ["""'{"b": 1,  "a": [1.50, null]}'"""]),
    "jb": ("jsonb", ["""'{"b": 1,  "a": [1.50, null]}'"""]),
    "d": ("date", ["'2024-02-29'", "'1969-12-31'", "'12024-01-01'"]),
    "tm": ("time", ["'12:34:56.7'", "'24:00:00'", "'00:00:00'"]),
    "tm3": ("time(3)", ["'12:34:56.7'"]),
    "ts": ("timestamp", ["'2024-02-29 21:59:59.1234'", "'1969-12-31 23:59:59'", "'0044-03-15 12:00:00 BC'"]),
    "ts3": ("timestamp(3)", ["'2024-02-29 21:59:59.1234'", "'1969-12-31 23:59:59.999'"]),
    "tz": ("timestamptz", ["'2024-02-29 21:59:59.1234+02'", "'2024-01-01 00:00:00+00'", "'12024-01-01 00:00:00+00'"]),
    "tmz": ("timetz", ["'12:34:56+02'", "'12:34:56.5+00'"]),
    "iv": ("interval", ["'1 year 2 months 3 days 04:05:06.7'", "'-1 day'", "'0'", "'1 month -2 days'"]),
    "b": ("bytea", [r"'\xdeadbeff00'", r"'\x'"]),
    "ta": ("text[]", ["ARRAY['a', NULL, 'c d']", "'{}'"]),
    "ia": ("int[]", ["ARRAY[1, -2]"]),
    "na": ("numeric(6,1)[]", ["ARRAY[1.5, NULL]"]),
    "da": ("date[]", ["ARRAY['2024-02-29']::date[]"]),
    "mood": ("mood", ["'happy'"]),
    "moods": ("mood[]", ["ARRAY['happy']::mood[]"]),
    "dom": ("posint", ["5"]),
    "ip": ("inet", ["'10.0.0.1/8'"]),
    "bit1": ("bit(1)", ["B'1'"]),
    "bits": ("bit(11)", ["B'10000000011'"]),
    "m": ("money", ["'1234.5'"]),
    "vec": ("vector(3)", ["'[1,2.5,-3]'"]),
    "hv": ("halfvec(2)", ["'[1,2.5]'"]),
    "sv": ("sparsevec(5)", ["'{1:1.5,3:2}/5'"]),
    "r": ("int4range", ["'[1,5)'"]),
    "x y\"'": ("text", ["'quoted'"]),
}  # fmt: skip
MODES = [
    {},
    {"decimal.handling.mode": "string", "time.precision.mode": "connect", "binary.handling.mode": "hex"},
    {
        "decimal.handling.mode": "double",
        "time.precision.mode": "isostring",
        "binary.handling.mode": "base64-url-safe",
        "interval.handling.mode": "string",
    },
    {"time.precision.mode": "nanoseconds"},
]


@pytest.fixture(scope="module")
def database(stack: Stack) -> str:
    """A database with a row for each of the values."""
    name = f"r{uuid4().hex[:8]}"
    dsn = new_database(stack.postgres.dsn, name)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE TYPE mood AS ENUM ('happy', 'sad')")
        connection.execute("CREATE DOMAIN posint AS int CHECK (value > 0)")
        quoted = {column: '"' + column.replace('"', '""') + '"' for column in COLUMNS}
        types = ", ".join(f"{quoted[column]} {kind}" for column, (kind, _) in COLUMNS.items())
        connection.execute(f"CREATE TABLE things ({types}, PRIMARY KEY (id))".encode())
        for at in range(5):
            values = [found[at] if at < len(found) else "NULL" for _, found in COLUMNS.values()]
            connection.execute(f"INSERT INTO things VALUES ({', '.join(values)})".encode())  # noqa: S608
    return dsn


@pytest.fixture(params=MODES, ids=lambda modes: "-".join(modes.values()) or "defaults")
def modes(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    return request.param


@pytest.mark.parametrize("known", ["schemas", "types", "nothing"])
def test_rows_are_what_events_tell(stack: Stack, database: str, modes: dict[str, str], known: str) -> None:
    schemas = known == "schemas"
    with connector(stack, database, {**modes, **converters(schemas)}) as name:
        snapshot = events(stack, f"{name}.public.things", 5)
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("UPDATE things SET small = 1")
        found = [*snapshot, *events(stack, f"{name}.public.things", 10)[5:]]
    types = {"public.things": {column: kind for column, (kind, _) in COLUMNS.items()}} if known == "types" else {}
    settings = DebeziumFormat(**{mode.replace(".", "_"): value for mode, value in modes.items()}, types=types)
    source = Reselect(database, settings, schemas=schemas)
    problems = []
    for event in found:
        change = decode(event, settings)
        assert isinstance(change, Change)
        raw = source.raw_row("public.things", change.key)
        assert raw is not None
        row = source.as_in_events("public.things", raw)
        problems += [
            (event.offset, column, kind, change.row[column], row[column])
            for column, (kind, _) in COLUMNS.items()
            if column in change.row and column != "small" and not same(change.row[column], row[column])
        ]
    source.close()
    assert not problems, "\n".join(map(repr, problems))


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


KEYS = [
    ("bigint", "9007199254740993", [9007199254740993]),
    ("numeric(8,2)", "12.50", ["12.50"]),
    ("numeric", "1234", ["1234"]),
    ("text", "a'; DROP TABLE x --", ["a'; DROP TABLE x --"]),
    ("date", "2024-02-29", ["2024-02-29", 19782, "19782"]),
    ("date", "0044-03-15 BC", ["-0043-03-15", -735160]),
    ("date", "12024-01-01", ["+12024-01-01"]),
    ("timestamp(3)", "2024-02-29 21:59:59.123", ["2024-02-29T21:59:59.123", 1709243999123]),
    ("timestamptz", "2024-02-29 23:59:59.1234+02", ["2024-02-29T21:59:59.1234Z"]),
    ("timestamptz", "0001-03-15 12:00:00+00 BC", ["0000-03-15T12:00:00Z"]),
    ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    ("bytea", r"\xdeadbeef", ["3q2+7w=="]),
    ("boolean", "t", [True]),
]


@pytest.mark.parametrize(("kind", "stored", "keys"), KEYS)
def test_a_row_is_found_by_its_key_as_a_change_has_it(database: str, kind: str, stored: str, keys: list[Any]) -> None:
    name = f'k"{uuid4().hex[:8]}'
    quoted = '"' + name.replace('"', '""') + '"'
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {quoted} (n int, k {kind}, PRIMARY KEY (k, n))".encode())
        connection.execute(f"INSERT INTO {quoted} VALUES (1, %s), (2, %s)".encode(), [stored] * 2)  # noqa: S608
    source = Reselect(database)
    assert source.table(f"public.{name}").key == ("k", "n")
    for key in keys:
        found = source.row(f"public.{name}", {"n": 2, "k": key})
        assert found is not None, key
        assert found["n"] == 2
    assert source.row(f"public.{name}", {"n": 3, "k": keys[0]}) is None
    assert source.row(f"public.{name}", {"n": "no number", "k": keys[0]}) is None
    with pytest.raises(ConfigError, match="has no column x"):
        source.row(f"public.{name}", {"x": 1})
    source.close()


def test_a_snapshot_is_one_state_read_in_batches(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS many")
        connection.execute("CREATE TABLE many AS SELECT generate_series(1, 2500) AS id")
    source = Reselect(database)
    assert source.key("public.many") == ()
    with source.snapshot() as snapshot:
        read = iter(snapshot.rows("public.many", ["id"], 1000))
        first = next(read)
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("DELETE FROM many")
        batches = [first, *read]
    assert [len(batch) for batch in batches] == [100, 1000, 1000, 400]
    assert {row["id"] for batch in batches for row in batch} == set(range(1, 2501))
    source.close()


def test_a_snapshot_stays_open_where_a_table_has_an_array_of_a_type_that_is_none_of_postgresqls(database: str) -> None:
    for first in ("rows", "count"):
        source = Reselect(database)
        with source.snapshot() as snapshot:
            if first == "count":
                assert snapshot.count("public.things") >= 0
            rows = [row for batch in snapshot.rows("public.things", ["id", "moods"], 10) for row in batch]
        assert sorted((row["id"], row["moods"]) for row in rows)[:2] == [(1, ["happy"]), (2, None)]
        source.close()


def test_what_is_not_there_is_named(database: str) -> None:
    source = Reselect(database)
    with pytest.raises(ConfigError, match=r"no table public\.nothing"):
        source.table("public.nothing")
    source.close()
    with pytest.raises(ConfigError) as raised:
        Reselect("postgresql://me:hunter2@[")
    assert "hunter2" not in str(raised.value)
