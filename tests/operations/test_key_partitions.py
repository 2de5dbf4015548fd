"""What `check` and `run` say of documents whose changes come by several partitions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connectors.kafka.topics import Message
from core.config.pipeline import Pipeline
from operations.key_partitions import spread, unordered

MYSQL = {"connector": "mysql", "db": "shop", "table": "a", "file": "binlog.000003", "pos": 400, "row": 0}
POSTGRES = {"connector": "postgresql", "schema": "shop", "table": "a", "sequence": '["40","50"]'}


def pipeline(**document: Any) -> Pipeline:
    return Pipeline.model_validate(
        {
            "name": "keys",
            "source": {"kafka": {"topic": "t", "properties.bootstrap.servers": "127.0.0.1:1"}},
            "format": "debezium",
            "documents": {"shop.a": {"text": "{title}", **document}},
            "store": {"pgvector": {"dsn": "postgresql://x", "table": "t"}},
            "dead_letters": {"kafka": {"topic": "letters"}},
        }
    )


def message(source: dict[str, Any], partition: int = 1, key: Any = None, wraps: bool = False) -> Message:
    row = {"id": 1, "code": "x", "title": "t"}
    envelope: Any = {"op": "c", "before": None, "after": row, "source": source}
    if wraps:
        envelope = {"schema": {"type": "struct"}, "payload": envelope}
    raw = None if key is None else json.dumps(key).encode()
    return Message("t", partition, 0, 0, raw, json.dumps(envelope).encode(), ())


@pytest.mark.parametrize("wraps", [False, True])
def test_events_without_keys_in_several_partitions_are_named(wraps: bool) -> None:
    (line,) = spread(pipeline(key=["code"]), [message(MYSQL, 0), message(MYSQL, 1, wraps=wraps), message(MYSQL, 2)])
    assert line.startswith("shop.a: its events have no keys")
    assert "message.key.columns=shop.a:code" in line


def test_what_is_in_order_is_not() -> None:
    keyed = pipeline(key=["code"])
    assert spread(keyed, [message(MYSQL, 0)]) == [], "one partition"
    assert spread(keyed, [message(POSTGRES)]) == [], "each change has its place in the log"
    assert spread(keyed, [message(MYSQL, key={"code": "x"})]) == [], "the key chooses the partition"
    assert spread(keyed, [message(MYSQL, key={"id": 1})]) == [], "each row's changes have an order"
    assert spread(pipeline(), [message(MYSQL)]) == []
    assert spread(keyed, [Message("t", 1, 0, 0, b"x", value, ()) for value in (None, b"no JSON", b"[1]", b"{}")]) == []


def test_without_such_a_key_nothing_is_read() -> None:
    assert unordered(pipeline()) == []
