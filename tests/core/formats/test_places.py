"""Places in a database's log: as people write them, as positions have them, and as heartbeats tell them."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.change import Event, Position, Skip
from core.errors import PositionError
from core.formats.debezium.decoding import decode
from core.formats.debezium.places import (
    HEARTBEAT,
    HEARTBEAT_QUERY,
    heartbeat,
    is_ours,
    is_past,
    place_from,
    place_of,
    shown,
)
from core.formats.debezium.position import position
from core.shards.progress import Reached


@given(st.integers(0, 2**64 - 1))
def test_an_lsn_is_understood_as_postgresql_prints_it(lsn: int) -> None:
    printed = f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
    assert place_from(printed) == place_from(printed.lower()) == f"{lsn:016x}"
    assert shown(place_from(printed)) == printed


@given(st.integers(0, 10**18), st.integers(0, 10**18))
def test_a_place_in_a_binlog_is_understood(file: int, at: int) -> None:
    place = place_from(f"mysql-bin.{file:06d}:{at}")
    assert place == place_of(position({"file": f"mysql-bin.{file:06d}", "pos": at}, snapshot=False))
    assert place_from(shown(place)) == place


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("3E11FA47-71CA-11E1-9E33-C80AA9429562:23", "a GTID: those of two servers have no order"),
        ("0/123456789", "must be an LSN"),
        ("16B3748", "must be an LSN"),
        ("", "must be an LSN"),
        ("0/16B3748\n", "must be an LSN"),
        ("0000000001f3b748.0000000001f3b748", "must be an LSN"),
    ],
)
def test_what_compares_with_nothing_is_refused(text: str, reason: str) -> None:
    with pytest.raises(PositionError, match=reason):
        place_from(text)


def test_a_change_is_past_a_place_by_its_own_or_by_the_commit_before_it() -> None:
    change = position({"sequence": '["100","300"]', "lsn": 300}, snapshot=False)
    assert is_ours(change)
    assert place_of(change) == f"{100:016x}"
    assert [is_past(change, f"{lsn:016x}") for lsn in (100, 101, 300, 301)] == [True, True, True, False]
    # a transaction that began earlier, and was committed after another one
    late = position({"sequence": '["300","100"]', "lsn": 100}, snapshot=False)
    assert [is_past(late, f"{lsn:016x}") for lsn in (300, 301)] == [True, False]
    binlog = position({"file": "b.000003", "pos": 40}, snapshot=False)
    assert is_ours(binlog)
    assert [is_past(binlog, place_from(each)) for each in ("b.000003:40", "3:41", "2:99")] == [True, False, True]
    assert not is_past(Position("7"), place_from("3:1"))


def message(prefix: str, content: str | None, **source: object) -> Event:
    body = None if content is None else base64.b64encode(content.encode()).decode()
    said = {"op": "m", "source": {"connector": "postgresql", **source}, "message": {"prefix": prefix, "content": body}}
    return Event("t", 0, 9, None, json.dumps({"schema": {}, "payload": said}).encode())


def test_a_heartbeat_tells_where_the_log_stands_and_when() -> None:
    assert f"'{HEARTBEAT}'" in HEARTBEAT_QUERY
    beat = message(HEARTBEAT, "1700000000123", lsn=255)
    assert decode(beat) is Skip.PLACE
    assert heartbeat(beat) == Reached(9, f"{255:016x}", 1_700_000_000_123)
    assert heartbeat(message(HEARTBEAT, "soon", lsn=255)) == Reached(9, f"{255:016x}", None)
    for other in (
        message("another.application", "1", lsn=255),
        message(HEARTBEAT, "1", lsn="255"),
        message(HEARTBEAT, "1"),
        Event("t", 0, 9, None, b'{"ts_ms": 1}'),
        Event("t", 0, 9, None, b"\xff"),
        Event("t", 0, 9, None, None),
    ):
        assert heartbeat(other) is None
    assert decode(message("another.application", "1", lsn=255)) is Skip.MESSAGE
