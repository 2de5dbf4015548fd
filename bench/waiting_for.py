"""How long a search that waits for a change is answered after the change's row was committed."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.figures import Percentiles, percentiles
from core.plans import Plan

_CHANGES = 60
_HEAD_START_S = 0.05


def waited(write: Callable[[int], Plan], ask: Callable[[dict[str, Any]], object]) -> Percentiles:
    """Latencies from the return of `write`, which commits the change of a number, until the search is answered.

    write  commits the n-th change of a document
    ask    sends a search with these fields, and returns once it is answered
    """
    taken = []
    with ThreadPoolExecutor(1, "waits") as thread:
        document_id = write(0).document_id
        for number in range(1, _CHANGES + 1):
            wait_for = {"document_id": document_id, "position": f"{number:016x}.{number:016x}"}
            answered = thread.submit(_answered_at, ask, {"wait_for": wait_for})
            time.sleep(_HEAD_START_S)
            assert not answered.done()
            write(number)
            committed = time.perf_counter()
            taken.append(answered.result() - committed)
    return percentiles(taken)


def _answered_at(ask: Callable[[dict[str, Any]], object], fields: dict[str, Any]) -> float:
    ask(fields)
    return time.perf_counter()
