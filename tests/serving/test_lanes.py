"""Who sees a part of an index has a part of its threads."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import pytest

from core.stores.filters.language import EVERYTHING, parse
from serving.lanes import Lanes

ACME, BETA = (parse({"tenant": each}, {"tenant"}) for each in ("acme", "beta"))


def test_one_whose_searches_take_long_leaves_threads_to_others() -> None:
    over = Event()
    with ThreadPoolExecutor(4) as threads:
        lanes = Lanes(threads, 4)
        slow: list[Future[bool]] = [lanes.of(ACME).submit(over.wait, 20) for _ in range(9)]
        try:
            assert [lanes.of(each).submit(lambda: 1).result(5) for each in (BETA, EVERYTHING)] == [1, 1]
            assert sum(each.running() for each in slow) == 2
            # who gave up holds nothing
            assert slow[-1].cancel()
        finally:
            over.set()
        assert [each.result(5) for each in slow[:-1]] == [True] * 8
        assert lanes.of(parse({"tenant": "acme"}, {"tenant"})).submit(lambda: 1).result(5) == 1


def test_what_fails_fails_who_asked_and_the_next_is_answered() -> None:
    with ThreadPoolExecutor(1) as threads:
        lane = Lanes(threads, 1).of(ACME)
        failed, next_one = lane.submit(lambda: 1 / 0), lane.submit(lambda: 1)
        assert next_one.result(5) == 1
        with pytest.raises(ZeroDivisionError):
            failed.result(5)
