"""A topic that isn't there: an error where it was named, to be waited for where a pattern may match it later."""

from __future__ import annotations

from typing import Any

import pytest

from core.config.pipeline import Pipeline
from core.errors import ConfigError
from operations.source_topics import refuse_missing, waits
from tests.operations.test_displaced import SETTINGS

THERE = ["__consumer_offsets", "shop.public.articles", "shop.public.orders"]
LISTED = "there are shop.public.articles, shop.public.orders."
ROWS = {"rows": {"table": "public.a", "position_field": "at"}}


def pipeline(format_: Any = "debezium", **kafka: Any) -> Pipeline:
    documents = {"public.a": {"text": "{body}", "key": ["id"]}}
    source = {"kafka": {"properties.bootstrap.servers": "x:1", **kafka}}
    return Pipeline.model_validate({**SETTINGS, "source": source, "format": format_, "documents": documents})


@pytest.mark.parametrize(
    ("topic", "format_", "hint"),
    [
        ("shop.public.artikles", "debezium", ": did you mean shop.public.articles?"),
        (
            "other.inventory.stock",
            "debezium",
            f"; {LISTED} Debezium makes it: for a table of the local stack `freshet stack connect inventory.stock`",
        ),
        ("events", ROWS, f"; {LISTED} Whoever sends its events makes it"),
    ],
)
def test_a_topic_that_is_named_must_be_there(topic: str, format_: Any, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        refuse_missing(pipeline(format_, topic=f"shop.public.orders;{topic}"), THERE)
    assert raised.value.problems == [f"x:1 has no topic {topic}{hint}"]


def test_what_is_there_is_read_and_a_pattern_may_wait() -> None:
    assert refuse_missing(pipeline(topic="shop.public.orders"), THERE) == ["shop.public.orders"]
    later = pipeline(**{"topic-pattern": r"new\..*"})
    assert refuse_missing(later, THERE) == []
    assert waits(later.kafka).startswith(
        r"x:1 has no topic whose whole name matches new\..* yet; Flink looks every 10 s "
    )
