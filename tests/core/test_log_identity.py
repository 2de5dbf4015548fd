"""What a state belongs to: whatever isn't as it was is reported, in plain words, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.change import Event
from core.config.file import load
from core.config.log_identity import (
    LogIdentity,
    accepted,
    changes,
    flood,
    from_json,
    grown,
    held,
    mark,
    merged,
    refusal,
    surplus,
    to_json,
)
from core.config.pipeline import Pipeline
from core.errors import DecodeError, OtherLog
from core.formats import rows
from core.formats.debezium.source import server, source_block, source_name, table_of
from core.formats.rows import RowsFormat

UUID_A, UUID_B = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "4e11fa47-71ca-11e1-9e33-c80aa9429562"
KNOWN = LogIdentity(
    "debezium",
    {"topic articles": "aaaa", "topic pages": "bbbb"},
    {"PostgreSQL's system identifier": "7400", "PostgreSQL's timeline": "1", "MySQL's server UUID": UUID_A},
    {"public.articles": "shop:app"},
)

words = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=8)
known = st.dictionaries(words, words, max_size=4)
identities = st.builds(LogIdentity, st.sampled_from(["", "debezium", "rows by arrival", "s3"]), known, known, known)


@given(identities)
def test_what_is_as_it_was_is_no_change(log: LogIdentity) -> None:
    assert changes(log, log, "chk-1") == ()


@given(identities, identities)
def test_what_is_not_known_differs_from_nothing(before: LogIdentity, now: LogIdentity) -> None:
    assert changes(before, LogIdentity(), "chk-1") == changes(LogIdentity(), now, "chk-1") == ()
    assert changes(before, merged(before, LogIdentity()), "chk-1") == ()


@given(identities, identities)
def test_what_was_accepted_is_not_reported_again(before: LogIdentity, now: LogIdentity) -> None:
    assert changes(accepted(before, now), replace(now, logs={n: i for n, i in now.logs.items() if i}), "chk-2") == ()


@given(identities)
def test_it_is_the_same_after_json(log: LogIdentity) -> None:
    assert from_json(to_json(log)) == log


def test_more_partitions_are_reported_of_the_topic_that_was_there_and_once() -> None:
    one, three = (dict.fromkeys(KNOWN.logs, count) for count in (1, 3))
    before, now = replace(KNOWN, partitions=one), replace(KNOWN, partitions=three | {"topic new": 2})
    lines = grown(before, now, "chk-7")
    assert [line.partition(":")[0] for line in lines] == [
        f"topic {name} has 3 partitions since chk-7, was 1" for name in ("articles", "pages")
    ]
    known = merged(before, now)
    assert grown(known, now, "chk-8") == grown(now, before, "chk-8") == []
    assert grown(known, merged(known, LogIdentity()), "chk-8") == grown(KNOWN, now, "chk-8") == []
    anew = replace(now, logs={**KNOWN.logs, "topic pages": "cccc"})
    assert len(grown(before, anew, "chk-8")) == 1


def test_json_of_another_release_is_read() -> None:
    assert from_json(b'{"order": "debezium", "of_a_later_release": 1}') == LogIdentity("debezium")


@pytest.mark.parametrize("part", ["logs", "databases", "sources"])
@given(log=identities, at=st.integers(0, 3), value=words)
def test_each_value_that_differs_is_reported_by_its_name(part: str, log: LogIdentity, at: int, value: str) -> None:
    values: Mapping[str, str] = getattr(log, part)
    if not values:
        return
    name = sorted(values)[at % len(values)]
    found = changes(log, replace(log, **{part: {**values, name: value}}), "chk-7")  # type: ignore[arg-type]
    if values[name] == value:
        assert found == ()
    else:
        (only,) = found
        assert name in only.what and values[name] in only.what and value in only.what


def reported(now: LogIdentity, before: LogIdentity = KNOWN) -> list[tuple[str, bool]]:
    return [(each.what, each.positions) for each in changes(before, now, "chk-12")]


def test_a_topic_made_anew_voids_offsets_alone() -> None:
    now = replace(KNOWN, logs={**KNOWN.logs, "topic articles": "cccc"})
    assert reported(now) == [
        (
            "topic articles was made anew since chk-12 (its id was aaaa and is cccc): offsets of the state mean "
            "nothing in another one",
            False,
        )
    ]
    said = refusal(changes(KNOWN, now, "chk-12"), "articles")
    assert said.startswith("articles: topic articles was made anew since chk-12")
    assert "--without-state" in said and "--same-log" in said and "another table" not in said


def test_where_positions_are_places_in_the_topic_they_are_void_too() -> None:
    before = LogIdentity("rows by arrival", {"topic articles": "aaaa"})
    assert [positions for _, positions in reported(replace(before, logs={"topic articles": "cccc"}), before)] == [True]
    elsewhere = reported(replace(before, logs={"stream articles": "arn"}), before)
    assert elsewhere == [("positions were places in topic articles, and are now in stream articles", True)]
    assert reported(LogIdentity("debezium", {"topic other": "x"})) == []


def test_a_named_topic_that_is_gone_is_reported_and_one_that_a_pattern_matched_is_not() -> None:
    (gone,) = reported(replace(KNOWN, logs={"topic articles": "", "topic pages": "bbbb"}))
    assert gone[0].startswith("topic articles is gone since chk-12")
    assert reported(replace(KNOWN, logs={"topic pages": "bbbb"})) == []
    # made again later, it is another one
    later = merged(KNOWN, replace(KNOWN, logs={"topic pages": "bbbb"}))
    assert reported(replace(KNOWN, logs={"topic articles": "cccc"}), later)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PostgreSQL's system identifier", "7500"), ("PostgreSQL's timeline", "2"), ("MySQL's server UUID", UUID_B)],
)
def test_another_database_voids_positions(name: str, value: str) -> None:
    ((what, positions),) = reported(replace(KNOWN, databases={**KNOWN.databases, name: value}))
    assert positions and what.startswith(f"{name} was {KNOWN.databases[name]} and is {value}")
    said = refusal(changes(KNOWN, replace(KNOWN, databases={name: value}), "chk-12"), "articles")
    assert "another table or index" in said and "--without-state" in said


def test_of_several_servers_one_in_common_is_the_same() -> None:
    assert reported(replace(KNOWN, databases={"MySQL's server UUID": f"{UUID_B} {UUID_A}"})) == []


def test_a_table_from_another_database_is_reported() -> None:
    assert reported(replace(KNOWN, sources={"public.articles": "shop2:app"})) == [
        ("public.articles came from shop:app and now comes from shop2:app, another database", True)
    ]


PIPELINE = """
name: documents
source: {kafka: {topic: changes, properties.bootstrap.servers: "127.0.0.1:1"}}
format: FORMAT
documents: {articles: {text: "{t}", key: [id]}}
store: {pgvector: {dsn: "postgresql://freshet@127.0.0.1:1/x", table: documents}}
dead_letters: {kafka: {topic: letters}}
"""


def pipeline(tmp_path: Path, format_: str) -> Pipeline:
    file = tmp_path / "pipeline.yaml"
    written = PIPELINE.replace("FORMAT", format_)
    if format_ in ("dms", "debezium"):
        written = written.replace("articles:", "public.articles:")
    file.write_text(written, encoding="utf-8")
    return load(file)


SETTINGS = [
    ("{rows: {table: articles}}", RowsFormat("articles")),
    ("{rows: {table: articles, position_field: v}}", RowsFormat("articles", position_field="v")),
    (
        "{rows: {table: articles, position_field: v, position_type: timestamp}}",
        RowsFormat("articles", position_field="v", position_type="timestamp"),
    ),
    (
        "{rows: {table: articles, position_field: v, position_type: text}}",
        RowsFormat("articles", position_field="v", position_type="text"),
    ),
    ("{rows: {table: articles, position_field: w}}", RowsFormat("articles", position_field="w")),
]


def order_of(of: Pipeline) -> str:
    return of.format.order(of.source)


@pytest.mark.parametrize("before", SETTINGS, ids=lambda each: each[0])
@pytest.mark.parametrize("now", SETTINGS, ids=lambda each: each[0])
def test_position_settings_that_changed_are_reported(
    tmp_path: Path, before: tuple[str, RowsFormat], now: tuple[str, RowsFormat]
) -> None:
    orders = [order_of(pipeline(tmp_path, text)) for text, _ in (before, now)]
    found = changes(LogIdentity(orders[0]), LogIdentity(orders[1]), "chk-3")
    if before == now:
        assert found == ()
        return
    (only,) = found
    assert only.positions and all(order in only.what for order in orders)


def test_a_changed_format_is_reported(tmp_path: Path) -> None:
    found = {each: order_of(pipeline(tmp_path, each)) for each in ("dms", "debezium", "dynamodb", "{rows: {table: a}}")}
    assert len(set(found.values())) == len(found)
    assert changes(LogIdentity(found["debezium"]), LogIdentity(found["dms"]), "chk-3")[0].positions


def test_why_settings_matter_positions_of_one_compare_with_the_other_s_and_mean_nothing() -> None:
    body = json.dumps({"id": 1, "v": 8}).encode()
    by_arrival, by_field = (
        rows.decode(Event("x", 0, offset, b'{"id":1}', body), RowsFormat("a", position_field=field))[0]
        for offset, field in ((10, ""), (11, "v"))
    )
    assert not isinstance(by_arrival, str) and not isinstance(by_field, str)
    back = rows.decode(Event("x", 0, 12, b'{"id":1}', body), RowsFormat("a"))[0]
    assert not isinstance(back, str) and back.position < by_field.position
    with pytest.raises(DecodeError):
        rows.decode(
            Event("x", 0, 12, b'{"id":1}', body), RowsFormat("a", position_field="v", position_type="timestamp")
        )


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ({"name": "shop", "db": "app", "schema": "public"}, "shop:app"),
        ({"name": "shop", "db": "inventory"}, "shop"),
        ({"name": "freshet-verify", "db": "app", "schema": "public"}, ""),
        ({"name": "", "db": "app"}, ""),
        ({"name": 1}, ""),
        ({}, ""),
    ],
)
def test_whose_an_event_is(source: dict[str, object], name: str) -> None:
    assert source_name(source) == name


def test_the_server_of_a_gtid() -> None:
    assert server({"gtid": f"{UUID_A.upper()}:23"}) == server({"gtid": f"{UUID_A}:tag:23"}) == UUID_A
    assert server({"gtid": "0-1-100"}) == server({"gtid": None}) == server({}) == ""


@given(
    st.binary(max_size=200) | st.recursive(st.none() | st.integers(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_what_is_no_event_has_no_source(value: bytes) -> None:
    assert source_block(value) == {}


def test_the_source_of_wrapped_and_of_bare_events() -> None:
    source = {"name": "shop", "db": "app", "schema": "public", "table": "articles"}
    bare = json.dumps({"op": "c", "after": {"id": 1}, "source": source}).encode()
    wrapped = json.dumps({"schema": {"type": "struct"}, "payload": {"op": "c", "source": source}}).encode()
    assert source_block(bare) == source_block(wrapped) == source
    assert source_block(None) == {} and table_of(source) == "public.articles"
    assert table_of({"db": "shop", "table": "t"}) == "shop.t" and table_of({"table": "t"}) == ""


def after(looks: list[bool]) -> int:
    level = 0
    for stale in looks:
        level = surplus(level, stale)
    return level


def test_a_snapshot_of_a_restored_source_is_an_alarm_after_however_many_good_ones() -> None:
    good = [False] * 100_000
    assert not flood(after(good))
    assert "restored to an earlier time" in flood(after(good + [True] * 10))
    # a third of its rows came since, and are taken
    assert flood(after(good + [True, True, False] * 20))


@given(st.lists(st.booleans(), max_size=200).filter(lambda looks: sum(looks) < 10))
def test_a_few_stale_rows_are_no_alarm(looks: list[bool]) -> None:
    assert not flood(after(looks))


@given(st.integers(1, 50), st.integers(2, 9))
def test_nor_is_a_snapshot_read_again_of_which_fewer_rows_changed_than_not(times: int, of: int) -> None:
    assert not flood(after([True] + [False] * (of - 1)) * times)
    assert not flood(after(([True] + [False] * (of - 1)) * times))


@given(identities, identities)
def test_a_cluster_goes_on_in_the_log_that_the_stores_know_or_in_one_that_is_meant(
    before: LogIdentity, now: LogIdentity
) -> None:
    assert held((), before, "shop", "", "{mark}") == held((before,), before, "shop", "", "{mark}")
    there = replace(now, logs={name: known for name, known in now.logs.items() if known})
    try:
        known = held((before,), now, "shop", "", "{mark}")
    except OtherLog as error:
        assert changes(before, there, "the last run") and f"  {mark(there)}, which says" in str(error)
        assert held((before,), now, "shop", mark(there), "{mark}") == there
        with pytest.raises(OtherLog):
            held((before,), now, "shop", mark(replace(there, order="another")), "{mark}")
    else:
        assert changes(before, there, "the last run") == () and changes(before, known, "chk-1") == ()


def test_partitions_that_are_added_make_no_other_log() -> None:
    log = replace(KNOWN, partitions={"topic articles": 2})
    more = replace(log, partitions={"topic articles": 3})
    assert mark(log) == mark(more) and held((log,), more, "shop", "", "{mark}").partitions == more.partitions


def test_why_a_cluster_stops_and_the_ways_on_are_told() -> None:
    anew = replace(KNOWN, logs={**KNOWN.logs, "topic articles": "cccc"})
    with pytest.raises(OtherLog) as raised:
        held((KNOWN, KNOWN), anew, "shop", "", "with --log={mark}")
    assert str(raised.value).splitlines() == [
        "shop: topic articles was made anew since the last run (its id was aaaa and is cccc): offsets of the state "
        "mean nothing in another one",
        "Nothing was read: some of what is there would be passed over. The way on:",
        "  start it without savepoint or snapshot: it is read from its start; what the store holds stays, and isn't "
        "embedded again",
        f"  with --log={mark(anew)}, which says that this log is meant",
    ]
    restored = replace(KNOWN, databases={"PostgreSQL's timeline": "2"})
    with pytest.raises(OtherLog, match="with another table or index below store"):
        held((KNOWN,), restored, "shop", "", "{mark}")
