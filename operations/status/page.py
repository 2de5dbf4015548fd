"""What looks at a job show: what happens a second, as JSON, and as a page with sparklines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from core.change import Skip
from core.metrics.figures import Figure, by_label, largest, total
from flink_jobs.running.rest import Report, alarm
from operations.first_changes import ENOUGH
from operations.job_file import JobFile
from operations.plain import plain, shown

_BARS = "▁▂▃▄▅▆▇█"
_NOTHING = "–"


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
        "state": report.state,
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
    """Whether nothing waits in the source of a job that runs; None where the source can't tell, or is away."""
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


def sparkline(values: Sequence[float]) -> str:
    """One bar a value, the highest for the largest; the lowest for 0."""
    top = max(values, default=0.0)
    return "".join(_BARS[round(value / top * (len(_BARS) - 1)) if top else 0] for value in values)


def page(name: str, place: JobFile, looks: Sequence[Look]) -> RenderableType:
    """A pipeline's job as people read it: its last look, how it went before, and where else it can be seen."""
    report = looks[-1].report
    colour = "green" if report.state == "RUNNING" else "red"
    title = f"[bold]{shown(name)}[/]: [{colour}]{shown(report.state.lower())}[/] [dim]for {time_of(report.since_ms)}[/]"
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim")
    rows.add_column(justify="right")
    rows.add_column(overflow="fold")
    since = [rates(before, after) for before, after in pairwise(looks)]
    for what, value, more in (*_flow(looks, since), *_totals(report)):
        rows.add_row(what, value, Text(plain(more)))
    if alarming := alarm(report.figures):
        rows.add_row("alarm", "", Text(plain(alarming), style="red"))
    elsewhere = " · ".join(filter(None, (place.rest, place.prometheus)))
    return Group(Text.from_markup(title), rows, Text(plain(elsewhere), style="dim"))


_Line = tuple[str, str, str]


def _flow(looks: Sequence[Look], since: Sequence[Rates]) -> list[_Line]:
    """What changes from look to look."""
    report = looks[-1].report
    rate = since[-1] if since else Rates({}, 0.0, 0.0)
    changes = [sum(each.changes.values()) for each in since]
    operations = ", ".join(f"{each:,.0f} {name}" for name, each in rate.changes.items() if each)
    slowest = [largest(look.report.figures, "commit_to_searchable_p99_ms") or 0.0 for look in looks]
    half, most = (largest(report.figures, f"commit_to_searchable_{share}_ms") for share in ("p50", "p99"))
    return [
        ("changes/s", f"{sum(rate.changes.values()):,.0f}", _beside(changes, operations)),
        ("applied/s", f"{rate.applied:,.0f}", sparkline([each.applied for each in since])),
        ("embedded/s", f"{rate.embedded:,.0f}", sparkline([each.embedded for each in since])),
        ("lag", time_of(largest(report.figures, "source_lag_ms")), waiting(report)),
        ("commit → searchable", time_of(half), _beside(slowest, f"p99 {time_of(most)}")),
    ]


def _totals(report: Report) -> list[_Line]:
    """What was counted since the job started, or was last restarted."""
    figures, kept = report.figures, report.checkpoints
    saved = total(figures, "chunks_kept") + total(figures, "chunks_reused")
    found = letters(figures)
    retries = by_label(figures, "retries", "of")
    last = f"last {time_of(kept.duration_ms)}, {_size(kept.size)}" if kept.completed else ""
    why = f", the last: {kept.failure}" if kept.failure else ""
    failed = f"{kept.failed:,} failed{why}" if kept.failed else ""
    return [
        ("chunks embedded", f"{total(figures, 'chunks_embedded'):,}", f"{saved:,} saved"),
        ("stale", f"{total(figures, 'stale') + total(figures, 'outdated'):,}", ""),
        *_skipped(figures),
        *_left_out(figures),
        ("dead letters", f"{sum(found.values()):,}", _list(found)),
        ("retries", f"{sum(retries.values()):,}", _list(retries)),
        ("checkpoints", f"{kept.completed:,}", ", ".join(filter(None, (last, failed)))),
        ("restarts", f"{report.restarts:,}", str(report.failure or "")),
    ]


def _skipped(figures: tuple[Figure, ...]) -> list[_Line]:
    skipped = by_label(figures, "skipped", "reason").get(Skip.KIN, 0)
    more = "of tables that look like partitions of named ones: documents.….tables"
    kin = [("skipped", f"{skipped:,}", more)] if skipped else []
    others = by_label(figures, "skipped", "reason").get(Skip.OTHER_TABLE, 0)
    if others < ENOUGH or total(figures, "changes"):
        return kin
    return [*kin, ("skipped", f"{others:,}", "all there is: of tables that the file doesn't name, see freshet check")]


def _left_out(figures: tuple[Figure, ...]) -> list[_Line]:
    count = int(largest(figures, "files_left_out") or 0)
    return [("left out", f"{count:,}", "of the folder: freshet check names them")] if count else []


def _list(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def _beside(values: Sequence[float], text: str) -> str:
    return "  ".join(filter(None, (sparkline(values), text)))


def time_of(milliseconds: float | None) -> str:
    """A time as people read it."""
    if milliseconds is None:
        return _NOTHING
    if milliseconds < 1_000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1_000
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3_600:.1f} h"


def _size(count: int | None) -> str:
    if count is None:
        return _NOTHING
    return f"{count / 1_000:.0f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"
