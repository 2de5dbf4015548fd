"""Which database's rows the operators take; the pure rules are in tests/core/test_sources.py."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from pyflink.common import Row

from connectors.opening.stores import stores_of
from core.config.file import load
from core.config.log_identity import FLOOD
from core.config.pipeline import Pipeline
from flink_jobs.steps.operators import DEAD_LETTERS, SWEPT, UNSETTLED, Decode
from flink_jobs.steps.planning import PlanDocument
from tests.core.test_sources import PIPELINE
from tests.flink_jobs.test_meters import Group

A, B = "tenantA", "tenantB"


class Context:
    """As much of Flink's contexts as the operators ask."""

    def __init__(self, key: str = "", found: Counter[str] | None = None) -> None:
        self.key, self.found = key, Counter() if found is None else found
        self.raw: bytes | None = None

    def get_metrics_group(self) -> Group:
        return Group(self.found)

    def get_state(self, _: object) -> Context:
        return self

    def value(self) -> bytes | None:
        return self.raw

    def update(self, raw: bytes) -> None:
        self.raw = raw

    def timestamp(self) -> int:
        return 1_000

    def get_current_key(self) -> str:
        return self.key

    def timer_service(self) -> Context:
        return self

    def current_processing_time(self) -> int:
        return 0

    def register_processing_time_timer(self, _: int) -> None:
        pass

    def register_event_time_timer(self, _: int) -> None:
        pass


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """`public.articles` has its source in its ids, `public.pages` has not."""
    (tmp_path / "pipeline.yaml").write_text(PIPELINE.replace("FORMAT", "debezium"), encoding="utf-8")
    return load(tmp_path / "pipeline.yaml")


def event(name: str, table: str, op: str = "c", at: int = 100, snapshot: str = "false", number: int = 1) -> Row:
    source = {"connector": "postgresql", "name": name, "db": "app", "schema": "public", "table": table, "lsn": at}
    source |= {"sequence": json.dumps([str(at), str(at)]), "snapshot": snapshot}
    image = {"before": {"id": number}, "after": None if op in "td" else {"id": number, "t": name}}
    value = json.dumps({"op": op, "source": source, **image}).encode()
    return Row(json.dumps({"id": number}).encode(), value, "t", 0, 0, None)


def decoded(pipeline: Pipeline, events: list[Row], known: Mapping[str, str]) -> list[tuple[str, str]]:
    """What comes out: where, and the key that it goes on by, or a dead letter's reason."""
    operator, context = Decode(pipeline.name, pipeline.events, known), cast("Any", Context())
    operator.open(context)
    results = []
    for each in events:
        for out in operator.process_element(each, context):
            tag, row = out if isinstance(out, tuple) else (None, out)
            if tag is DEAD_LETTERS:
                results.append(("letter", row[2]["freshet.reason"].decode()))
            else:
                results.append(("sweep" if tag is SWEPT else "change", row[0]))
    return results


def test_a_second_database_of_a_table_is_a_dead_letter_whatever_it_tells(pipeline: Pipeline) -> None:
    first, *others, last = decoded(
        pipeline,
        [
            event(A, "pages"),
            event(B, "pages"),
            event(B, "pages", "t"),
            event(B, "pages", "r", snapshot="last"),
            event(B, "pages", "d"),
            event(A, "pages", "t"),
        ],
        {},
    )
    assert (first, last) == (("change", "public.pages/1"), ("sweep", "public.pages"))
    assert len(others) == 4
    for kind, reason in others:
        assert kind == "letter" and "public.pages is tenantA:app's, and this event is tenantB:app's" in reason


def test_what_is_known_before_goes_over_what_comes_first(pipeline: Pipeline) -> None:
    events = [event(A, "pages"), event(B, "pages", number=2), event("", "pages", number=3)]
    results = decoded(pipeline, events, {"public.pages": "tenantB:app"})
    assert [kind for kind, _ in results] == ["letter", "change", "change"]


def test_with_the_source_in_ids_each_database_is_swept_by_itself(pipeline: Pipeline) -> None:
    results = decoded(
        pipeline,
        [
            event(A, "articles"),
            event(B, "articles"),
            event(B, "articles", "t"),
            event(A, "articles", "r", snapshot="last"),
            event("", "articles"),
        ],
        {"public.articles": "tenantA:app"},
    )
    assert results[:5] == [
        ("change", "public.articles@tenantA:app/1"),
        ("change", "public.articles@tenantB:app/1"),
        ("sweep", "public.articles@tenantB:app"),
        ("sweep", "public.articles@tenantA:app"),
        ("change", "public.articles@tenantA:app/1"),
    ]
    assert results[5][0] == "letter" and "id_from_source" in results[5][1]


def planned(pipeline: Pipeline, events: list[Row]) -> tuple[list[Any], Counter[str]]:
    """What the plans' operator tells of events that are all of one document, and what it counts."""
    decode, found = Decode(pipeline.name, pipeline.events, {}), Counter[str]()
    context = Context(found=found)
    decode.open(cast("Any", Context()))
    plan = PlanDocument(pipeline.documents, pipeline.embedding, stores_of(pipeline), bounded=False)
    plan.open(cast("Any", context))
    outputs = []
    for each in events:
        for key, row in decode.process_element(each, cast("Any", Context())):
            context.key = key
            outputs += plan.process_element(row, cast("Any", context))
    return outputs, found


def test_halves_of_key_changes_meet_within_their_database(pipeline: Pipeline) -> None:
    half = event(B, "articles", "d")
    half[5] = {"__debezium.newkey": b"x"}
    (output,), _ = planned(pipeline, [half])
    tag, row = output
    assert tag is UNSETTLED and row[0] == "public.articles@tenantB:app"


def test_a_restored_database_s_snapshot_is_counted_and_one_read_again_is_not(pipeline: Pipeline) -> None:
    rows = [event(A, "pages", at=5_000)]
    outputs, found = planned(
        pipeline, [*rows, *(event(A, "pages", "r", at=100, snapshot="true") for _ in range(FLOOD))]
    )
    assert len(outputs) == 1
    assert found["freshet.stale_snapshot_rows"] == found["freshet.stale_snapshot_surplus"] == FLOOD
    again = [event(A, "pages", "r", at=100, snapshot="true") for _ in range(50)]
    _, found = planned(pipeline, [*again, *again])
    assert found["freshet.stale_snapshot_surplus"] == found["freshet.stale_snapshot_rows"] == 0
