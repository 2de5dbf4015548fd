"""Threads that stay on one processor, where one was chosen."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from flink_jobs.engine import one_core

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has processors for threads")


def allowed_in_a_thread() -> set[int]:
    def stayed() -> set[int]:
        one_core.stay()
        return os.sched_getaffinity(0)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(stayed).result()


def test_threads_stay_where_it_was_chosen_and_nobody_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(one_core._VARIABLE, "")
    everywhere = os.sched_getaffinity(0)
    one_core.choose()
    found = [allowed_in_a_thread() for _ in range(2)]
    assert found[0] == found[1] and len(found[0]) == 1 and found[0] <= everywhere
    assert os.sched_getaffinity(0) == everywhere


def test_where_none_was_chosen_a_thread_may_be_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(one_core._VARIABLE, raising=False)
    assert allowed_in_a_thread() == os.sched_getaffinity(0)
