"""Two databases that have a table of one name: one is refused, or each has ids of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.change import Change, Event, Truncate
from core.config.file import load
from core.documents.sources import hold_to_first, of_source, two_databases
from core.documents.step import DocumentSpec, document_id, table_id
from core.errors import ConfigError, SourceError
from core.formats.debezium.decoding import decode

SPEC = DocumentSpec("public.articles", "{title}")
names = st.text("abcxyz.-_0", min_size=1, max_size=6).map(lambda name: f"{name}:app") | st.just("")


def event(name: str, op: str = "c", database: str = "app") -> Event:
    source = {"connector": "postgresql", "name": name, "db": database, "schema": "public", "table": "articles"}
    source |= {"lsn": 100, "sequence": '["90","100"]', "ts_ms": 1}
    image = {"before": None, "after": None if op == "t" else {"id": 1, "title": name}}
    return Event("t", 0, 0, b'{"id": 1}', json.dumps({"op": op, "source": source, **image}).encode())


def change(name: str, op: str = "c", database: str = "app") -> Change:
    decoded = decode(event(name, op, database))
    assert isinstance(decoded, Change)
    return decoded


def test_events_say_which_database_they_are_of() -> None:
    assert change("tenantA").source == "tenantA:app" and change("tenantA", database="b").source == "tenantA:b"
    emptied = decode(event("tenantB", "t"))
    assert isinstance(emptied, Truncate) and emptied.source == "tenantB:app"
    assert change("tenantA", "r").snapshot and not change("tenantA").snapshot


def test_a_second_database_is_refused_with_both_names_and_the_remedy() -> None:
    first: dict[str, str] = {}
    hold_to_first(first, "public.articles", "tenantA:app")
    with pytest.raises(
        SourceError, match=r"public.articles is tenantA:app's, and this event is tenantB:app's"
    ) as error:
        hold_to_first(first, "public.articles", "tenantB:app")
    assert "id_from_source" in str(error.value) and len(str(error.value)) <= 1000
    hold_to_first(first, "public.others", "tenantB:app")
    assert first == {"public.articles": "tenantA:app", "public.others": "tenantB:app"}


def test_a_reason_has_a_bound_whatever_an_event_calls_its_database() -> None:
    first = {"public.articles": "a" * 1_000_000}
    with pytest.raises(SourceError) as error:
        hold_to_first(first, "public.articles", "b" * 1_000_000)
    assert len(str(error.value)) <= 1000


@given(st.dictionaries(st.sampled_from("tu"), names.filter(bool)), st.lists(st.tuples(st.sampled_from("tu"), names)))
def test_a_table_is_its_first_database_s_for_ever(known: dict[str, str], events: list[tuple[str, str]]) -> None:
    first = dict(known)
    taken: dict[str, set[str]] = {}
    for table, source in events:
        try:
            hold_to_first(first, table, source)
        except SourceError:
            assert source and source != first[table]
        else:
            taken.setdefault(table, set()).add(source)
    for table, sources in taken.items():
        assert sources <= {"", first.get(table, "")}
        assert known.get(table, first.get(table)) == first.get(table)


def test_with_the_source_in_the_id_each_database_has_documents_and_marks_of_its_own() -> None:
    spec = replace(SPEC, id_from_source=True)
    ids = {name: document_id(spec, change(name)) for name in ("tenantA", "tenantB")}
    assert ids == {
        "tenantA": "public.articles@tenantA:app/1",
        "tenantB": "public.articles@tenantB:app/1",
    }
    # what a store clears is what begins with the table's id and a slash
    marks = {name: table_id(of_source("public.articles", change(name).source)) for name in ids}
    for name, mark in marks.items():
        assert [each for each in ids if ids[each].startswith(f"{mark}/")] == [name]
    assert document_id(SPEC, change("tenantA")) == "public.articles/1"
    with pytest.raises(SourceError, match="id_from_source"):
        document_id(spec, replace(change("tenantA"), source=""))


@given(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8))
def test_ids_and_marks_are_spelled_alike_whatever_a_database_is_called(name: str, other: str) -> None:
    spec = replace(SPEC, id_from_source=True)
    one, two = (replace(change("shop"), source=f"shop:{each}") for each in (name, other))
    assert document_id(spec, one).partition("/")[0] == table_id(of_source("public.articles", one.source))
    assert (document_id(spec, one) == document_id(spec, two)) == (name == other)


def test_topics_of_two_databases_are_a_problem_before_any_is_read() -> None:
    assert two_databases({"public.a": {"x:app"}, "public.b": set()}) == []
    (only,) = two_databases({"public.a": {"y:app", "x:app"}})
    assert only.startswith("public.a comes from x:app and y:app: two databases")


PIPELINE = """
name: documents
source: {kafka: {topic: changes, properties.bootstrap.servers: "127.0.0.1:1"}}
format: FORMAT
embedding: {model: hash}
documents:
  public.articles: {text: "{t}", id_from_source: true, key: [id]}
  public.pages: {text: "{t}", key: [id]}
store: {pgvector: {dsn: "postgresql://freshet@127.0.0.1:1/x", table: documents}}
dead_letters: {kafka: {topic: letters}}
"""


def test_the_setting_is_for_feeds_that_name_their_database(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(PIPELINE.replace("FORMAT", "debezium"), encoding="utf-8")
    pipeline = load(file)
    assert pipeline.job.of_one_source == {"public.pages"}
    assert pipeline.documents["public.articles"].spec("public.articles").id_from_source
    file.write_text(PIPELINE.replace("FORMAT", "dms"), encoding="utf-8")
    with pytest.raises(ConfigError, match="id_from_source is for format: debezium"):
        load(file)
    reselect = 'reselect: {postgres: {dsn: "postgresql://127.0.0.1:1/x"}}\n'
    file.write_text(PIPELINE.replace("FORMAT", "debezium") + reselect, encoding="utf-8")
    with pytest.raises(ConfigError, match="reselect names one database"):
        load(file)
