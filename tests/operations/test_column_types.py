"""What `check` and `run` say of columns whose type no event tells, and what they ask the source's database."""

from __future__ import annotations

import io
import json
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from rich.console import Console

from connectors.kafka.producer import ensure_topics, produce
from connectors.kafka.topics import Message
from connectors.postgres.column_types import typed
from core.change import Change, Event
from core.config.pipeline import Pipeline
from core.decoding import decoder
from core.errors import DecodeError, Unavailable
from core.formats.recordings import Record
from operations import column_types
from operations.column_types import doubtful, unknown_types, with_types
from stack.local import Stack
from terminal.checking import check

ROW = {"id": 7, "title": "plain", "price": "AfQ=", "born": 19782, "note": None, "unused": 5}


def pipeline(table: str = "public.a", servers: str = "127.0.0.1:1", dsn: str = "", **more: Any) -> Pipeline:
    return Pipeline.model_validate(
        {
            "name": "types",
            "source": {"kafka": {"topic": table, "properties.bootstrap.servers": servers}},
            "format": "debezium",
            "documents": {table: {"text": "{title} {note}", "metadata": ["id", "price", "born"]}},
            "embedding": {"model": "hash"},
            "store": {"pgvector": {"dsn": dsn or "postgresql://x", "table": "types"}},
            "dead_letters": {"kafka": {"topic": "letters"}},
            **more,
        }
    )


def body(table: str = "public.a", **values: Any) -> bytes:
    schema, name = table.split(".")
    source = {"connector": "postgresql", "schema": schema, "table": name, "sequence": '["40","50"]'}
    return json.dumps({"op": "c", "before": None, "after": {**ROW, **values}, "source": source}).encode()


def message(value: bytes | None, key: bytes | None = b'{"id": 7}', at: int = 0) -> Message:
    return Message("public.a", 0, at, 0, key, value, ())


def test_each_doubtful_column_is_named_once_with_what_it_may_be() -> None:
    (line,) = doubtful(pipeline(), [message(body()), message(body(price="AAA="), at=1)])
    assert line.startswith("public.a: events have no schema, and nothing tells what these are: ")
    assert "born (a whole number, or a date or a time as Debezium counts it)" in line
    assert line.count("price (text, or a number or bits in base64)") == 1
    assert "types: {born: integer}" in line
    assert not any(f"{name} (" in line for name in ("id", "title", "note", "unused"))


def test_what_has_a_type_what_is_no_row_and_what_is_of_no_table_here_is_not_named() -> None:
    documents = {
        "public.a": {"text": "{title}", "metadata": ["price", "born"], "types": {"price": "text", "born": "int"}}
    }
    assert doubtful(pipeline(documents=documents), [message(body())]) == []
    others = [
        message(None),
        message(b"no JSON"),
        message(b"[1]"),
        message(body("public.b"), b"x"),
        message(b"[" * 9999),
    ]
    assert doubtful(pipeline(), others) == []


def test_a_partition_s_columns_are_named_under_its_table() -> None:
    of = pipeline(documents={"public.a": {"text": "{born}", "tables": [r"public\.a_\d+"]}})
    (line,) = doubtful(of, [message(body("public.a_2025"))])
    assert line.startswith("public.a: ") and "born (" in line


def test_other_feeds_and_pipelines_without_a_database_stay_as_they_are() -> None:
    rows = pipeline(format={"rows": {"table": "public.a"}})
    for each in (rows, pipeline()):
        same, missing = typed(each)
        assert same is each and missing == []
    assert unknown_types(rows) == []


@pytest.mark.parametrize("key", [b"7", None])
def test_a_row_whose_key_says_nothing_is_named_with_its_key_s_columns(key: bytes | None) -> None:
    (line,) = doubtful(pipeline(), [message(body(), key)])
    assert "id (a whole number" in line


def test_check_names_them_and_the_sources_database_tells_them(stack: Stack) -> None:
    table = f"public.types_{uuid4().hex[:6]}"
    servers, dsn = stack.kafka.bootstrap_servers, stack.postgres.dsn
    with psycopg.connect(dsn, autocommit=True) as server:
        columns = sql.SQL("id int PRIMARY KEY, title text, note text, price numeric(10,2), born date, unused int")
        server.execute(sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(*table.split(".")), columns))
    ensure_topics(servers, {table: 1})
    produce(servers, [Record(table, b'{"id": 7}', body(table), (), 0)])
    bare = pipeline(table, servers, dsn)
    seen = io.StringIO()
    check(bare, Console(file=seen, width=200))
    assert f"{table}: events have no schema" in seen.getvalue() and "born (" in seen.getvalue()
    event = Event(table, 0, 0, b'{"id": 7}', body(table))
    with pytest.raises(DecodeError, match="no schema that says which"):
        decoder(bare.events)(event)

    asked, lines = with_types(pipeline(table, servers, dsn, reselect={"postgres": {"dsn": dsn}}))
    assert lines == []
    assert asked.documents[table].types["price"] == "numeric(10,2)"
    (change,) = decoder(asked.events)(event)
    assert isinstance(change, Change)
    assert (change.row["price"], change.row["born"], change.row["id"]) == ("5.00", "2024-02-29", 7)

    gone = pipeline("public.nowhere", servers, dsn, reselect={"postgres": {"dsn": dsn}})
    same, lines = with_types(gone)
    assert same == gone and "public.nowhere" in lines[0]


def test_a_database_that_is_away_is_reported_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    away = pipeline(reselect={"postgres": {"dsn": "host=127.0.0.1 port=1"}})
    for doubts, message in (([], "the last events need none"), (["public.a: born"], "It is needed: public.a: born")):
        monkeypatch.setattr(column_types, "unknown_types", lambda _, doubts=doubts: doubts)
        if doubts:
            with pytest.raises(Unavailable, match=message):
                with_types(away)
        else:
            same, (line,) = with_types(away)
            assert same is away and message in line
