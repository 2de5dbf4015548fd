"""What is measured, and percentiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Measurement(StrEnum):
    """What can be measured, and the key of it in the JSON."""

    SAVINGS = "embeddings_saved"
    MACHINERY = "machinery_changes_per_second"
    TOPIC_TO_ROW = "topic_to_row_ms"
    COMMIT_TO_SEARCHABLE = "commit_to_searchable_ms"
    RAW_ENCODE = "pipeline_over_raw_encode"
    ASKING = "search_over_bare"
    ENGINE = "engine_over_float32_encode"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: changes in the backlog, seconds of steady changes, articles, and rounds of both sides."""

    changes: int
    seconds: float
    documents: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of `n` latencies, in milliseconds."""

    p50: float
    p95: float
    p99: float
    n: int


def percentiles(seconds: Sequence[float]) -> Percentiles:
    """The percentiles of latencies given in seconds, linearly interpolated.

    Raises ValueError where there are none.
    """
    if not seconds:
        raise ValueError("no latency was measured")
    import numpy as np  # late: each command names what can be measured

    p50, p95, p99 = (float(value) for value in np.percentile(np.array(seconds) * 1000, (50, 95, 99)))
    return Percentiles(p50, p95, p99, len(seconds))
