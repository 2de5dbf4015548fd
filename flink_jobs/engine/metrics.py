"""Where figures of ours go in Flink: operators' counters, and what a worker has counted, on its way to them.

Names and labels are those of `METRICS`; another is a KeyError. On Managed Service for Apache Flink only
what is below the group `kinesisanalytics` reaches CloudWatch, the names and values of groups as dimensions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, perf_counter_ns
from typing import Any

import pyflink

from core.config.log_identity import surplus
from core.config.msf import properties_file
from core.metrics import tally
from core.metrics.figures import GROUP, LABELS_OF_BUCKETS, METRICS, REPORTER, Labels, quantile
from core.metrics.tally import Rise

_SEEN_BY_CLOUDWATCH = "kinesisanalytics"
_HISTOGRAM = "commit_to_searchable_ms"
_BUCKET = "_bucket"
"""CloudWatch knows no histograms, and each bucket would cost what a metric costs: there, the gauges tell."""

_WINDOW_S = 30.0


class Meters:
    """An operator's counters and gauges, made when they are first used; those of `names` at once, with 0.

    It is made where the job is built, and opened where it runs. A gauge is a counter that also falls: Flink asks
    gauges of Python from threads of its own, which inside the JVM is not for the asking.
    """

    def __init__(self, *names: str) -> None:
        self._names = names
        self._managed = Path(properties_file(os.environ)).is_file()
        self._counters: dict[tuple[str, Labels], Any] = {}
        self._held: dict[str, int] = {}

    def open(self, group: Any) -> None:
        """Make those that are known by name. `group` is the operator's or the function's own."""
        root = group.add_group(_SEEN_BY_CLOUDWATCH).add_group("Program", GROUP) if self._managed else None
        self._group = root or group.add_group(GROUP)
        self._counters = {}
        self._held = {}
        for name in self._names:
            if not name.endswith(_BUCKET):
                self._counter(name, ())
            elif not self._managed:
                for label in LABELS_OF_BUCKETS:
                    self._counter(name, (("le", label),))

    def count(self, name: str, by: int = 1, **labels: str) -> None:
        """Add to a counter."""
        self._counter(name, tuple(labels.items())).inc(by)

    def hold(self, name: str, value: int) -> None:
        """Set a gauge."""
        before = self._held.get(name, 0)
        if value != before:
            self._held[name] = value
            self._counter(name, ()).inc(value - before)

    def tell(self, counted: Sequence[Rise]) -> None:
        """Add to the counters what a worker has counted."""
        for each in counted:
            if not (self._managed and each.name.endswith(_BUCKET)):
                self._counter(each.name, each.labels).inc(each.by)

    def _counter(self, name: str, labels: Labels) -> Any:
        found = self._counters.get((name, labels))
        if found is None:
            assert METRICS[name].labels == tuple(label for label, _ in labels), f"{name}: {labels}"
            group = self._group
            for label, value in labels:
                # a dot parts groups, for REST
                group = group.add_group(label, value.replace(".", "_"))
            found = self._counters[name, labels] = group.counter(name)
        return found


class Searchable:
    """How long changes took from commit to store, as gauges: median and 99th percentile of the last 30 to 60 s."""

    NAMES = ("commit_to_searchable_p50_ms", "commit_to_searchable_p99_ms")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._begun = clock()
        self._before = self._now = [0] * len(LABELS_OF_BUCKETS)

    def hear(self, counted: Sequence[Rise], meters: Meters) -> None:
        """Set the gauges anew where changes were counted."""
        rises = {each.labels[0][1]: each.by for each in counted if each.name == f"{_HISTOGRAM}_bucket"}
        if not rises:
            return
        if self._clock() > self._begun + _WINDOW_S:
            self._begun = self._clock()
            self._before, self._now = self._now, [0] * len(LABELS_OF_BUCKETS)
        self._now = [count + rises.get(label, 0) for label, count in zip(LABELS_OF_BUCKETS, self._now, strict=True)]
        both = [sum(pair) for pair in zip(self._before, self._now, strict=True)]
        for name, share in zip(self.NAMES, (0.5, 0.99), strict=True):
            meters.hold(name, round(quantile(both, share) or 0))


class Snapshots:
    """Counts rows of snapshots that are older than the state: few of them after a replay, most of a restored source."""

    NAMES = ("stale_snapshot_rows", "stale_snapshot_surplus")

    def __init__(self) -> None:
        self._surplus = 0

    def heard(self, stale: bool, meters: Meters) -> None:
        """One more row. While none is stale nothing is reported, so it costs nothing."""
        if stale:
            meters.count("stale_snapshot_rows")
        self._surplus = surplus(self._surplus, stale)
        meters.hold("stale_snapshot_surplus", self._surplus)


OF_BATCHES = (
    *Searchable.NAMES,
    *(f"{_HISTOGRAM}_{part}" for part in ("bucket", "sum", "count")),
    *("batches", "batched", "chunks_embedded", "chunks_kept", "chunks_reused"),
    *("tokens", "padding", "texts_cached", "model_us", "store_us", "refused_by_time"),
)
"""What workers count with every batch, but for labels."""


def reporting(options: Mapping[str, str], port: int) -> dict[str, str]:
    """Flink's options for a Prometheus endpoint on this machine; none where `options` name reporters of their own.

    To be called before the JVM starts: a cluster in one JVM loads no plugins, so the reporter joins its class path, by
    the one variable that PyFlink adds to it.
    """
    if "metrics.reporters" in options:
        return {}
    jars = [str(jar) for jar in Path(pyflink.__file__).parent.glob("plugins/metrics-prometheus/*.jar")]
    os.environ["HADOOP_CLASSPATH"] = os.pathsep.join([*jars, *filter(None, [os.environ.get("HADOOP_CLASSPATH")])])
    return {**REPORTER, "metrics.reporter.prom.port": str(port)}


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Count the µs that its block takes."""
    started = perf_counter_ns()
    try:
        yield
    finally:
        tally.count(name, (perf_counter_ns() - started) // 1000)
