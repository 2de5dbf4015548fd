"""What code counts where no metric group is at hand: in clients, in models, between two functions of a batch.

The writing function drains it once a batch and sends it on with the batch's answer (`flink_jobs/engine/metrics.py`).
Flink's own metrics of a Python worker are sent whole with every bundle, at some 20 µs each: these cost an entry of a
dictionary.
"""

from __future__ import annotations

from collections import Counter
from threading import Lock

import msgspec

from core.metrics.figures import LABELS_OF_BUCKETS, METRICS, Labels, histogram


class Rise(msgspec.Struct, frozen=True, array_like=True):
    """How much a metric has risen."""

    name: str
    labels: Labels
    by: int


_lock = Lock()
_counts: Counter[tuple[str, Labels]] = Counter()
_taken_ms: list[int] = []


def count(name: str, by: int = 1, **labels: str) -> None:
    """Add to a counter of `core.metrics.figures.METRICS`. Raises KeyError for a name that isn't there."""
    assert METRICS[name].labels == tuple(labels), f"{name} has the labels {METRICS[name].labels}"
    with _lock:
        _counts[name, tuple(labels.items())] += by


def searchable(taken_ms: int) -> None:
    """Count a change that is searchable `taken_ms` after its commit; below 0, as clocks differ, counts as 0."""
    with _lock:
        _taken_ms.append(max(0, taken_ms))


def drain() -> list[Rise]:
    """All that was counted since the last time."""
    with _lock:
        counted = dict(_counts)
        taken = list(_taken_ms)
        _counts.clear()
        _taken_ms.clear()
    if taken:
        name = "commit_to_searchable_ms"
        counted[f"{name}_sum", ()] = sum(taken)
        counted[f"{name}_count", ()] = len(taken)
        for label, number in zip(LABELS_OF_BUCKETS, histogram(taken), strict=True):
            counted[f"{name}_bucket", (("le", label),)] = number
    return [Rise(name, labels, by) for (name, labels), by in counted.items() if by]
