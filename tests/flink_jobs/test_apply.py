"""What is counted of the outcomes of a batch; the writing itself, tests/flink_jobs/test_two_stores.py sees."""

from __future__ import annotations

from core.plans import Outcome, Status
from flink_jobs.steps.apply import refused


def test_a_change_that_any_store_knows_better_is_refused_once() -> None:
    applied, stale = Outcome("notes/a", Status.APPLIED), Outcome("notes/a", Status.STALE)
    outcomes = [{"pgvector": applied}, {"pgvector": stale}, {"pgvector": stale, "opensearch": stale}, {}]
    assert refused(outcomes) == 2
