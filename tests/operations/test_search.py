"""`freshet search`: what its options mean."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from core.config.file import load
from core.config.pipeline import Pipeline
from core.errors import ConfigError, FilterError, Unavailable
from core.stores.filters.language import And, In, Not, equals
from operations.search import asked_of, search
from stack.layout import free_port

PIPELINE = """
name: rivers
source: {kafka: {topic: shop.public.rivers, properties.bootstrap.servers: "127.0.0.1:9092"}}
format: debezium
documents: {public.rivers: {text: "{story}", metadata: [country, länge_km]}}
embedding: {model: hash}
store: {pgvector: {dsn: "postgresql://127.0.0.1/x", table: rivers}}
dead_letters: {kafka: {topic: rivers.dead}}
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    (tmp_path / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    return load(tmp_path / "pipeline.yaml")


def test_a_store_that_is_away_is_reported_before_a_model_is_loaded(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dsn = f"postgresql://127.0.0.1:{free_port()}/x"
    store = pipeline.store.model_copy(update={"pgvector": pipeline.store.pgvector.model_copy(update={"dsn": dsn})})
    away = pipeline.model_copy(
        update={"store": store, "embedding": pipeline.embedding.model_copy(update={"model": "nobody/has-it"})}
    )
    with pytest.raises(
        Unavailable, match=r"store\.pgvector\.dsn: nobody answers at 127\.0\.0\.1:\d+ \(Connection refused"
    ):
        search(away, "?", 1, [])


def test_an_empty_question_is_refused(pipeline: Pipeline) -> None:
    with pytest.raises(ConfigError, match="the question is empty"):
        search(pipeline, " \n", 1, [])


@pytest.mark.parametrize("text", ["country=de", "länge_km=6=5"])
def test_a_filter_is_a_column_and_a_value(pipeline: Pipeline, text: str) -> None:
    name, _, value = text.partition("=")
    assert asked_of(pipeline, [text], []) == equals((name,), value, "")


def test_all_filters_and_pairs_must_hold(pipeline: Pipeline) -> None:
    asked = asked_of(pipeline, ["country=de"], ['{"länge_km": 6}', {"not": {"country": "fr"}}])
    length, france = In(("länge_km",), (Decimal(6),)), Not(In(("country",), ("fr",)))
    assert asked == And((equals(("country",), "de", ""), length, france))
    with pytest.raises(FilterError, match=r"filter\.laenge_km: .*did you mean länge_km\?"):
        asked_of(pipeline, [], ['{"laenge_km": 6}'])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("country", "--where is 'country', must be column=value, with one of the columns country, länge_km"),
        ("laenge_km=6", "laenge_km is no column of documents.….metadata in the pipeline file; did you mean länge_km?"),
        ("story=x", "story is no column of documents.….metadata in the pipeline file; there are country, länge_km"),
    ],
)
def test_another_one_is_named_with_what_there_is(pipeline: Pipeline, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        asked_of(pipeline, [text], [])
