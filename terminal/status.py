"""`freshet status`: a job's page with sparklines, a folder's pipelines as a table, and a probe's line."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from core.change import Skip
from core.metrics.figures import Figure, by_label, largest, total
from flink_jobs.running.rest import Report, alarm
from operations.first_changes import ENOUGH
from operations.job_file import JobFile
from operations.status.listing import Standing
from operations.status.looks import NOTHING, Look, Rates, letters, rates, time_of, waiting
from terminal.plain import plain, shown

_BARS = "▁▂▃▄▅▆▇█"
_KEPT = 60


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


def live(name: str, place: JobFile, looks: Iterable[Look], console: Console) -> None:
    """The page on the whole screen, anew with each look."""
    kept: deque[Look] = deque(maxlen=_KEPT)
    with Live(console=console, screen=True, auto_refresh=False) as screen:
        for look in looks:
            kept.append(look)
            screen.update(page(name, place, list(kept)), refresh=True)


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


def _size(count: int | None) -> str:
    if count is None:
        return NOTHING
    return f"{count / 1_000:.0f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def table(found: list[Standing]) -> Table:
    """The pipelines as people read them."""
    rows = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("pipeline", "state", "waiting", ""):
        rows.add_column(column, overflow="fold")
    for each in found:
        colour = "green" if each.runs else "yellow" if each.state == "not running" else "red"
        rows.add_row(shown(each.pipeline), f"[{colour}]{shown(each.state)}[/]", shown(each.waiting), shown(each.more))
    return rows


def one_line(name: str, job: Report) -> tuple[str, bool]:
    """What a probe says of a job, and whether it runs."""
    state = job.state.lower()
    more = waiting(job) if job.state == "RUNNING" else str(job.failure or "")
    return plain(f"{name}: {state}{more and f', {more}'}"), job.state == "RUNNING"
