from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.change import Change, Event, Operation, Skip
from core.documents.step import DocumentSpec, document_id
from core.errors import DecodeError
from core.formats.debezium.format import DebeziumFormat
from core.formats.json_values import exact_float
from core.formats.rows import PositionType, RowsFormat, decode, encoded

NOTES = RowsFormat(table="notes", keys={"notes": ("id",)})
BY_VERSION = RowsFormat(table="notes", position_field="v")
BY_TIME = RowsFormat(table="notes", position_field="v", position_type="timestamp")
BY_TEXT = RowsFormat(table="notes", position_field="v", position_type="text")
SPEC = DocumentSpec("notes", "{t}", key=("id",))


def event(row: Any, key: bytes | None = None, offset: int = 7) -> Event:
    return Event("t", 0, offset, key, None if row is None else json.dumps(row).encode())


def decoded(row: Any, settings: RowsFormat = NOTES, key: bytes | None = None, offset: int = 7) -> Change:
    [change] = decode(event(row, key, offset), settings)
    assert isinstance(change, Change)
    return change


def test_a_row_stays_as_it_is() -> None:
    row = {"id": 1, "t": "x", "tags": ["a", {"b": None}], "n": 0.1, "big": 2**80}
    change = decoded(row)
    assert (change.table, change.operation, change.key) == ("notes", Operation.UPSERT, {})
    assert change.row == {**row, "big": str(2**80)}
    assert (change.partial, change.unavailable) == (False, frozenset())


def test_numbers_that_no_float_holds_keep_their_digits() -> None:
    raw = b'{"a": 0.1, "b": 0.1234567890123456789, "c": 1.50, "d": 1e400, "e": 1e-999999999999999999999, "f": 1E2}'
    [change] = decode(Event("t", 0, 0, None, raw), NOTES)
    assert isinstance(change, Change)
    assert list(change.row.values()) == [0.1, "0.1234567890123456789", 1.5, "1e400", "1e-999999999999999999999", 100.0]
    assert change.numbers == {"b", "d", "e"}
    assert {type(each) for each in change.row.values()} == {float, str}


def test_digits_that_a_reader_leaves_as_they_are_travel() -> None:
    field = {"type": "int64", "name": "io.debezium.time.MicroDuration", "field": "v"}
    for schema in ({"type": "struct", "fields": [field]}, field):
        payload = '{"v": 1e999999}' if schema is not field else "1e999999"
        raw = f'{{"schema": {json.dumps(schema)}, "payload": {payload}}}'.encode()
        key, value = (b'{"id": 1}', raw) if schema is not field else (raw, b'{"t": "x"}')
        assert msgspec.msgpack.encode(decode(Event("t", 0, 0, key, value), NOTES))
    assert msgspec.msgpack.encode(decode(Event("t", 0, 0, None, b'{"a": {"b": 1e999999}, "__op": "c"}'), NOTES))


def test_lists_of_numbers_are_numbers_and_what_is_in_objects_is_text() -> None:
    big = "0.1234567890123456789"
    raw = f'{{"a": [{big}, 1, null], "b": [{big}, "x"], "c": {{"d": {big}}}, "e": 1{"0" * 30}, "f": "{big}", "g": [1]}}'
    [change] = decode(Event("t", 0, 0, None, raw.encode()), NOTES)
    assert isinstance(change, Change)
    assert change.numbers == {"a", "e"}
    expected = {"a": [big, 1, None], "b": [big, "x"], "c": {"d": big}, "e": "1" + "0" * 30, "f": big, "g": [1]}
    assert change.row == expected


@pytest.mark.parametrize("field", ["table_field", "position_field", "operation_field"])
def test_a_fraction_beyond_a_float_names_nothing(field: str) -> None:
    settings = RowsFormat(**{"table": "a", field: "n", "position_type": "timestamp"})  # type: ignore[arg-type]
    found = Event("t", 0, 0, b'{"id": 1}', b'{"n": 0.1234567890123456789}')
    if field == "operation_field":
        [change] = decode(found, settings)
        assert isinstance(change, Change) and change.operation is Operation.UPSERT
    else:
        with pytest.raises(DecodeError, match=r"^n is '0\.12"):
            decode(found, settings)


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_an_exact_float_has_the_value_of_its_text(number: Any) -> None:
    found = exact_float(str(number))
    assert type(number)(found if isinstance(found, str) else repr(found)) == number


def test_the_table_may_be_in_the_row() -> None:
    settings = RowsFormat(table_field="of")
    assert decoded({"of": "things"}, settings).table == "things"
    with pytest.raises(DecodeError, match="of is None, must be text that names the row's table"):
        decode(event({"id": 1}), settings)
    assert decoded({"id": 1}, RowsFormat(table="notes", table_field="of")).table == "notes"


DAY = b'{"schema": {"type": "int32", "name": "io.debezium.time.Date"}, "payload": 19782}'
PRICE = (
    b'{"schema": {"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "2"}}, '
    b'"payload": "AfQ="}'
)


@pytest.mark.parametrize(
    ("raw", "key", "identity"),
    [
        (b'{"id": 5}', {"id": 5}, "notes/5"),
        (b"5", {"id": "5"}, "notes/5"),
        (b'"5"', {"id": "5"}, "notes/5"),
        (b"a-b", {"id": "a-b"}, "notes/a-b"),
        (b"007", {"id": "007"}, "notes/007"),
        (b"1.5", {"id": "1.5"}, "notes/1.5"),
        (b"1e400", {"id": "1e400"}, "notes/1e400"),
        ("é ü".encode(), {"id": "é ü"}, "notes/é ü"),
        (b'"true"', {"id": "true"}, 'notes/"true"'),
        (b"18446744073709551616", {"id": "18446744073709551616"}, "notes/18446744073709551616"),
        (b'{"schema": {"type": "int32"}, "payload": 5}', {"id": 5}, "notes/5"),
        (b'{"schema": {"type": "boolean"}, "payload": true}', {"id": True}, "notes/true"),
        (b'{"schema": {"type": "string"}, "payload": "1e2"}', {"id": "1e2"}, "notes/1e2"),
        (DAY, {"id": "2024-02-29"}, "notes/2024-02-29"),
        (PRICE, {"id": "5.00"}, "notes/5.00"),
    ],
)
def test_keys(raw: bytes, key: dict[str, Any], identity: str) -> None:
    change = decoded(None, key=raw)
    assert (change.operation, change.key, document_id(SPEC, change)) == (Operation.DELETE, key, identity)
    assert decoded({"t": "x"}, key=raw).key == key
    assert msgspec.msgpack.encode(change), "it travels"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x00\x00\x00\x00\x00\x00\x00\x01", "key is '0000000000000001' in hexadecimal digits, which is no text"),
        (b"\x00\x00\x00\x00\x00\x00\x00\x81", "key is '0000000000000081' in hexadecimal digits"),
        (b"\x00\x00\x00A", "key is '00000041' in hexadecimal digits"),
        (b"\xff\xfe1\x00", "no text"),
        (b"1e2", "key is '1e2': as text it is itself, and as JSON 100.0, and nothing says which"),
        (b"1.50", "as JSON 1.5"),
        (b"-0", "as JSON 0"),
        (b"\xef\xbb\xbf1E400", "as JSON 1E400"),
        (b"true", "as JSON true"),
        (b"null", "names no row"),
        (b"[1]", "names no row"),
        (b'{"schema": {"type": "int32"}, "payload": null}', "names no row"),
        (b'{"schema": {"type": "array"}, "payload": [1]}', "names no row"),
        (b"Struct{id=1}", "a struct as text: .*key.converter"),
    ],
)
def test_keys_that_are_not_one_text_to_everybody(raw: bytes, reason: str) -> None:
    """As a tombstone's they deleted nothing or another row, without a word; two rows without the column had one id."""
    for row in (None, {"t": "x"}):
        with pytest.raises(DecodeError, match=reason):
            decoded(row, key=raw)
    assert document_id(SPEC, decoded({"id": 1, "t": "x"}, key=raw)) == "notes/1"


@pytest.mark.parametrize("value", [42, "42", "a", "007", 1.5, "true", 2**70, "é", "\t x"])
def test_a_row_and_its_tombstone_are_one_document(value: Any) -> None:
    key = json.dumps(value).encode()
    row, gone = decoded({"id": value, "t": "x"}, key=key), decoded(None, key=key, offset=8)
    assert document_id(SPEC, row) == document_id(SPEC, gone)
    assert row.position < gone.position


def test_a_bare_key_needs_the_name_of_one_column() -> None:
    assert decoded({"id": 1}, RowsFormat(table="notes"), key=b"1").key == {}
    assert decoded({"id": 1}, RowsFormat(table="notes", keys={"notes": ("a", "b")}), key=b"1").key == {}


def test_null_messages_that_delete_nothing() -> None:
    assert decode(event(None), NOTES) == (Skip.TOMBSTONE,)
    assert decode(event(None, b"1"), RowsFormat(table="notes", operation_field="op")) == (Skip.TOMBSTONE,)
    with pytest.raises(DecodeError, match="the event is null and so has no v to order it"):
        decode(event(None, b"1"), BY_VERSION)
    with pytest.raises(DecodeError, match="the event is null and so has no of to name its table"):
        decode(event(None, b"1"), RowsFormat(table_field="of"))


DELETING = ("d", "DELETE", "Remove", True, 1)
OTHERS = ("u", "c", False, 0, None, "", 2**80)


@pytest.mark.parametrize(
    ("said", "deletes"), [*((each, True) for each in DELETING), *((each, False) for each in OTHERS)]
)
def test_operations(said: Any, deletes: bool) -> None:
    change = decoded({"id": 1, "op": said}, RowsFormat(table="notes", operation_field="op"))
    assert (change.operation is Operation.DELETE) is deletes
    assert decoded({"id": 1, "op": said}).operation is Operation.UPSERT


def test_other_words_may_delete() -> None:
    settings = RowsFormat(table="notes", operation_field="state", deletes=frozenset({"gone"}))
    assert decoded({"state": "Gone"}, settings).operation is Operation.DELETE
    assert decoded({"state": "delete"}, settings).operation is Operation.UPSERT


@pytest.mark.parametrize(
    ("row", "settings", "reason"),
    [
        ([1], NOTES, "the event's value is a list of 1, must be a JSON object"),
        ({"op": ["d"]}, RowsFormat(table="n", operation_field="op"), "op is a list of 1, must be text, true, false"),
        ({}, BY_VERSION, "v is None, which orders nothing: it must be a whole number"),
        ({"v": 1.5}, BY_VERSION, "v is 1.5, which"),
        ({"v": True}, BY_VERSION, "v is True, which"),
        ({"v": 2**63}, BY_VERSION, "v is 9223372036854775808, which"),
        ({"v": "1_0"}, BY_VERSION, "v is '1_0', which"),
        ({"v": "yesterday"}, BY_TIME, "v is 'yesterday', which orders nothing: it must be an ISO 8601 timestamp"),
        ({"v": 5}, BY_TIME, "v is 5, which"),
        ({"v": "a b"}, BY_TEXT, "v is 'a b', which orders nothing: it must be 1 to 64 printable ASCII"),
        ({"v": ""}, BY_TEXT, "v is '', which"),
        ({"v": "é"}, BY_TEXT, "v is 'é', which"),
        ({"v": "a" * 65}, BY_TEXT, "v is 'aaaa"),
        ({"v": {}}, BY_TEXT, "v is an object of 0 fields, which"),
    ],
)
def test_refusals_name_what_is_wrong(row: Any, settings: RowsFormat, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode(event(row), settings)


def test_formats_that_say_too_little() -> None:
    with pytest.raises(ValueError, match="neither table nor table_field"):
        RowsFormat()
    with pytest.raises(ValueError, match="position_type is 'float', must be one of integer, timestamp, text"):
        RowsFormat(table="t", position_type="float")  # type: ignore[arg-type]


def test_the_later_of_two_with_the_same_position_counts() -> None:
    first, second = (decoded({"v": 5}, BY_VERSION, offset=offset).position for offset in (99, 100))
    assert first < second < decoded({"v": 6}, BY_VERSION, offset=1).position


def ordered(position_type: PositionType, one: Any, other: Any) -> tuple[bool, bool, bool]:
    settings = RowsFormat(table="t", position_field="v", position_type=position_type)
    first, second = encoded(one, settings), encoded(other, settings)
    assert all("!" <= each <= "~" for each in first)
    return first < second, first == second, len(first) == len(second)


sizes = st.integers(-(2**63), 2**63 - 1)


@given(sizes, sizes, st.booleans())
def test_integers_compare_as_they_do(one: int, other: int, as_text: bool) -> None:
    assert ordered("integer", str(one) if as_text else one, other) == (one < other, one == other, True)


zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31), timezones=zones)


@given(moments, moments | st.none())
def test_timestamps_compare_as_they_do(one: datetime, other: datetime | None) -> None:
    other = other or one.astimezone(UTC)
    assert ordered("timestamp", one.isoformat(), other.isoformat()) == (one < other, one == other, True)


texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=8)


@given(texts, texts)
def test_texts_compare_as_they_do(one: str, other: str) -> None:
    assert ordered("text", one, other) == (one < other, one == other, True)


@pytest.mark.parametrize("names", [(), ("id", "day")])
def test_a_null_message_deletes_the_document_that_a_date_is_in_the_key_of(names: tuple[str, ...]) -> None:
    """A key has a schema of its own, which says of a number that it is a date."""
    fields = [
        {"field": "id", "type": "int32"},
        {"field": "day", "type": "int32", "name": "io.debezium.time.Date"},
    ]
    row = {"id": 1, "day": 19782}
    key = json.dumps({"schema": {"type": "struct", "fields": fields}, "payload": row}).encode()
    text = {"field": "t", "type": "string"}
    value = {"schema": {"type": "struct", "fields": [*fields, text]}, "payload": {**row, "t": "x"}}
    settings, spec = RowsFormat(table="notes", keys={"notes": names}), DocumentSpec("notes", "{t}", key=names)
    ids = [document_id(spec, decoded(each, settings, key)) for each in (value, None)]
    assert ids == ["notes/1/2024-02-29"] * 2


@pytest.mark.parametrize("value", ["__debezium_unavailable_value", ["__debezium_unavailable_value"]])
def test_what_an_unwrapped_row_left_out_is_not_its_text(value: Any) -> None:
    row = json.dumps({"id": 1, "title": "new", "body": value}).encode()
    (change,) = decode(Event("t", 0, 0, b'{"id": 1}', row), RowsFormat(table="a"))
    assert isinstance(change, Change)
    assert change.unavailable == {"body"}


FROM_DEBEZIUM = [({"__deleted": "false"}, {}), ({"__op": "c"}, {}), ({"__source_lsn": 7}, {})]
FROM_DEBEZIUM += [({}, {"__debezium.context.connectorName": b"postgresql"}), ({}, {"__op": b"c"})]
ARTICLES = DebeziumFormat(used={"a": frozenset({"price", "born", "title"})})


@pytest.mark.parametrize(("added", "headers"), FROM_DEBEZIUM)
def test_what_nothing_tells_of_unwrapped_rows_is_refused(added: dict[str, Any], headers: dict[str, bytes]) -> None:
    settings = RowsFormat(table="a", debezium=ARTICLES)
    for column, value in (("price", "AfQ="), ("born", 19782)):
        raw = json.dumps({"id": 1, "title": "one two", column: value, **added}).encode()
        with pytest.raises(DecodeError, match=f"a.{column} is .*schemas.enable=true") as refused:
            decode(Event("t", 0, 0, b'{"id": 1}', raw, headers), settings)
        assert [each.operation for each in refused.value.refused] == [Operation.REFUSED]


def test_a_row_of_another_producer_is_taken_at_its_word() -> None:
    row = {"id": 1, "title": "t", "price": "AfQ=", "born": 19782, "n": {"scale": 2, "value": "AfQ="}}
    assert decoded(row, RowsFormat(table="a", debezium=ARTICLES)).row == row


def test_types_tell_what_unwrapped_rows_and_their_keys_mean() -> None:
    types = {"a": {"id": "date", "price": "numeric(10,2)", "born": "date", "title": "text"}}
    used = frozenset({"price", "born", "title", "n"})
    settings = RowsFormat(table="a", debezium=DebeziumFormat(types=types, used={"a": used}))
    row = {
        "id": 19782,
        "title": "Ab12",
        "price": "AfQ=",
        "born": 19782,
        "n": {"scale": 1, "value": "AfQ="},
        "__op": "c",
    }
    change, gone = (decoded(each, settings, b'{"id": 19782}') for each in (row, None))
    expected = {"id": "2024-02-29", "title": "Ab12", "price": "5.00", "born": "2024-02-29", "n": "50.0", "__op": "c"}
    assert (change.row, change.numbers) == (expected, {"price"})
    assert change.key == gone.key == {"id": "2024-02-29"}
