"""Events that are made here are read as the connector's own, whatever schema those have had."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.change import Change, Event, Operation, Position
from core.formats.debezium.columns import columns_of_types
from core.formats.debezium.decoding import decode
from core.formats.debezium.event import Pattern, Telling, best, fitted, made, pattern_of
from core.formats.debezium.format import DebeziumFormat
from core.formats.debezium.raw import writer
from core.formats.debezium.schema import column_schema
from core.formats.debezium.source import BACKFILLS, REPAIRS

TABLE, TOPIC = "public.things", "p.public.things"
AT = Position(f"{700:016x}.{701:016x}")
VALUES: dict[str, Any] = {
    "smallint": 7,
    "integer": 8,
    "bigint": 9_007_199_254_740_993,
    "boolean": True,
    "real": 0.5,
    "double precision": 1e300,
    "numeric(10,2)": "12.50",
    "numeric": "1.5000",
    "money": "1234.50",
    "text": "naïve 東京",
    "character varying(20)": "x",
    "uuid": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "jsonb": '{"a": [1.50, null]}',
    "date": "2024-02-29",
    "time without time zone": "12:34:56.7",
    "time(3) without time zone": "12:34:56.7",
    "timestamp without time zone": "2024-02-29 21:59:59.1234",
    "timestamp(3) without time zone": "2024-02-29 21:59:59.123",
    "timestamp with time zone": "2024-02-29 19:59:59.1234+00",
    "time with time zone": "12:34:56+02",
    "interval": "P1Y2M3DT4H5M6.7S",
    "bit(1)": "1",
    "bit(11)": "10000000011",
    "bit varying(5)": "101",
    "numeric(6,1)[]": ["1.5", None],
    "date[]": [["2024-02-29"], [None]],
    "text[]": ["a", None],
    "vector(3)": "[1,2.5,-3]",
    "sparsevec(5)": "{1:1.5,3:2}/5",
    "int4range": "[1,5)",
    "public.mood": "happy",
}
MODES = [
    DebeziumFormat(decimal_handling_mode="precise"),
    DebeziumFormat(decimal_handling_mode="string", time_precision_mode="connect"),
    DebeziumFormat(decimal_handling_mode="double", time_precision_mode="isostring", interval_handling_mode="string"),
    DebeziumFormat(decimal_handling_mode="precise", time_precision_mode="nanoseconds"),
]


def event(pattern: Pattern, raw: dict[str, Any]) -> Event:
    key, value = Telling(pattern, AT, BACKFILLS, 1_700_000_000_000_000_000).row(raw)
    return Event(TOPIC, 0, 0, key, value)


def change(pattern: Pattern, raw: dict[str, Any], settings: DebeziumFormat) -> Change:
    found = decode(event(pattern, raw), settings)
    assert isinstance(found, Change)
    return found


def written(types: dict[str, str], values: dict[str, Any], settings: DebeziumFormat) -> dict[str, Any]:
    writers = {name: writer(kind, settings) for name, kind in types.items()}
    return {name: value if (write := writers[name]) is None else write(value) for name, value in values.items()}


@pytest.mark.parametrize("settings", MODES, ids=lambda each: f"{each.decimals}-{each.time_precision_mode}")
def test_without_any_event_values_are_read_as_the_types_of_the_database_say(settings: DebeziumFormat) -> None:
    types = {f"c{number}": kind for number, kind in enumerate(VALUES)}
    raw = written(types, dict(zip(types, VALUES.values(), strict=True)), settings)
    known = columns_of_types(
        {name: kind.rpartition(".")[2] for name, kind in types.items()},
        settings.decimals == "precise",
        settings.time_precision_mode,
        settings.binary_handling_mode,
    )
    decoded = change(made(TOPIC, TABLE, types, ("c1",), settings), raw, DebeziumFormat())
    for name, value in raw.items():
        if settings.decimals == "double" and types[name].startswith(("numeric", "money")):
            assert decoded.row[name] == value  # a schema says no more of it than that it is a number
        else:
            assert decoded.row[name] == (known.readers[name](value) if name in known.readers else value), types[name]
    assert decoded.key == {"c1": 8}
    assert (decoded.table, decoded.operation, decoded.position, decoded.source) == (TABLE, Operation.UPSERT, AT, "")
    assert not decoded.unavailable | decoded.doubtful and not decoded.ends_snapshot


def of_connector(types: dict[str, str], settings: DebeziumFormat = MODES[0], name: str = "p") -> bytes:
    """A value as the connector of these modes writes it, of a row that has nulls alone but for its key."""
    pattern = made(TOPIC, TABLE, types, ("id",), settings)
    _, value = Telling(pattern, AT, name, 0).row({**dict.fromkeys(types), "id": 1})
    return value


KEY = b'{"schema":{"type":"struct","fields":[],"optional":false,"name":"p.Key"},"payload":{"id":1}}'
THEN = {"id": "integer", "price": "numeric(8,2)", "body": "text"}


def test_a_pattern_keeps_what_the_connector_says() -> None:
    pattern = pattern_of(TOPIC, KEY, of_connector(THEN), TABLE)
    assert pattern is not None and pattern.schema is not None
    assert fitted(pattern, {**THEN, "secret": "text"}, ("id",), ("body",), MODES[0]) == pattern
    key, value = Telling(pattern, AT, REPAIRS, 5_000_000).row({"id": 1, "price": "BNI=", "body": "b", "secret": "s"})
    assert key == KEY
    assert b"secret" not in value and b'"name":"freshet-verify"' in value
    assert json.loads(value)["payload"]["source"]["ts_ms"] == 5
    assert pattern_of(TOPIC, key, value, TABLE) == Pattern(**{**_fields(pattern), "source": _source(value)})


def _fields(pattern: Pattern) -> dict[str, Any]:
    names = ("topic", "key", "columns", "key_schema", "schema", "source")
    return {name: getattr(pattern, name) for name in names}


def _source(value: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(value)["payload"]["source"]
    return found


@pytest.mark.parametrize(
    ("now", "modes"),
    [
        ({**THEN, "price": "numeric(8,3)"}, MODES[0]),
        ({**THEN, "added": "date"}, MODES[0]),
        (THEN, MODES[1]),
    ],
    ids=["another scale", "a column more", "other modes than the file says"],
)
def test_a_schema_that_does_not_fit_any_more_gives_way(now: dict[str, str], modes: DebeziumFormat) -> None:
    before = pattern_of(TOPIC, KEY, of_connector(THEN, modes), TABLE)
    assert before is not None
    pattern = fitted(before, now, ("id",), ("added",), MODES[0])
    assert pattern.schema != before.schema and pattern.key_schema == before.key_schema
    values = {"id": 1, "price": "12.345", "body": "b", "added": "2024-02-29"}
    raw = written(now, {name: values[name] for name in now}, MODES[0])
    want = {"price": "12.345" if now["price"] == "numeric(8,3)" else "123.45", "body": "b", "id": 1}
    row = change(pattern, raw, DebeziumFormat()).row
    assert row == {**want, **({"added": "2024-02-29"} if "added" in now else {})}


def test_a_pattern_without_schemas_has_none() -> None:
    value = json.dumps(json.loads(of_connector(THEN))["payload"]).encode()
    pattern = pattern_of(TOPIC, b'{"id": 1}', value, TABLE)
    assert pattern is not None and pattern.schema is None
    now = {**THEN, "price": "numeric(8,3)", "added": "date"}
    pattern = fitted(pattern, now, ("id",), ("added",), MODES[0])
    assert (pattern.schema, pattern.key_schema, pattern.columns) == (None, None, frozenset(now))
    key, value = Telling(pattern, AT, BACKFILLS, 0).row({"id": 2, "price": None, "body": "x", "added": None})
    assert (key, json.loads(value)["after"]["id"]) == (b'{"id":2}', 2)


def test_a_key_whose_columns_are_gone_is_made_of_others() -> None:
    pattern = pattern_of(TOPIC, KEY.replace(b'"id":1', b'"old":1'), of_connector(THEN), TABLE)
    assert pattern is not None and pattern.key == ("old",)
    pattern = fitted(pattern, THEN, ("id",), (), MODES[0])
    assert pattern.key == ("id",) and pattern.key_schema is not None and b'"field":"id"' in pattern.key_schema


def test_events_of_a_table_without_a_primary_key_have_none() -> None:
    pattern = pattern_of(TOPIC, None, of_connector(THEN), TABLE)
    assert pattern is not None and pattern.key == ()
    key, _ = Telling(pattern, AT, BACKFILLS, 0).row({"id": 2, "price": None, "body": "x"})
    assert key is None


@pytest.mark.parametrize(
    ("key", "value"),
    [(KEY, None), (KEY, b"nonsense"), (b"7", of_connector(THEN)), (KEY, b"[]"), (KEY, b'{"source": {}}')],
)
def test_what_is_no_event_of_the_table_is_no_pattern(key: bytes, value: bytes | None) -> None:
    assert pattern_of(TOPIC, key, value, TABLE) is None
    assert pattern_of(TOPIC, KEY, of_connector(THEN), "public.others") is None


def test_the_connectors_own_events_go_before_ours() -> None:
    ours = pattern_of(TOPIC, KEY, of_connector({**THEN, "more": "text"}, name=BACKFILLS), TABLE)
    narrow = pattern_of(TOPIC, KEY, of_connector({"id": "integer", "body": "text"}), TABLE)
    wide = pattern_of(TOPIC, KEY, of_connector(THEN), TABLE)
    assert ours is not None and narrow is not None and wide is not None
    assert best([ours, narrow, wide]) == wide
    assert best([ours]) == ours
    assert best([]) is None


def test_a_type_that_is_none_is_text() -> None:
    assert column_schema("geometry(Point,4326)", MODES[0]) == {"type": "string"}
