"""Every figure that a job tells: its name, kind, unit and labels; and figures read back from Flink's REST API.

Flink gives a label as two groups, the name and the value, so `changes` of inserts in Debezium's feed is
`freshet.feed.debezium.operation.upsert.changes` for REST, and for Prometheus
`flink_taskmanager_job_task_operator_freshet_feed_operation_changes{feed="debezium", operation="upsert"}`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate
from types import MappingProxyType

GROUP = "freshet"
"""The metric group that all of ours are in."""

BUCKETS_MS = (10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 60_000, 600_000)
"""Upper bounds of the histogram's buckets; the last one has none (`+Inf`)."""

ENDLESS = "+Inf"
LABELS_OF_BUCKETS = (*map(str, BUCKETS_MS), ENDLESS)


class Kind(StrEnum):
    """A counter only rises, until its job restarts, and is summed over subtasks; of a gauge the largest counts."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure.

    unit   empty for what is counted by pieces
    shown  what it is called in the lines of `freshet run`, {label} standing for a label's value; empty: it isn't there
    """

    name: str
    description: str
    labels: tuple[str, ...] = ()
    shown: str = ""
    unit: str = ""
    kind: Kind = Kind.COUNTER

    @property
    def prometheus(self) -> str:
        """Its name as Flink's Prometheus reporter spells it."""
        return "_".join(("flink_taskmanager_job_task_operator", GROUP, *self.labels, self.name))


_DEFINED = (
    Metric("changes", "changes of rows that were read", ("feed", "operation"), "changes"),
    Metric("truncates", "whole tables that were emptied", (), "truncates"),
    Metric("skipped", "events without a change of a row, no fault of anyone's", ("reason",), "skipped_{reason}"),
    Metric("notifications", "notifications of objects", (), "notifications"),
    Metric("stale_notifications", "notifications of objects that a later one had overtaken", (), "stale_notifications"),
    Metric("objects_loaded", "objects that were loaded and parsed", (), "objects_loaded"),
    Metric("records", "records read from streams of shards", (), "records"),
    Metric("losses", "stretches of a stream that were gone before they were read", (), "losses"),
    Metric("messages", "messages received from a queue", (), "messages"),
    Metric(
        "messages_deleted",
        "messages deleted from a queue: what they announced is in a checkpoint",
        (),
        "messages_deleted",
    ),
    Metric("files", "files reported, as new or changed", (), "files"),
    Metric(
        "files_left_out",
        "what a watched folder has that isn't read, hidden names excepted: the log says why",
        kind=Kind.GAUGE,
    ),
    Metric(
        "source_lag_ms", "how old the last change was as it was decoded, since its commit", (), "", "ms", Kind.GAUGE
    ),
    Metric("behind_ms", "how far the readers of shards are behind their streams' ends", (), "", "ms", Kind.GAUGE),
    Metric("stale", "changes that were late or repeated, and changed nothing", (), "stale"),
    Metric(
        "stale_snapshot_rows",
        "rows of snapshots that were older than what was known of them",
        (),
        "stale_snapshot_rows",
    ),
    Metric(
        "stale_snapshot_surplus",
        "how many more of the last rows of snapshots were older than what was known than were not",
        kind=Kind.GAUGE,
    ),
    Metric("keys_changed", "rows whose key changed", (), "keys_changed"),
    Metric("reselected", "rows that were read from the source again for values that did not travel", (), "reselected"),
    Metric(
        "dead_letters",
        "events that became dead letters, by step and class of error",
        ("stage", "reason"),
        "{stage}_dead_letters",
    ),
    Metric("letters", "dead letters of all steps, as one subtask sends them to their place"),
    Metric("batches", "batches that were embedded and written"),
    Metric("batched", "changes in those batches"),
    Metric("chunks_embedded", "chunks that the model embedded", (), "chunks_embedded"),
    Metric("chunks_kept", "chunks that every store had already", (), "chunks_kept"),
    Metric("chunks_reused", "chunks whose vector was found under the document's key of before", (), "chunks_reused"),
    Metric("tokens", "tokens that went through the model"),
    Metric("padding", "tokens of padding that went through the model beside them"),
    Metric("texts_cached", "texts whose vector the worker remembered"),
    Metric("texts_refused", "texts that can't be embedded in SQL, or have no sentiment", (), "texts_refused"),
    Metric("model_us", "time spent embedding", (), "", "µs"),
    Metric("store_us", "time spent asking and writing stores", (), "", "µs"),
    Metric("retries", "calls that were repeated because a store or a model was away or busy", ("of",)),
    Metric("applied", "documents' changes that a store took", ("store",), "applied_{store}"),
    Metric("outdated", "documents' changes that a store knew better already", ("store",), "stale_{store}"),
    Metric(
        "refused_by_time",
        "changes of files and objects that a store refused, as it stands at a later time: a clock was ahead",
        (),
        "refused_by_time",
    ),
    Metric("rejected", "documents' changes that a store rejects for good", ("store",), "rejected_{store}"),
    Metric(
        "documents_swept",
        "documents removed because their table was emptied, or a snapshot lacked them",
        (),
        "documents_swept",
    ),
    Metric("commit_to_searchable_ms_bucket", "changes by how long they took from commit to store", ("le",)),
    Metric("commit_to_searchable_ms_sum", "how long these took together", (), "", "ms"),
    Metric("commit_to_searchable_ms_count", "how many these are"),
    Metric("commit_to_searchable_p50_ms", "half of the last minute's took no longer", (), "", "ms", Kind.GAUGE),
    Metric("commit_to_searchable_p99_ms", "99 of 100 of the last minute's took no longer", (), "", "ms", Kind.GAUGE),
    Metric(
        "deliveries",
        "deliveries of changes to the store of profiles, by how they ended",
        ("status",),
        "deliveries_{status}",
    ),
    Metric("profiles_made", "profiles made", (), "profiles_made"),
    Metric("profiles_retired", "profiles that were merged into others, or have no record left", (), "profiles_retired"),
    Metric("identity", "what became of links between records", ("event",), "{event}"),
)

METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _DEFINED})
"""By name."""

FLINKS = (
    "flink_jobmanager_job_numRestarts",
    "flink_jobmanager_job_lastCheckpointDuration",
    "flink_jobmanager_job_lastCheckpointSize",
    "flink_jobmanager_job_numberOfFailedCheckpoints",
    "flink_jobmanager_job_numberOfCompletedCheckpoints",
    "flink_taskmanager_job_task_operator_pendingRecords",
    "flink_taskmanager_job_task_busyTimeMsPerSecond",
    "flink_taskmanager_job_task_backPressuredTimeMsPerSecond",
    "flink_taskmanager_Status_JVM_Memory_Heap_Used",
    "flink_taskmanager_Status_JVM_Memory_Heap_Max",
)
"""Flink's own metrics that dashboards and alarms ask for, as its Prometheus reporter spells them."""

REPORTER: Mapping[str, str] = MappingProxyType(
    {
        "metrics.reporters": "prom",
        "metrics.reporter.prom.factory.class": "org.apache.flink.metrics.prometheus.PrometheusReporterFactory",
        # else the bucket without a bound is called _Inf, and no quantile can be computed
        "metrics.reporter.prom.filterLabelValueCharacters": "false",
    }
)
"""Flink's options for a Prometheus endpoint; `metrics.reporter.prom.port` beside them."""

FEWER: Mapping[str, str] = MappingProxyType(
    {
        "metrics.reporter.prom.filter.includes": ";".join(
            (
                f"*.{GROUP}*",
                "jobmanager.job:numRestarts,lastCheckpointDuration,lastCheckpointSize,"
                "numberOfFailedCheckpoints,numberOfCompletedCheckpoints",
                "*.operator*:pendingRecords",
                "*.task:busyTimeMsPerSecond,backPressuredTimeMsPerSecond",
                "taskmanager.Status.JVM.Memory.Heap:Used,Max",
            )
        )
    }
)
"""Flink's option for an endpoint of ours and of FLINKS alone; without it there are some 2,000 lines of Flink's own."""

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric's value: summed over subtasks, or the largest of them."""

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def is_ours(identity: str) -> bool:
    """Whether a metric of Flink's REST API, as in `0.decode.freshet.stale`, is in our group."""
    return f".{GROUP}." in identity


def figure(identity: str, total: float, largest: float) -> Figure | None:
    """A metric of REST with its sum and maximum over subtasks; None for one that isn't in METRICS."""
    *pairs, name = identity.partition(f".{GROUP}.")[2].split(".")
    metric = METRICS.get(name)
    if metric is None:
        return None
    labels = dict(zip(pairs[::2], pairs[1::2], strict=False))
    return Figure(name, total if metric.kind is Kind.COUNTER else largest, labels)


def counts(figures: Iterable[Figure]) -> dict[str, int]:
    """What `freshet run` shows, by the name it has there. Of one store alone the name is left out."""
    seen = list(figures)
    stores = {each.labels["store"] for each in seen if "store" in each.labels}
    found: Counter[str] = Counter()
    for each in seen:
        shown = METRICS[each.name].shown
        if len(stores) == 1:
            shown = shown.removesuffix("_{store}")
        if shown:
            found[shown.format(**each.labels).replace("-", "_")] += int(each.value)
    return dict(found)


_NOUNS = "change truncate notification object record message file row key letter chunk text document profile"
_SINGULAR = {f"{each}s": each for each in _NOUNS.split()} | {"losses": "loss", "deliveries": "delivery"}


def in_words(counted: Mapping[str, int]) -> str:
    """`counts` as the lines of `freshet run` have them: `2 applied, 1 change`, without those that count nothing."""
    return ", ".join(f"{n} {_worded(name, n)}" for name, n in sorted(counted.items()) if n)


def _worded(name: str, count: int) -> str:
    words = name.split("_")
    return " ".join(_SINGULAR.get(each, each) if count == 1 else each for each in words)


def by_label(figures: Iterable[Figure], name: str, label: str) -> dict[str, int]:
    """A counter's values by one of its labels, summed over the others."""
    found: defaultdict[str, int] = defaultdict(int)
    for each in figures:
        if each.name == name:
            found[each.labels.get(label, "")] += int(each.value)
    return dict(found)


def total(figures: Iterable[Figure], name: str) -> int:
    """A counter's sum over its labels; 0 where it isn't there."""
    return sum(int(each.value) for each in figures if each.name == name)


def largest(figures: Iterable[Figure], name: str) -> float | None:
    """A gauge's largest value; None where it isn't there."""
    return max((each.value for each in figures if each.name == name), default=None)


def histogram(values_ms: Iterable[int]) -> list[int]:
    """How many of the values each bucket has, those of the buckets below included: as many as LABELS_OF_BUCKETS."""
    places = Counter(bisect_left(BUCKETS_MS, value) for value in values_ms)
    return list(accumulate(places[at] for at in range(len(LABELS_OF_BUCKETS))))


def histogram_of(figures: Iterable[Figure]) -> list[int]:
    """The histogram from commit to searchable that a job tells."""
    buckets = by_label(figures, "commit_to_searchable_ms_bucket", "le")
    return [buckets.get(label, 0) for label in LABELS_OF_BUCKETS]


def quantile(histogram: Sequence[int], share: float) -> float | None:
    """The value, in ms, that `share` (0 to 1) of a histogram's values don't exceed; None for an empty one.

    Between a bucket's bounds it is interpolated, as Prometheus' `histogram_quantile` does; above the last, it is the
    last.
    """
    if not histogram or histogram[-1] <= 0:
        return None
    rank = share * histogram[-1]
    at = next(place for place, count in enumerate(histogram) if count >= rank)
    if at == len(BUCKETS_MS):
        return float(BUCKETS_MS[-1])
    low, below = (0, 0) if at == 0 else (BUCKETS_MS[at - 1], histogram[at - 1])
    within = histogram[at] - below
    return low + (BUCKETS_MS[at] - low) * ((rank - below) / within if within else 1.0)
