"""Events of the kinds that people report trouble with, through decoder and plan: what is right of each."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from core.change import Change, Event, Operation, Position
from core.config.pipeline import Pipeline
from core.decoding import Decoder, decoder
from core.documents.step import Chunker, DocumentState, Refused, document_id, state_from_bytes, state_to_bytes, step
from core.errors import ChangeError, DecodeError, DocumentError
from core.formats.debezium.doubt import may_be, remedy
from core.formats.debezium.position import position
from core.formats.tables import Tables, kin_of
from core.plans import Plan

CASES = Path(__file__).parents[2] / "fixtures" / "cases"
WHOLE = Chunker("whole", lambda text: [(0, len(text))])
KAFKA = {"kafka": {"topic": "t", "properties.bootstrap.servers": "127.0.0.1:1"}}
Row = tuple[str, dict[str, Any]]


def pipeline(table: str, format_: Any = "debezium", **document: Any) -> Pipeline:
    return Pipeline.model_validate(
        {
            "name": "cases",
            "source": KAFKA,
            "format": format_,
            "documents": {table: {"text": "{title}", **document}},
            "store": {"pgvector": {"dsn": "postgresql://x", "table": "t"}},
            "dead_letters": {"kafka": {"topic": "letters"}},
        }
    )


def raw(value: Any) -> bytes | None:
    return None if value is None else value.encode() if isinstance(value, str) else json.dumps(value).encode()


def case(name: str) -> list[Event]:
    lines = [json.loads(line) for line in (CASES / name).read_text().splitlines()]
    return [Event("t", 0, at, raw(line["key"]), raw(line["value"])) for at, line in enumerate(lines)]


def rows(events: list[Event], of: Pipeline) -> tuple[dict[str, Row], list[str]]:
    """The documents that the events end in, text and metadata; and the reasons of dead letters."""
    decode: Decoder = decoder(of.events)
    states: dict[str, DocumentState | None] = {}
    found: dict[str, Row] = {}
    letters = []
    for event in events:
        try:
            for change in decode(event):
                assert isinstance(change, Change)
                spec = of.documents[change.table].spec(change.table)
                identity = document_id(spec, change)
                state, emitted = step(states.get(identity), change, spec, "m", WHOLE)
                states[identity] = None if state is None else state_from_bytes(state_to_bytes(state))
                for each in emitted:
                    if isinstance(each, Refused):
                        letters.append(str(each.error))
                    elif isinstance(each, Plan):
                        found.pop(identity, None)
                        if each.chunk_ids:
                            found[identity] = (each.write[0].text, dict(each.metadata))
                    else:
                        assert each.change.operation is Operation.REFUSED, "nothing else is left open here"
        except ChangeError as error:
            letters.append(str(error))
    return found, letters


def test_compressed_transactions_of_mysql() -> None:
    documents, letters = rows(case("01-mysql-compressed-transaction.jsonl"), pipeline("shop.articles"))
    assert (documents, letters) == ({"shop.articles/1": ("final text", {})}, [])


BINLOG = {"connector": "mysql", "db": "shop", "table": "a", "file": "binlog.000009", "pos": 4, "row": 0}
offsets = st.integers(0, 2**59)


@given(st.integers(0, 2**40), st.integers(0, 2**40), offsets, offsets, st.integers(0, 9), st.integers(0, 9))
def test_mysql_positions_compare_by_place_then_by_arrival(
    one: int, other: int, came: int, later: int, row: int, next_row: int
) -> None:
    """An event of a compressed transaction may have a lower row than one before it: rows count anew in each."""

    def at(pos: int, number: int, offset: int) -> Position:
        return position({**BINLOG, "pos": pos, "row": number}, False, f"{offset:020d}")

    assert (at(one, row, came) < at(other, next_row, later)) == ((one, came) < (other, later))
    snapshot = position({**BINLOG, "pos": one}, snapshot=True, came=f"{came:020d}")
    earlier_release = Position(f"{9:016x}.{one:016x}.{row:016x}")
    assert snapshot < at(one, row, came) and earlier_release < at(one, row, came)
    assert len({len(snapshot), len(earlier_release), len(at(other, row, came))}) == 1
    assert (earlier_release < at(other, row, came)) == (one <= other)


def test_the_rows_of_a_snapshot_of_mysql_are_equal() -> None:
    """A sweep clears what is below the last of them."""
    ats = {position(BINLOG, snapshot=True, came=f"{offset:020d}") for offset in range(5)}
    assert ats == {position(BINLOG, snapshot=True)}


def test_partitions_of_postgresql() -> None:
    events = case("02-postgres-partitions.jsonl")
    documents, letters = rows(events, pipeline("public.ev", tables=[r"public\.ev_\d{4}"]))
    expected = {
        "public.ev/2/2025": ("changed after snapshot", {}),
        "public.ev/3/2024": ("inserted after snapshot", {}),
    }
    assert (documents, letters) == (expected, [])


def test_a_partition_that_is_truncated_empties_no_other() -> None:
    event = json.loads((case("02-postgres-partitions.jsonl")[1].value or b"").decode())
    truncated = Event("t", 0, 0, None, json.dumps({**event, "op": "t", "after": None}).encode())
    decode = decoder(pipeline("public.ev", tables=[r"public\.ev_\d{4}"]).events)
    with pytest.raises(DecodeError, match=r"public.ev_2025 was truncated, .* documents of public.ev: .*--repair"):
        decode(truncated)


def test_the_end_of_a_partitions_own_snapshot_sweeps_nothing() -> None:
    event = json.loads((case("02-postgres-partitions.jsonl")[0].value or b"").decode())
    event["source"]["table"] = "ev_2025"
    (change,) = decoder(pipeline("public.ev", tables=[r"public\.ev_\d{4}"]).events)(Event("t", 0, 0, None, raw(event)))
    assert isinstance(change, Change) and change.table == "public.ev" and not change.ends_snapshot


@pytest.mark.parametrize(
    ("table", "kin"),
    [
        ("public.ev_2025", True),
        ("public.ev_p2025_01", True),
        ("public.ev2025", True),
        ("public.ev_default", True),
        ("public.events", False),
        ("public.ev_types", False),
        ("other.ev_2025", False),
    ],
)
def test_tables_that_look_like_partitions(table: str, kin: bool) -> None:
    assert kin_of(table, frozenset({"public.ev"})) == ("public.ev" if kin else "")


def test_patterns_match_whole_names_and_the_named_table_is_itself() -> None:
    tables = Tables({"a.ev": (r"a\.ev_.*", "b.ev"), "a.ev_x": (r"a\.y",)})
    assert [tables.of(each) for each in ("a.ev", "a.ev_1", "b.ev", "a.ev_x", "a.y", "c.a.ev_1", "b.evx")] == [
        *("a.ev", "a.ev", "a.ev", "a.ev_x", "a.ev_x", "c.a.ev_1", "b.evx")
    ]


def test_unwrapped_rows_in_schema_envelopes() -> None:
    of = pipeline("articles", {"rows": {"table": "articles", "operation_field": "__deleted"}})
    assert rows(case("04-unwrapped-with-schema.jsonl"), of) == ({"articles/1": ("one", {})}, [])


def test_what_a_schema_says_of_unwrapped_rows() -> None:
    scaled = {"name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "2"}}
    fields = [
        {"type": "int32", "field": "id"},
        {"type": "bytes", "field": "price", **scaled},
        {"type": "int32", "name": "io.debezium.time.Date", "field": "born"},
    ]
    value = {"schema": {"type": "struct", "fields": fields}, "payload": {"id": 1, "price": "BNI=", "born": 19782}}
    (change,) = decoder(pipeline("a", {"rows": {"table": "a"}}).events)(Event("t", 0, 0, None, raw(value)))
    assert isinstance(change, Change)
    assert (change.row, change.numbers) == ({"id": 1, "price": "12.34", "born": "2024-02-29"}, {"price"})


def test_columns_called_schema_and_payload() -> None:
    row = {"schema": {"version": 2}, "payload": {"title": "x"}}
    (change,) = decoder(pipeline("a", {"rows": {"table": "a"}}).events)(Event("t", 0, 0, b'{"id":1}', raw(row)))
    assert isinstance(change, Change) and change.row == row


@pytest.mark.parametrize("format_", ["debezium", {"rows": {"table": "shop.articles"}}, "dynamodb"])
def test_schema_registries_are_named(format_: Any) -> None:
    key, value = (
        bytes.fromhex(line.split()[1]) for line in (CASES / "05-json-schema-registry.hex").read_text().splitlines()
    )
    of = pipeline("shop.articles", format_)
    with pytest.raises(DecodeError, match=r"Confluent's schema registry \(its schema there is 6\): .*JsonConverter"):
        decoder(of.events)(Event("t", 0, 0, key, value))
    glue = b"\x03\x00" + bytes(range(16)) + value[5:]
    with pytest.raises(DecodeError, match=r"AWS Glue's schema registry \(schema version 00010203-"):
        decoder(of.events)(Event("t", 0, 0, None, glue))
    with pytest.raises(DecodeError, match="UTF-16"):
        decoder(of.events)(Event("t", 0, 0, None, '{"a":1}'.encode("utf-16")))


@pytest.mark.parametrize(
    ("name", "connectors"), [("06-mongodb", ["mongodb"]), ("07-sqlserver-oracle", ["sqlserver", "oracle"])]
)
def test_connectors_that_are_not_read_are_named(name: str, connectors: list[str]) -> None:
    _, letters = rows(case(f"{name}.jsonl"), pipeline("shop.articles"))
    assert [letter.split(":")[0] for letter in letters] == [f"source.connector is {each!r}" for each in connectors]


def test_json_and_bits() -> None:
    of = pipeline("shop.articles", metadata=["attrs", "flags", "attrs.lang"])
    documents, letters = rows(case("19-json-and-bit-columns.jsonl"), of)
    metadata = {"attrs": {"lang": "de"}, "flags": "10110000", "attrs.lang": "de"}
    assert (documents, letters) == ({"shop.articles/3": ("t", metadata)}, [])


def test_what_nothing_tells_is_refused_by_name() -> None:
    events = case("20-decimals-and-dates-without-schema.jsonl")
    for column in ("price", "born"):
        documents, letters = rows(events, pipeline("shop.articles", metadata=[column]))
        assert documents == {} and f"shop.articles.{column} is" in letters[0] and "schemas.enable" in letters[0]
    types = {"price": "decimal(10,2)", "born": "date"}
    documents, letters = rows(events, pipeline("shop.articles", metadata=["price", "born"], types=types))
    assert (documents, letters) == ({"shop.articles/3": ("t", {"price": "5.00", "born": "2024-02-29"})}, [])


@pytest.mark.parametrize(
    ("value", "doubtful"),
    [
        *(("AfQ=", True), ("AA==", True), ("BNI8", True), (19782, True), ("a2Fj", True)),
        *(("Blue", False), ("blue", False), ("2024", False), ("two words", False), ("abc", False), ("", False)),
        *((True, False), (None, False), (1.5, False), ({"a": 1}, False), ("A" * 400 + "b1==", False)),
        *(([19782], True), ([[None, 1.5], ["AfQ="]], True), ([], False), (["blue", None], False), ([[]], False)),
    ],
)
def test_doubtful_values(value: Any, doubtful: bool) -> None:
    assert bool(may_be(value)) is doubtful


@pytest.mark.parametrize(
    ("value", "types"),
    [
        ("eBay", 'types: {a: text} or {a: "numeric(10,2)"}'),
        (7, "types: {a: integer} or {a: date}"),
        ([None, 7], 'types: {a: "integer[]"} or {a: "date[]"}'),
        ([["eBay"]], 'types: {a: "text[]"} or {a: "numeric(10,2)[]"}'),
    ],
)
def test_the_remedy_is_of_the_values_kind(value: Any, types: str) -> None:
    said = remedy("a", value)
    assert said.endswith(types)
    *_, first, second = said.split("{")
    read = [yaml.safe_load("{" + each.split("}")[0] + "}")["a"] for each in (first, second)]
    of = pipeline("shop.articles", text="{id}", metadata=["a"], types={"a": read[0]})
    envelope = {"op": "c", "after": {"id": 1, "a": value}, "source": {**BINLOG, "table": "articles"}}
    documents, letters = rows([Event("t", 0, 0, b'{"id":1}', raw(envelope))], of)
    assert (documents["shop.articles/1"][1], letters) == ({"a": value}, [])
    pipeline("shop.articles", text="{id}", metadata=["a"], types={"a": read[1]})


def test_a_schema_goes_before_types() -> None:
    """A number column in string mode was read as base64: `1250` became -26587.00."""
    fields = [{"type": "string", "field": "price"}, {"type": "int32", "field": "id"}]
    envelope = {"op": "c", "after": {"id": 1, "price": "1250"}, "source": {**BINLOG, "table": "articles"}}
    value = {"schema": {"type": "struct", "fields": [{"field": "after", "fields": fields}]}, "payload": envelope}
    of = pipeline("shop.articles", metadata=["price"], text="{id}", types={"price": "numeric(10,2)"})
    assert rows([Event("t", 0, 0, b'{"id":1}', raw(value))], of)[0]["shop.articles/1"][1] == {"price": "1250"}
    _, letters = rows([Event("t", 0, 0, b'{"id":1}', raw(envelope))], of)
    assert "decimal.handling.mode" in letters[0]
    precise = pipeline(
        "shop.articles",
        {"debezium": {"decimal.handling.mode": "precise"}},
        metadata=["price"],
        text="{id}",
        types={"price": "numeric(10,2)"},
    )
    assert rows([Event("t", 0, 0, b'{"id":1}', raw(envelope))], precise)[0]["shop.articles/1"][1] == {
        "price": "-26587.00"
    }


def test_keys_that_are_not_needed() -> None:
    events = case("21-plain-keys.jsonl")
    assert rows(events, pipeline("public.articles", key=["id"])) == (
        {"public.articles/1": ("key by ExtractField", {})},
        [],
    )
    assert rows(events[1:], pipeline("public.articles", key=["id"]))[0]["public.articles/1"][0] == (
        "key by StringConverter"
    )
    _, letters = rows(events, pipeline("public.articles"))
    assert len(letters) == 2 and all("as key of public.articles" in letter for letter in letters)


@pytest.mark.parametrize("value", [b"", None, b"null"])
def test_empty_values_are_tombstones(value: bytes | None) -> None:
    assert list(decoder(pipeline("public.a").events)(Event("t", 0, 0, b'{"id":1}', value))) == ["tombstone"]
    (gone,) = decoder(pipeline("a", {"rows": {"table": "a"}}).events)(Event("t", 0, 0, b'{"id":1}', value))
    assert isinstance(gone, Change) and gone.operation == "delete"


def test_nan_and_a_byte_order_mark_in_rows() -> None:
    decode = decoder(pipeline("a", {"rows": {"table": "a"}}).events)
    (change,) = decode(Event("t", 0, 0, None, b'\xef\xbb\xbf{"a": NaN, "b": [Infinity, -Infinity], "c": 0.10}'))
    assert isinstance(change, Change) and change.row == {"a": "NaN", "b": ["Infinity", "-Infinity"], "c": 0.1}
    for bad in (b'{"a": NaN, "b": "\\ud800"}', b'{"a": NaN', b"[NaN," * 5000, b'{"a": Nan}'):
        with pytest.raises(DecodeError, match="not JSON"):
            decode(Event("t", 0, 0, None, bad))


def test_text_positions_of_differing_width_are_refused() -> None:
    of = pipeline("a", {"rows": {"table": "a", "position_field": "v", "position_type": "text"}}, key=["id"])
    events = [
        Event("t", 0, at, None, raw({"id": 1, "title": version, "v": version}))
        for at, version in enumerate(("v9", "v10", "v8"))
    ]
    documents, letters = rows(events, of)
    assert documents["a/1"][0] == "v9"
    assert len(letters) == 1 and "'v10' is of another width than this row's last one, 'v9'" in letters[0]


def test_a_null_in_a_key_is_no_identity() -> None:
    of = pipeline("a", {"rows": {"table": "a"}})
    for key in ({"a": None, "b": "x"}, {"a": None}):
        _, letters = rows([Event("t", 0, 0, raw(key), raw({"title": "x"}))], of)
        assert letters == [
            "a: key column a is null, which tells no row from another: a primary key has no nulls; "
            "have documents.….key name columns that don't"
        ]


KEYS: tuple[Any, ...] = (1, "1", True, "true", False, "false", 1.0, "1.0", "", "x")


@given(st.lists(st.sampled_from(KEYS), min_size=2, max_size=6, unique_by=repr))
def test_keys_of_other_kinds_get_two_ids_or_are_refused(values: list[Any]) -> None:
    of = pipeline("a", {"rows": {"table": "a"}}, key=["id"])
    events = [Event("t", 0, at, None, raw({"id": each, "title": repr(each)})) for at, each in enumerate(values)]
    documents, letters = rows(events, of)
    assert len(documents) + len(letters) == len(values)


@pytest.mark.parametrize(
    ("value", "identity"), [(1, "a/1"), ("1", "a/1"), (True, "a/true"), ("007", "a/007"), ("a/b", "a/a%2Fb")]
)
def test_ids_of_ordinary_rows_stay(value: Any, identity: str) -> None:
    of = pipeline("a", {"rows": {"table": "a"}}, key=["id"])
    assert list(rows([Event("t", 0, 0, None, raw({"id": value, "title": "x"}))], of)[0]) == [identity]


def test_reasons_are_bounded_and_keep_their_ends() -> None:
    reason = str(DocumentError("begins " + "x" * 200_080 + " ends"))
    assert len(reason) == 1000 and reason.startswith("begins ") and reason.endswith(" ends")
    assert str(DocumentError("short")) == "short"


def test_nested_columns_and_names_with_dots() -> None:
    of = pipeline("a", {"rows": {"table": "a"}}, key=["id"], text="{t.x} {o.x.y} {o.none|}{o.x.y|z}", metadata=["o.x"])
    row = {"id": 1, "t.x": "plain", "t": {"x": "nested"}, "o": {"x": {"y": 5}}}
    documents, letters = rows([Event("t", 0, 0, None, raw(row))], of)
    assert (documents, letters) == ({"a/1": ("plain 5 5", {"o.x": {"y": 5}})}, [])
    _, letters = rows([Event("t", 0, 0, None, raw({**row, "o": "text"}))], of)
    assert "is a part of column 'o', which is 'text' and no object" in letters[0]
    _, letters = rows([Event("t", 0, 0, None, raw({"id": 1, "t.x": "x"}))], of)
    assert "uses column 'o.x.y', which the row lacks" in letters[0]


def test_deferrable_keys() -> None:
    """`UPDATE … SET id = id + 1`: the row that was at 2 leaves it after another one has come."""

    def event(at: int, op: str, lsn: int, key: int, title: str | None, header: str, commit: int) -> Event:
        source = {"connector": "postgresql", "schema": "public", "table": "a", "sequence": f'["{commit}","{lsn}"]'}
        row = {"id": key, "title": title}
        images = {"before": row, "after": None} if op == "d" else {"before": None, "after": row}
        return Event("t", 0, at, raw({"id": key}), raw({"op": op, **images, "source": source}), {header: b"{}"})

    of = pipeline("public.a")
    spec = of.documents["public.a"].spec("public.a")
    old, new = "__debezium.oldkey", "__debezium.newkey"
    elsewhere = "__debezium.context.connectorName"
    events = [
        event(0, "c", 50, 2, "two", elsewhere, 40),
        event(1, "c", 100, 2, "one", old, 90),
        event(2, "d", 200, 2, "two", new, 90),
        event(3, "d", 300, 2, "one", elsewhere, 250),
    ]
    state: DocumentState | None = None
    emitted: list[Any] = []
    for each in events:
        (change,) = decoder(of.events)(each)
        assert isinstance(change, Change)
        state, out = step(state, change, spec, "m", WHOLE)
        emitted.append(out[0])
    half = emitted[2]
    assert half.late and half.change.row == {"title": "two"}, "it only hands the elder's values on"
    assert emitted[1].change.row == {"title": "one"}
    assert isinstance(emitted[3], Plan) and not emitted[3].chunk_ids, "a later deletion counts"
    assert all(one.position < other.position for one, other in pairwise([emitted[1].change, half.change]))
