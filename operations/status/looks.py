"""What looks at a job show: what happens a second, how much waits, and all of it as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from core.metrics.figures import Figure, by_label, largest, total
from flink_jobs.running.rest import Report, alarm
from operations.job_file import JobFile

NOTHING = "–"
"""What isn't known, as people read it."""


@dataclass(frozen=True, slots=True)
class Look:
    """A job at one moment. `at` is in seconds of a clock that only rises."""

    at: float
    report: Report


@dataclass(frozen=True, slots=True)
class Rates:
    """What happened between two looks, a second; `changes` by operation."""

    changes: dict[str, float]
    applied: float
    embedded: float


def rates(before: Look, now: Look) -> Rates:
    """What happened between two looks; nothing where counters began anew."""
    seconds = max(now.at - before.at, 1e-3)
    past, present = before.report.figures, now.report.figures

    def a_second(later: int, earlier: int) -> float:
        return round(max(0, later - earlier) / seconds, 1)

    earlier = by_label(past, "changes", "operation")
    operations = by_label(present, "changes", "operation")
    return Rates(
        {operation: a_second(count, earlier.get(operation, 0)) for operation, count in operations.items()},
        a_second(total(present, "applied"), total(past, "applied")),
        a_second(total(present, "chunks_embedded"), total(past, "chunks_embedded")),
    )


def as_dict(name: str, place: JobFile, look: Look, rate: Rates) -> dict[str, Any]:
    """A look as JSON. Times are in milliseconds, sizes in bytes; what isn't known is null."""
    report = look.report
    tokens, padding = total(report.figures, "tokens"), total(report.figures, "padding")
    return {
        "pipeline": name,
        "state": report.state.lower(),
        "rest": place.rest,
        "prometheus": place.prometheus or None,
        "running_ms": report.since_ms,
        "changes": by_label(report.figures, "changes", "operation"),
        "changes_per_second": rate.changes,
        "applied": by_label(report.figures, "applied", "store"),
        "applied_per_second": rate.applied,
        "lag_ms": largest(report.figures, "source_lag_ms"),
        "pending_events": None if report.away else report.pending,
        "caught_up": caught_up(report),
        "source_away": report.away or None,
        "commit_to_searchable_ms": {
            share: largest(report.figures, f"commit_to_searchable_{share}_ms") for share in ("p50", "p99")
        },
        "chunks": {what: total(report.figures, f"chunks_{what}") for what in ("embedded", "kept", "reused")},
        "chunks_embedded_per_second": rate.embedded,
        "tokens": tokens,
        "padding_ratio": round(padding / (tokens + padding), 3) if tokens else None,
        "skipped": by_label(report.figures, "skipped", "reason"),
        "stale": total(report.figures, "stale") + total(report.figures, "outdated"),
        "files_left_out": int(largest(report.figures, "files_left_out") or 0),
        "refused_by_time": total(report.figures, "refused_by_time"),
        "stale_snapshot_rows": total(report.figures, "stale_snapshot_rows"),
        "alarm": alarm(report.figures) or None,
        "dead_letters": letters(report.figures),
        "retries": by_label(report.figures, "retries", "of"),
        "checkpoints": asdict(report.checkpoints),
        "restarts": report.restarts,
        "failure": None if report.failure is None else report.failure.cause,
    }


def letters(figures: tuple[Figure, ...]) -> dict[str, int]:
    """Dead letters by step and class of error, as in `decode: DecodeError`."""
    found: dict[str, int] = {}
    for each in figures:
        if each.name == "dead_letters" and each.value:
            name = f"{each.labels['stage']}: {each.labels['reason']}"
            found[name] = found.get(name, 0) + int(each.value)
    return found


def caught_up(report: Report) -> bool | None:
    """Whether the job has read all of its source; None where the source can't tell, or is away."""
    if report.away:
        return None
    behind = largest(report.figures, "behind_ms") if report.pending is None else report.pending
    return None if behind is None or report.state != "RUNNING" else not behind


def waiting(report: Report) -> str:
    """How much waits in the source, in words, or that the source is away; "" where it can't tell."""
    if report.away:
        return report.away
    if (done := caught_up(report)) is None:
        return ""
    if done:
        return "caught up"
    late = time_of(largest(report.figures, "behind_ms"))
    return f"{late} behind" if report.pending is None else f"{report.pending:,} events not read yet"


def time_of(milliseconds: float | None) -> str:
    """A time as people read it."""
    if milliseconds is None:
        return NOTHING
    if milliseconds < 1_000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1_000
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3_600:.1f} h"
