"""What is counted where no metric group is at hand."""

from __future__ import annotations

import threading

import pytest

from core.metrics import tally
from core.metrics.figures import LABELS_OF_BUCKETS


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    tally.drain()


def drained() -> dict[tuple[str, tuple[tuple[str, str], ...]], int]:
    return {(each.name, each.labels): each.by for each in tally.drain()}


def test_what_is_counted_is_drained_once() -> None:
    tally.count("retries", of="pgvector")
    tally.count("retries", 2, of="pgvector")
    tally.count("retries", of="opensearch")
    tally.count("tokens", 0)
    assert drained() == {("retries", (("of", "pgvector"),)): 3, ("retries", (("of", "opensearch"),)): 1}
    assert drained() == {}


def test_changes_that_became_searchable_are_drained_as_a_histogram() -> None:
    for taken in (-5, 10, 11, 700_000):
        tally.searchable(taken)
    found = drained()
    buckets = [found[("commit_to_searchable_ms_bucket", (("le", label),))] for label in LABELS_OF_BUCKETS]
    assert buckets == [2, *[3] * (len(buckets) - 2), 4]
    assert found["commit_to_searchable_ms_count", ()] == 4
    assert found["commit_to_searchable_ms_sum", ()] == 700_021


def test_a_name_or_a_label_that_is_not_defined_is_refused() -> None:
    with pytest.raises(KeyError):
        tally.count("retrys", of="pgvector")
    with pytest.raises(AssertionError, match="labels"):
        tally.count("retries", store="pgvector")


def test_threads_count_together() -> None:
    threads = [threading.Thread(target=lambda: [tally.count("tokens") for _ in range(1000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drained() == {("tokens", ()): 8000}
