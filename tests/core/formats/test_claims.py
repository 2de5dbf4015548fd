"""What is known of a source's log once events of it have been read."""

from __future__ import annotations

import json
from typing import Any

from core.change import Event
from core.formats.claims import Claims
from core.formats.debezium.decoding import decode
from core.formats.debezium.places import place_from
from core.shards.progress import Reached


def _row(table: str, pos: int, offset: int, ts_ms: int, file: int = 3) -> Event:
    source = {"version": "3.6.1.Final", "connector": "mysql", "name": "shop", "db": "shop", "table": table}
    place = {"ts_ms": ts_ms, "snapshot": "false", "file": f"binlog.{file:06d}", "pos": pos, "row": 0, "server_id": 1}
    value = {"before": None, "after": {"id": 1}, "source": {**source, **place}, "op": "c", "ts_ms": ts_ms}
    return _event({"id": 1}, value, offset)


def _event(key: dict[str, Any], value: dict[str, Any], offset: int) -> Event:
    return Event("shop.shop.articles", 0, offset, json.dumps(key).encode(), json.dumps(value).encode())


def _take(claims: Claims, event: Event) -> Reached:
    claims.take(event, [decode(event)])
    return claims.reached["shop.shop.articles/0"]


def test_a_row_of_a_table_that_stands_for_heartbeats_tells_how_far_the_binlog_is_read() -> None:
    """MySQL's connector has no message for it; a row of any table that comes into the topic does."""
    claims = Claims(has_places=True)
    assert _take(claims, _row("articles", 154, 10, 1_000)).place == place_from("binlog.000003:154")
    beat = _take(claims, _row("freshet_heartbeat", 900, 11, 6_000))
    assert beat == Reached(11, place_from("binlog.000003:900"), 1_000)
    assert _take(claims, _row("freshet_heartbeat", 4, 12, 11_000, file=4)).place == place_from("binlog.000004:4")


def test_what_a_restarted_connector_repeats_takes_nothing_back() -> None:
    claims = Claims(has_places=True)
    _take(claims, _row("freshet_heartbeat", 900, 11, 6_000))
    assert _take(claims, _row("articles", 154, 12, 1_000)) == Reached(12, place_from("binlog.000003:900"), None)


def test_positions_that_order_one_keys_changes_alone_claim_a_time_and_no_place() -> None:
    claims = Claims(has_places=False)
    assert _take(claims, _row("articles", 154, 10, 1_000)) == Reached(10, "", 1_000)
