"""Lines of a recording become messages, or say what is wrong with them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from core.formats.recordings import Record, read_recording, record_of

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def line(**fields: object) -> bytes:
    whole = {"topic": "p.s.t", "partition": 1, "offset": 7, "key": {"id": 1}, "value": {}, "headers": []} | fields
    return json.dumps(whole, ensure_ascii=False).encode()


@given(key=json_values, value=json_values, escaped=st.booleans())
def test_key_and_value_are_compact_utf_8_json(key: object, value: object, escaped: bool) -> None:
    fields = {"topic": "p.s.t", "partition": 1, "offset": 7, "key": key, "value": value, "headers": []}
    record = record_of(json.dumps(fields, ensure_ascii=escaped).encode())
    for part, raw in ((key, record.key), (value, record.value)):
        if part is None:
            assert raw is None
        else:
            assert raw == json.dumps(part, ensure_ascii=False, separators=(",", ":")).encode()


def test_topic_partition_and_headers_are_kept_in_order() -> None:
    record = record_of(line(headers=[["a", "é"], ["b", None], ["a", ""]]))
    assert record == Record("p.s.t", b'{"id":1}', b"{}", (("a", "é".encode()), ("b", None), ("a", b"")), 1)


def test_a_lone_surrogate_stays_an_escape() -> None:
    record = record_of(line(value="VALUE").replace(b'"VALUE"', rb'{"body": "\ud800 \u00e9"}'))
    assert record.value == rb'{"body":"\ud800 \u00e9"}'


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (b"", "Input data was truncated"),
        (b"{'topic'", "JSON is malformed"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"topic": "t"}', "missing required field `partition`"),
        (line(partition=-1), r"Expected `int` >= 0 - at `\$.partition`"),
        (line(topic=""), r"\$.topic"),
        (line(headers=[["a"]]), r"\$.headers\[0\]"),
        (line().replace(b'{"id": 1}', b"NaN"), "invalid character"),
        (line(value="VALUE").replace(b"VALUE", b"\xff"), "not UTF-8: invalid start byte"),
    ],
)
def test_a_malformed_line_is_named_with_what_is_wrong(bad: bytes, problem: str) -> None:
    records = read_recording([line(), bad], "some/file.jsonl")
    next(records)
    with pytest.raises(DecodeError, match=rf"some/file.jsonl, line 2: .*{problem}"):
        next(records)
