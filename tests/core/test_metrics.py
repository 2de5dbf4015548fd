"""Names of figures, and what is made of those that Flink tells."""

from __future__ import annotations

import re
from random import Random
from statistics import quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.metrics.figures import (
    BUCKETS_MS,
    ENDLESS,
    LABELS_OF_BUCKETS,
    METRICS,
    Figure,
    Kind,
    Metric,
    by_label,
    counts,
    figure,
    histogram,
    histogram_of,
    in_words,
    is_ours,
    largest,
    quantile,
    total,
)


def test_lines_of_run_count_one_thing_as_one_and_leave_out_what_counts_nothing() -> None:
    assert in_words({"applied": 1, "changes": 1, "decode_dead_letters": 1, "stale": 0}) == (
        "1 applied, 1 change, 1 decode dead letter"
    )
    assert in_words({"chunks_embedded": 3, "losses": 1, "keys_changed": 1}) == (
        "3 chunks embedded, 1 key changed, 1 loss"
    )
    assert in_words({"changes": 0}) == ""


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_a_metric_is_named_so_that_every_reporter_can_spell_it(metric: Metric) -> None:
    name = metric.name
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert metric.description
    assert set(re.findall(r"{(\w+)}", metric.shown)) <= set(metric.labels)


def test_what_rest_tells_is_a_figure_with_its_labels() -> None:
    assert is_ours("0.decode.freshet.stale") and not is_ours("0.decode.numRecordsIn")
    found = figure("decode.freshet.feed.debezium.operation.upsert.changes", 7.0, 4.0)
    assert found == Figure("changes", 7.0, {"feed": "debezium", "operation": "upsert"})
    assert figure("decode.freshet.source_lag_ms", 9.0, 5.0) == Figure("source_lag_ms", 5.0)
    # the group as it is on the service
    assert figure("plan.kinesisanalytics.Program.freshet.stale", 2.0, 1.0) == Figure("stale", 2.0)
    assert figure("plan.freshet.of_another_release", 2.0, 1.0) is None


def test_counts_are_named_as_the_lines_of_run_name_them() -> None:
    figures = [
        Figure("changes", 2, {"feed": "debezium", "operation": "upsert"}),
        Figure("changes", 1, {"feed": "debezium", "operation": "delete"}),
        Figure("skipped", 1, {"reason": "schema-change"}),
        Figure("dead_letters", 1, {"stage": "decode", "reason": "DecodeError"}),
        Figure("dead_letters", 2, {"stage": "decode", "reason": "ProfileError"}),
        Figure("applied", 3, {"store": "pgvector"}),
        Figure("source_lag_ms", 12),
        Figure("batches", 2),
    ]
    alone = {"changes": 3, "skipped_schema_change": 1, "decode_dead_letters": 3, "applied": 3}
    assert counts(figures) == alone
    both = counts(
        [*figures, Figure("applied", 2, {"store": "opensearch"}), Figure("outdated", 1, {"store": "pgvector"})]
    )
    assert both.items() >= {"applied_pgvector": 3, "applied_opensearch": 2, "stale_pgvector": 1}.items()
    assert by_label(figures, "changes", "operation") == {"upsert": 2, "delete": 1}
    assert total(figures, "dead_letters") == 3
    assert largest(figures, "source_lag_ms") == 12 and largest(figures, "behind_ms") is None


def test_gauges_are_not_counted() -> None:
    assert {metric.shown for metric in METRICS.values() if metric.kind is Kind.GAUGE} == {""}


@given(st.lists(st.integers(0, 10_000_000), max_size=50))
def test_a_histogram_counts_each_value_once(values: list[int]) -> None:
    found = histogram(values)
    assert len(found) == len(LABELS_OF_BUCKETS) and found[-1] == len(values)
    assert [sum(value <= bound for value in values) for bound in BUCKETS_MS] == found[:-1]


def test_quantiles_are_within_the_bucket_of_the_true_ones() -> None:
    chance = Random(4)
    values = [int(chance.lognormvariate(4, 1)) for _ in range(5_000)]
    cuts = quantiles(values, n=100)
    for share, true in ((0.5, cuts[49]), (0.99, cuts[98])):
        bounds = sorted([0, *BUCKETS_MS])
        above = next(bound for bound in bounds if bound >= true)
        below = bounds[bounds.index(above) - 1]
        assert below <= (quantile(histogram(values), share) or 0) <= above


def test_quantiles_at_the_ends() -> None:
    assert quantile(histogram([]), 0.5) is None
    assert quantile([], 0.5) is None
    assert quantile(histogram([10**9]), 0.5) == BUCKETS_MS[-1]
    assert quantile(histogram([5] * 4), 0.5) == 5.0


def test_the_histogram_of_a_job_is_put_together_from_its_buckets() -> None:
    buckets = [
        *(Figure("commit_to_searchable_ms_bucket", 2, {"le": label}) for label in ("25", "50", ENDLESS)),
        Figure("commit_to_searchable_ms_bucket", 1, {"le": ENDLESS}),
    ]
    found = dict(zip(LABELS_OF_BUCKETS, histogram_of(buckets), strict=True))
    assert (found["10"], found["25"], found[ENDLESS]) == (0, 2, 3)
