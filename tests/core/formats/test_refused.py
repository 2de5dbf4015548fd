"""What a decoder can tell of a change that it can't read: enough for the state of its key to know of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from core.change import Change, Event, Operation
from core.errors import DecodeError
from core.formats import dms, rows
from core.formats.debezium import decoding as debezium
from core.formats.debezium.format import UNAVAILABLE, DebeziumFormat
from core.formats.debezium.rekeyed import decode_by
from core.formats.dms import DmsFormat
from core.formats.dynamodb import decoding as dynamodb
from core.formats.rows import RowsFormat

SOURCE = {"connector": "postgresql", "schema": "public", "table": "a", "lsn": 20, "sequence": '["10","20"]', "ts_ms": 5}
DEEP: Any = 1
for _ in range(40):
    DEEP = [DEEP]
POSITION = f"{10:016x}.{20:016x}"


def event(value: object, key: object = None) -> Event:
    return Event("t", 0, 7, json.dumps(key or {"id": 1}).encode(), json.dumps(value).encode())


def refused(decode: Callable[[Event], object], event: Event) -> tuple[Change, ...]:
    with pytest.raises(DecodeError) as raised:
        decode(event)
    return raised.value.refused


def test_debeziums_columns_that_nothing_converts_are_kept() -> None:
    """H1b: a value that doesn't fit its declared type."""
    settings = DebeziumFormat(types={"public.a": {"n": "numeric(10,2)", "v": "vector"}})
    after = {"id": 1, "t": "new", "body": UNAVAILABLE, "n": "@@@", "v": None, "x": [1]}
    [change] = refused(
        lambda each: debezium.decode(each, settings), event({"op": "u", "source": SOURCE, "after": after})
    )
    assert (change.table, change.key, change.operation) == ("public.a", {"id": 1}, Operation.REFUSED)
    assert (change.position, change.row, change.unavailable) == (POSITION, {"id": 1, "t": "new"}, {"body"})
    created = event({"op": "c", "source": SOURCE, "after": after})
    [change] = refused(lambda each: debezium.decode(each, settings), created)
    assert (change.row, change.unavailable) == ({"id": 1, "t": "new"}, frozenset())


@pytest.mark.parametrize(
    "fields", [{"op": "x", "after": {}}, {"op": "u", "after": None}, {"op": "d", "before": {"t": DEEP}}]
)
def test_debeziums_key_and_position_are_kept_where_the_row_is_not(fields: dict[str, Any]) -> None:
    [change] = refused(debezium.decode, event({**fields, "source": SOURCE}))
    assert (change.key, change.position, change.row, change.moves) == ({"id": 1}, POSITION, {}, False)


@pytest.mark.parametrize(
    "bad",
    [
        event({"op": "x", "source": {**SOURCE, "table": None}}),
        event({"op": "x", "source": {**SOURCE, "lsn": None, "sequence": "no"}}),
        event({"op": "x", "source": SOURCE}, [1]),
        Event("t", 0, 7, b'{"id": 1}', b"no JSON"),
    ],
)
def test_nothing_is_kept_where_table_key_or_position_is_not_known(bad: Event) -> None:
    assert refused(debezium.decode, bad) == ()


def test_other_formats_tell_key_and_position() -> None:
    of_rows = RowsFormat(table="a", operation_field="op", position_field="n", keys={"a": ("id",)})
    [change] = refused(lambda each: rows.decode(each, of_rows), event({"id": 2, "op": [1], "n": 3}))
    assert (change.table, change.key, change.row) == ("a", {"id": 1}, {"id": 2})
    metadata = {
        "record-type": "data",
        "operation": "update",
        "schema-name": "s",
        "table-name": "a",
        "timestamp": "2026-01-01T00:00:00.000001Z",
    }
    of_dms = DmsFormat(keys={"s.a": ("id",)})
    message = {"data": {"id": 2**70}, "metadata": metadata, "before-image": 7}
    [change] = refused(lambda each: dms.decode(each, of_dms), event(message))
    assert (change.table, change.key) == ("s.a", {"id": str(2**70)})
    record = {
        "eventName": "MODIFY",
        "tableName": "a",
        "dynamodb": {"Keys": {"id": {"N": "1"}}, "SequenceNumber": "9", "StreamViewType": "KEYS_ONLY"},
    }
    [change] = refused(dynamodb.decode, event(record))
    assert (change.key, change.position, change.operation) == ({"id": 1}, "9".zfill(40), Operation.REFUSED)


KEYS = {"public.a": ("slug",)}


def rekeyed(before: object, after: dict[str, object], op: str = "u") -> tuple[object, ...]:
    return decode_by(event({"op": op, "before": before, "after": after, "source": SOURCE}), DebeziumFormat(), KEYS)


def test_a_row_whose_documents_key_changes_is_two_documents() -> None:
    gone, came = rekeyed({"id": 1, "slug": "x", "t": "o"}, {"id": 1, "slug": "y", "t": "n"})
    assert isinstance(gone, Change) and isinstance(came, Change)
    assert (gone.operation, gone.row["slug"], gone.position, gone.moves) == (Operation.DELETE, "x", POSITION, True)
    assert (came.operation, came.row["slug"], came.position, came.moves) == (Operation.UPSERT, "y", POSITION, True)


def test_a_row_whose_documents_key_stays_is_one_change() -> None:
    for before, op in (({"id": 1, "slug": "x", "t": "o"}, "u"), (None, "c"), (None, "r")):
        [change] = rekeyed(before, {"id": 1, "slug": "x", "t": "n"}, op)
        assert isinstance(change, Change) and not change.moves


def test_an_update_that_does_not_say_which_document_it_was_is_refused() -> None:
    with pytest.raises(DecodeError, match=r"public.a: key names slug, .*: the document may be another now"):
        rekeyed(None, {"id": 1, "slug": "x"})
    value = json.dumps({"op": "u", "before": None, "after": {"id": 1, "slug": "x"}, "source": SOURCE}).encode()
    [change] = decode_by(Event("t", 0, 7, None, value), DebeziumFormat(), KEYS)
    assert isinstance(change, Change) and not change.moves
