from __future__ import annotations

import gzip
import json
import pickle
from contextlib import suppress
from dataclasses import replace
from hashlib import md5
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.change import Change, Event, Operation, Skip, Truncate
from core.errors import DecodeError
from core.formats.debezium.decoding import UNAVAILABLE, DebeziumFormat, decode, position

RECORDING = Path(__file__).parents[2] / "fixtures" / "debezium" / "workload.jsonl.gz"

SOURCE = {"connector": "postgresql", "schema": "public", "table": "a", "lsn": 20, "sequence": '["10","20"]', "ts_ms": 5}


def event(value: Any, key: Any = None) -> Event:
    return Event("t", 0, 0, json.dumps(key or {"id": 1}).encode(), json.dumps(value).encode())


def recorded() -> list[Event]:
    lines = [json.loads(line) for line in gzip.decompress(RECORDING.read_bytes()).splitlines()]
    return [
        Event(
            line["topic"],
            line["partition"],
            line["offset"],
            json.dumps(line["key"]).encode(),
            None if line["value"] is None else json.dumps(line["value"]).encode(),
        )
        for line in lines
    ]


def test_recorded_positions_rise_within_each_key() -> None:
    last: dict[tuple[str, str], str] = {}
    for each in sorted(recorded(), key=lambda it: (it.topic, it.partition, it.offset)):
        change = decode(each)
        if isinstance(change, Skip):
            continue
        key = (change.table, json.dumps(change.key))
        assert last.get(key, "") < change.position
        last[key] = change.position
    assert len(last) > 1000


def test_create() -> None:
    change = decode(
        event({"op": "c", "before": None, "after": {"id": 1, "t": "x", "b": UNAVAILABLE}, "source": SOURCE})
    )
    assert isinstance(change, Change)
    assert (change.table, change.key, change.operation) == ("public.a", {"id": 1}, Operation.UPSERT)
    assert change.unavailable == {"b"}
    assert change.committed_ms == 5


def test_delete_keeps_what_is_known() -> None:
    change = decode(event({"op": "d", "before": {"id": 1, "t": None}, "after": None, "source": SOURCE}))
    assert isinstance(change, Change)
    assert (change.operation, change.row) == (Operation.DELETE, {"id": 1, "t": None})


def test_envelope_with_schema() -> None:
    bare = {"op": "c", "after": {"id": 1}, "source": SOURCE}
    wrapped = event({"schema": {}, "payload": bare}, {"schema": {}, "payload": {"id": 1}})
    assert decode(wrapped) == decode(event(bare))


def test_order_around_a_snapshot() -> None:
    """What committed after a snapshot is later than it, even at a lower log position; a new snapshot is later too."""
    snapshot = position({"lsn": 100, "sequence": '[null,"100"]'}, snapshot=True)
    straddling = position({"lsn": 90, "sequence": '["100","90"]'}, snapshot=False)
    first = position({"lsn": 110, "sequence": '[null,"110"]'}, snapshot=False)
    incremental = position({"lsn": None, "sequence": '["120","130"]'}, snapshot=True)
    after = position({"lsn": 140, "sequence": '["130","140"]'}, snapshot=False)
    again = position({"lsn": 150, "sequence": '[null,"150"]'}, snapshot=True)
    assert snapshot < straddling < first < incremental < after < again


def test_mysql_positions_compare_as_numbers() -> None:
    early = position({"file": "binlog.000009", "pos": 900, "row": 1}, snapshot=False)
    late = position({"file": "binlog.000010", "pos": 4, "row": 0}, snapshot=False)
    assert early < late


ROW = {"before": None, "after": {"id": 1, "t": "x"}, "op": "c", "source": SOURCE}
DDL = {"databaseName": "shop", "schemaName": None, "ddl": "ALTER TABLE a", "tableChanges": []}
MYSQL = {"connector": "mysql", "db": "shop", "table": "a", "file": "binlog.000009", "pos": 4, "row": 0, "ts_ms": 5}
NOTIFICATION = {"id": "1", "aggregate_type": "Initial Snapshot", "type": "COMPLETED", "additional_data": {}}
SIGNAL = {"id": "x", "type": "snapshot-window-open", "data": None}
OLD, NEW = {"__debezium.oldkey": b'{"id":4}'}, {"__debezium.newkey": b'{"id":40}'}
CONTEXT = {"__debezium.context.connectorName": b"postgresql"}
BASE64 = "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="


@pytest.mark.parametrize(
    ("value", "skip"),
    [
        ({"status": "BEGIN", "id": "1:2"}, Skip.TRANSACTION),
        ({"status": "END", "id": "1:2", "event_count": 1, "data_collections": [], "ts_ms": 1}, Skip.TRANSACTION),
        ({"ts_ms": 1}, Skip.HEARTBEAT),
        ({"ts_ms": 1, "ts_us": 1, "ts_ns": 1}, Skip.HEARTBEAT),
        ({"op": "m", "source": SOURCE, "message": {}}, Skip.MESSAGE),
        ({"source": MYSQL, "ts_ms": 1, **DDL}, Skip.SCHEMA_CHANGE),
        ({"source": {"server": "s"}, "position": {"pos": 4}, **DDL}, Skip.SCHEMA_CHANGE),
        (DDL, Skip.SCHEMA_CHANGE),
        (NOTIFICATION, Skip.NOTIFICATION),
        ({**NOTIFICATION, "timestamp": 1}, Skip.NOTIFICATION),
    ],
)
def test_events_without_a_row(value: Any, skip: Skip) -> None:
    assert decode(event(value)) is skip
    assert decode(event({"schema": {"type": "struct"}, "payload": value})) is skip


def test_a_table_that_looks_like_signals_has_rows() -> None:
    assert isinstance(decode(event({**ROW, "after": SIGNAL})), Change)
    assert isinstance(decode(event({**ROW, "after": {**SIGNAL, "type": "log"}})), Change)
    assert isinstance(decode(event({**ROW, "after": {**SIGNAL, "note": ""}})), Change)


def test_truncate() -> None:
    truncate = decode(Event("t", 0, 0, None, json.dumps({**ROW, "after": None, "op": "t"}).encode()))
    assert truncate == Truncate("public.a", position(SOURCE, snapshot=False), 5)
    assert decode(event({"op": "t", "source": MYSQL})) == Truncate(
        "shop.a", position(MYSQL, snapshot=False, came=f"{0:020d}"), 5
    )


def test_a_table_without_a_key() -> None:
    change = decode(Event("t", 0, 0, None, json.dumps(ROW).encode()))
    assert isinstance(change, Change)
    assert change.key == {}


def test_moves() -> None:
    create = decode(replace(event(ROW), headers=OLD))
    delete = decode(replace(event({**ROW, "op": "d", "before": {"id": 1}, "after": None}), headers=NEW))
    assert isinstance(create, Change) and isinstance(delete, Change)
    assert (create.moves, delete.moves, create.position) == (True, True, delete.position)
    plain = decode(replace(event(ROW), headers=CONTEXT))
    assert isinstance(plain, Change) and not plain.moves


@pytest.mark.parametrize(
    ("op", "snapshot", "ends"),
    [
        ("r", "last", True),
        ("r", "last_in_data_collection", True),
        ("r", "true", False),
        ("r", "first", False),
        ("r", "incremental", False),
        ("r", True, False),
        ("c", "last", False),
    ],
)
def test_ends_of_snapshots(op: str, snapshot: Any, ends: bool) -> None:
    change = decode(event({**ROW, "op": op, "source": {**SOURCE, "snapshot": snapshot}}))
    assert isinstance(change, Change)
    assert change.ends_snapshot is ends


@pytest.mark.parametrize(
    "marker",
    [
        UNAVAILABLE,
        BASE64,
        UNAVAILABLE.encode().hex(),
        [UNAVAILABLE],
        [BASE64],
        list(UNAVAILABLE.encode()),
        ["e2b20ab3-d2c2-3dd9-94a7-a68bd3dfd2a0"],
        {UNAVAILABLE: UNAVAILABLE},
        f'{{"{UNAVAILABLE}":"{UNAVAILABLE}"}}',
    ],
)
def test_unavailable_in_each_type(marker: Any) -> None:
    if marker == ["e2b20ab3-d2c2-3dd9-94a7-a68bd3dfd2a0"]:
        digest = bytearray(md5(UNAVAILABLE.encode()).digest())
        digest[6], digest[8] = digest[6] & 15 | 48, digest[8] & 63 | 128
        marker = [str(UUID(bytes=bytes(digest)))]
    update = {**ROW, "op": "u", "after": {"id": 1, "t": marker, "other": "x"}}
    types = {"public.a": {"t": "date[]" if isinstance(marker, list) else "text"}}
    for each in (update, {"schema": {}, "payload": update}):
        change = decode(replace(event(each), headers=CONTEXT), DebeziumFormat(types=types))
        assert isinstance(change, Change)
        assert change.unavailable == {"t"}


def test_placeholders_of_other_connectors() -> None:
    update = {**ROW, "op": "u", "after": {"a": "gone", "b": [-1, 103], "c": "Z29uZQ==", "d": UNAVAILABLE}}
    change = decode(event(update), DebeziumFormat(unavailable_value_placeholder="gone"))
    assert isinstance(change, Change) and change.unavailable == {"a", "c"}
    change = decode(event(update), DebeziumFormat(unavailable_value_placeholder="hex:FF67"))
    assert isinstance(change, Change) and change.unavailable == {"b"}


@pytest.mark.parametrize(
    ("op", "headers", "unavailable"),
    [
        ("u", CONTEXT, {"t"}),
        ("u", {}, {"t"}),
        ("c", CONTEXT | OLD, {"t"}),
        ("c", {}, {"t"}),
        ("c", CONTEXT, set()),
        ("r", {}, set()),
    ],
)
def test_where_a_value_can_be_unavailable(op: str, headers: dict[str, bytes], unavailable: set[str]) -> None:
    envelope = {**ROW, "op": op, "after": {"id": 1, "t": UNAVAILABLE}}
    change = decode(replace(event(envelope), headers=headers))
    assert isinstance(change, Change) and change.unavailable == unavailable


def test_a_full_image_and_mysql_have_every_value() -> None:
    update = {**ROW, "op": "u", "after": {"id": 1, "t": UNAVAILABLE}}
    for each in ({**update, "before": {"id": 1, "t": "was"}}, {**update, "source": MYSQL}):
        change = decode(event(each))
        assert isinstance(change, Change) and change.unavailable == frozenset()
    index_only = decode(event({**update, "before": {"id": 0, "t": ""}}))
    assert isinstance(index_only, Change) and index_only.unavailable == {"t"}


@pytest.mark.parametrize(
    ("sql_type", "doubt"),
    [
        ("vector(3)", True),
        ("public.vector(3)", True),
        ("halfvec", True),
        ("sparsevec(9)", True),
        ("numeric", True),
        ("numeric(200,2)", True),
        ("numeric(10,2)", False),
        ("double precision[]", True),
        ("numeric[]", True),
        ("geometry(Point,4326)", True),
        ("geometry", True),
        ("text[]", False),
        ("varchar(20)[]", False),
        ("int[]", False),
        ("text", False),
    ],
)
def test_doubtful_nulls(sql_type: str, doubt: bool) -> None:
    settings = DebeziumFormat(types={"public.a": {"v": sql_type}})
    nulled = {**ROW, "after": {"id": 1, "v": None}}

    def doubtful(headers: dict[str, bytes], **fields: Any) -> frozenset[str]:
        change = decode(replace(event(nulled | fields), headers=headers), settings)
        assert isinstance(change, Change)
        return change.doubtful

    expected = frozenset("v") if doubt else frozenset()
    assert doubtful(CONTEXT, op="u") == expected
    assert doubtful(CONTEXT | OLD, op="c") == expected
    assert doubtful(CONTEXT, op="c") == doubtful(CONTEXT, op="r") == frozenset()
    assert doubtful(CONTEXT, op="u", before={"id": 1, "v": None}) == frozenset()
    assert doubtful(CONTEXT, op="u", after={"id": 1}) == frozenset()


def test_keys_are_written_as_rows_are() -> None:
    settings = DebeziumFormat(types={"public.a": {"id": "numeric(10,0)", "day": "date"}})
    change = decode(event(ROW, {"id": "BQ==", "day": 19782}), settings)
    assert isinstance(change, Change) and change.key == {"id": "5", "day": "2024-02-29"}
    untyped = decode(event(ROW, {"id": "BQ==", "n": {"scale": 0, "value": "BQ=="}}))
    assert isinstance(untyped, Change) and untyped.key == {"id": "BQ==", "n": "5"}


@pytest.mark.parametrize("key", [{"schema": "x", "payload": "y"}, {"schema": "x", "payload": 1}, {"payload": 1}])
def test_a_bare_key_with_columns_of_a_wrapper(key: dict[str, Any]) -> None:
    change = decode(event(ROW, key))
    assert isinstance(change, Change) and change.key == key


@pytest.mark.parametrize("schema", [None, {}, {"type": "struct", "fields": 5}, {"fields": [None, {"field": 1}]}])
def test_wrappers_of_any_order_and_schema(schema: Any) -> None:
    for wrapped in ({"schema": schema, "payload": ROW}, {"payload": ROW, "schema": schema}):
        change = decode(event(wrapped, {"payload": {"id": 7}, "schema": schema}))
        assert isinstance(change, Change) and change.key == {"id": 7}
        assert change.row == ROW["after"]
    assert decode(event({"schema": schema, "payload": None})) is Skip.TOMBSTONE


def test_mysql() -> None:
    change = decode(event({**ROW, "source": MYSQL}))
    assert isinstance(change, Change)
    assert change.table == "shop.a"
    read = position({**MYSQL, "snapshot": "true"}, snapshot=True)
    assert read <= change.position < position({**MYSQL, "pos": 5}, snapshot=False)
    assert len({len(position({**MYSQL, "pos": pos}, snapshot=False)) for pos in (4, 2**40)}) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"decimal_handling_mode": "exact"},
        {"time_precision_mode": "fast"},
        {"binary_handling_mode": "bits"},
        {"interval_handling_mode": ""},
        {"unavailable_value_placeholder": ""},
        {"unavailable_value_placeholder": "hex:xyz"},
    ],
)
def test_options_that_debezium_lacks(options: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        DebeziumFormat(**options)


def test_a_format_travels() -> None:
    settings = DebeziumFormat(types={"public.a": {"t": "date", "n": "numeric[]"}})
    update = event({**ROW, "after": {"t": 19782}})
    assert decode(update, settings) == decode(update, pickle.loads(pickle.dumps(settings)))
    assert settings.markers and pickle.loads(pickle.dumps(settings)) == settings


DEEP = b"[" * 500 + b"]" * 500
HOSTILE = json.dumps({**ROW, "after": "HERE"}).encode()


@pytest.mark.parametrize(
    "raw",
    [
        HOSTILE.replace(b'"HERE"', b'{"a":' + DEEP + b"}"),
        HOSTILE.replace(b'"HERE"', b'{"a":NaN}'),
        HOSTILE.replace(b'"HERE"', b'{"a":1e999}'),
        HOSTILE.replace(b'"HERE"', b'{"a":' + b"9" * 5000 + b"}"),
        HOSTILE.replace(b'"HERE"', b"7" * 400),
        HOSTILE.replace(b'"HERE"', b'{"a":"\xff"}'),
        HOSTILE.replace(b'"HERE"', b'["SECRET"]'),
        b'{"schema":{"a":"\xff"},"payload":' + json.dumps(ROW).encode() + b"}",
        b'{"schema":{},"payload":5}',
        json.dumps({**ROW, "source": {**SOURCE, "sequence": "[" * 5000}}).encode(),
        json.dumps({**ROW, "source": {**SOURCE, "sequence": f'["{"9" * 5000}","1"]'}}).encode(),
        json.dumps({**ROW, "source": {**SOURCE, "sequence": "[1e300,1]"}}).encode(),
        json.dumps({**ROW, "source": {**MYSQL, "file": "binlog." + "9" * 5000}}).encode(),
        json.dumps({**ROW, "source": {**MYSQL, "pos": "SECRET" * 999}}).encode(),
        json.dumps({**ROW, "op": ["SECRET"] * 99}).encode(),
        json.dumps({**ROW, "op": 10**4000}).encode(),
    ],
)
def test_hostile_bytes_are_refused_in_few_words(raw: bytes) -> None:
    with pytest.raises(DecodeError) as refused:
        decode(Event("t", 0, 0, b'{"id":1}', raw))
    assert len(str(refused.value)) < 300
    assert str(refused.value).count("SECRET") <= 10


def test_five_megabytes() -> None:
    change = decode(event({**ROW, "after": {"t": "x" * 5_000_000}}))
    assert isinstance(change, Change) and len(change.row["t"]) == 5_000_000
    with pytest.raises(DecodeError, match="bytes, must be"):
        bomb = {**ROW, "after": {"t": "A" * 5_000_000}}
        decode(event(bomb), DebeziumFormat(types={"public.a": {"t": "numeric(10,2)"}}))


def test_the_last_of_two_equal_names_counts() -> None:
    raw = json.dumps(ROW).encode().replace(b'"t": "x"', b'"t": "x", "t": "y"')
    change = decode(Event("t", 0, 0, b'{"id":1}', raw))
    assert isinstance(change, Change) and change.row["t"] == "y"


def test_tombstone() -> None:
    assert decode(Event("t", 0, 0, b'{"id":1}', None)) is Skip.TOMBSTONE


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"\xff\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "no source"),
        (json.dumps({"op": "c", "source": SOURCE}).encode(), "op is 'c' but 'after' is None"),
        (json.dumps({"op": "x", "after": {}, "source": SOURCE}).encode(), "op is 'x', must be one of"),
        (json.dumps({"op": "c", "after": {}, "source": {"schema": "a", "table": "b"}}).encode(), "nothing orders"),
        (b'{"op":"c","after":{"a":"\\ud800"},"source":{}}', "not JSON"),
        (b'{"op":"c","after":{},"source":{"schema":"a","table":"b","sequence":"[1]"}}', "must be a JSON pair"),
        (b'{"op":"c","after":{},"source":{"schema":"a","table":1,"lsn":1}}', "names the table 1"),
    ],
)
def test_what_is_no_change_says_why(value: bytes, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        decode(Event("t", 0, 0, b'{"id":1}', value))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["op", "before", "after", "source", "ts_ms", "transaction"]
source_blocks = st.dictionaries(
    st.sampled_from(["schema", "table", "db", "lsn", "sequence", "file", "pos", "row", "ts_ms"]), json_values
)


@given(st.binary() | st.none(), st.binary() | st.none())
def test_arbitrary_bytes_raise_nothing_but_a_decode_error(key: bytes | None, value: bytes | None) -> None:
    decodes_or_refuses(Event("t", 0, 0, key, value))


@given(st.dictionaries(st.sampled_from(FIELDS), json_values), st.none() | source_blocks, st.sampled_from("crudtm"))
def test_mutated_envelopes_raise_nothing_but_a_decode_error(value: Any, source: Any, op: str) -> None:
    decodes_or_refuses(event({"op": op, **value, **({"source": source} if source is not None else {})}))


def decodes_or_refuses(each: Event) -> None:
    with suppress(DecodeError):
        assert isinstance(decode(each), Change | Truncate | Skip)
