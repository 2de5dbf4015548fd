"""What a first pipeline file makes of a table's columns, and that it means what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import file as config_file
from core.config.first_pipeline import (
    PINECONE_KEY,
    Choice,
    Column,
    Places,
    choice,
    name_of,
    scalar,
    store_of,
    topic_of,
    written,
)

COLUMNS = (
    Column("id", "bigint"),
    Column("lang", "character varying(2)"),
    Column("title", "character varying(200)"),
    Column("Körper", "text"),
    Column("gebühr", "numeric(8,2)"),
    Column("seit", "timestamp(3) without time zone"),
    Column("mood", "mood", enumerated=True),
    Column("extra", "jsonb"),
    Column("tags", "integer[]"),
    Column("a|b", "text"),
    Column("whole", "text", lost="which is generated: nobody tells it"),
)


DSN = "postgresql://127.0.0.1:5432/shop"


def places(table: str = "public.articles", store: str = DSN) -> Places:
    name = name_of(table)
    return Places(name, table, topic_of("shop", table), "127.0.0.1:9092", DSN, store_of(name, store))


def loaded(tmp_path: Path, chosen: Choice, at: Places) -> str:
    file = tmp_path / "pipeline.yaml"
    file.write_text(written(at, chosen), encoding="utf-8")
    config_file.load(file, {PINECONE_KEY: "x"})
    return file.read_text(encoding="utf-8")


def test_long_text_is_the_text_and_what_is_short_is_metadata(tmp_path: Path) -> None:
    chosen = choice(COLUMNS, ("id", "lang"))
    assert chosen.text == ("title", "Körper")
    assert chosen.metadata == ("id", "lang", "gebühr", "seit", "mood")
    assert chosen.types == {"gebühr": "numeric(8,2)", "seit": "timestamp(3) without time zone"}
    assert list(chosen.left) == ["extra", "tags", "a|b", "whole"]
    assert chosen.left["extra"].startswith("jsonb: {extra.PART} in text")
    assert chosen.left["whole"] == "generated: nobody tells it"
    file = yaml.safe_load(text := loaded(tmp_path, chosen, places()))
    document = file["documents"]["public.articles"]
    assert (document["text"], document["key"]) == ("{title}\n\n{Körper}", ["id", "lang"])
    assert file["source"]["kafka"]["topic"] == "shop.public.articles"
    assert "# not used: tags (integer[])" in text


def test_a_key_of_one_column_is_the_id_and_no_metadata() -> None:
    chosen = choice(COLUMNS[:4], ("id",))
    assert (chosen.metadata, chosen.key) == (("lang",), ("id",))


def test_a_column_of_a_key_is_metadata_whatever_its_type() -> None:
    columns = (Column("country", "text"), Column("name", "text"), Column("story", "text"))
    chosen = choice(columns, ("country", "name"))
    assert (chosen.text, chosen.metadata) == (("story",), ("country", "name"))
    assert choice(columns[:2], ("country", "name")).text == ("country", "name")


def test_where_nothing_is_long_short_text_is_the_text_and_where_nothing_is_text_there_is_none() -> None:
    assert choice(COLUMNS[:2], ("id",)).text == ("lang",)
    assert choice((Column("id", "uuid"),), ("id",)).text == ()


@pytest.mark.parametrize(
    ("table", "name", "topic", "store"),
    [
        ("public.articles", "articles", "shop.public.articles", "articles_chunks"),
        ("crm.Kunden Größe", "crm-Kunden_Grosse", "shop.crm.Kunden_Gr__e", "crm_kunden_grosse_chunks"),
        ("public.Bücher", "Bucher", "shop.public.B_cher", "bucher_chunks"),
    ],
)
def test_names_are_such_as_kafka_and_the_store_take(
    table: str, name: str, topic: str, store: str, tmp_path: Path
) -> None:
    assert (name_of(table), topic_of("shop", table)) == (name, topic)
    assert f"table: {store}}}" in loaded(tmp_path, choice(COLUMNS, ("id",)), places(table))


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        ("milvus=vectors.db", {"milvus": {"uri": "vectors.db", "collection": "_7_tage_chunks"}}),
        ("milvus=https://milvus:19530", {"milvus": {"uri": "https://milvus:19530", "collection": "_7_tage_chunks"}}),
        (
            "pinecone=articles",
            {"pinecone": {"index": "articles", "namespace": "7_tage_chunks", "api_key": "${PINECONE_API_KEY}"}},
        ),
        ("opensearch=http://a:9200", {"opensearch": {"hosts": ["http://a:9200"], "index": "7-tage-chunks"}}),
        ("kafka=a:9092", {"kafka": {"topic": "7_Tage.staged", "properties.bootstrap.servers": "a:9092"}}),
        ("dbname=x", {"pgvector": {"dsn": "dbname=x", "table": "7_tage_chunks"}}),
    ],
)
def test_a_store_is_named_by_what_it_is_and_where(store: str, expected: object, tmp_path: Path) -> None:
    text = loaded(tmp_path, choice(COLUMNS, ("id",)), places("public.7 Tage", store))
    assert yaml.safe_load(text)["store"] == expected


LINE_ENDS = st.sampled_from(["\n", "\r", "\x85", "\u2028", "\u2029", "\x1b", "\x0b", "\0"])


@settings(max_examples=60)
@given(st.lists(LINE_ENDS | st.sampled_from(["flink: {a: 1} #", "'", '"', " #", "x[", "- "]), min_size=1).map("".join))
def test_no_name_of_a_column_becomes_a_setting(name: str) -> None:
    chosen = choice((*COLUMNS, Column(name, "text", lost="which is lost")), ("id",))
    assert name in chosen.left
    others = Choice(chosen.text, chosen.metadata, chosen.key, chosen.types, {})
    assert yaml.safe_load(written(places(), chosen)) == yaml.safe_load(written(places(), others))


@settings(max_examples=40)
@given(st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1, max_size=20))
def test_every_name_is_the_same_behind_yaml(name: str) -> None:
    assert yaml.safe_load(f"[{scalar(name)}, {{{scalar(name)}: 1}}]") == [name, {name: 1}]
