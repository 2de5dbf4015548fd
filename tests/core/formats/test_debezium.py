from __future__ import annotations

import gzip
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.change import Change, Event, Operation, Skip
from core.errors import DecodeError
from core.formats.debezium import UNAVAILABLE, decode, position

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


@pytest.mark.parametrize(
    ("value", "skip"),
    [
        ({"status": "BEGIN", "id": "1:2"}, Skip.TRANSACTION),
        ({"ts_ms": 1}, Skip.HEARTBEAT),
        ({"op": "m", "source": SOURCE, "message": {}}, Skip.MESSAGE),
    ],
)
def test_events_without_a_row(value: Any, skip: Skip) -> None:
    assert decode(event(value)) is skip


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
        assert isinstance(decode(each), Change | Skip)
