"""`freshet status`: looks at a pipeline's job as it runs."""

from __future__ import annotations

import json
import shlex
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.live import Live

from core.config.pipeline import Pipeline
from core.errors import Unavailable
from flink_jobs.running.rest import Report
from operations.folder_lock import runs_as
from operations.job_file import PIPELINES, JobFile, home, recall
from operations.pipeline_file import load
from operations.plain import shown
from operations.status import listing as status_list
from operations.status.listing import UNSEEN, last_event, seen, standings
from operations.status.looks import Look, as_dict, rates
from terminal.status import one_line, page, table

app = typer.Typer(add_completion=False)

EVERY_S = 2.0
_FIRST_S = 1.0
_KEPT = 60
_TIMEOUT_S = 5.0


@app.command()
def status(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[PIPELINE.YAML]", help="The pipeline file; else all that ran in this folder."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a look, a line each.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="For probes: one line; code 0 if it runs, 1 if not, 3 if it restarts.")
    ] = False,
) -> None:
    """Show the pipeline's job as it runs: changes a second, lag, dead letters, checkpoints; code 1 if none runs."""
    console = Console()
    if file is None:
        raise typer.Exit(_all(console, as_json, exit_code))
    pipeline = load(file)
    try:
        place = _place(pipeline, file)
        if exit_code:
            raise typer.Exit(_probe(pipeline, place))
        if as_json:
            _print(pipeline, place, once)
        elif once or not console.is_terminal:
            console.print(page(pipeline.name, place, list(_looks(pipeline, place, 2, _FIRST_S))))
        else:
            _live(pipeline, place, console)
    except Unavailable as error:
        console.print(f"[yellow]{shown(str(error))}[/]", soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _all(console: Console, as_json: bool, exit_code: bool) -> int:
    with httpx.Client(timeout=_TIMEOUT_S) as http:
        found = standings(http)
    if not found:
        console.print(f"[yellow]no pipeline has run in this folder[/]: there is no {PIPELINES}", soft_wrap=True)
        return 1
    if as_json:
        for each in found:
            typer.echo(json.dumps(status_list.as_dict(each)))
    else:
        console.print(table(found))
    return 1 if exit_code and not all(each.runs for each in found) else 0


def _probe(pipeline: Pipeline, place: JobFile) -> int:
    with httpx.Client(timeout=_TIMEOUT_S) as http:
        line, runs = one_line(pipeline.name, look_at(http, pipeline, place).report)
    typer.echo(line)
    return 0 if runs else 3


def _print(pipeline: Pipeline, place: JobFile, once: bool) -> None:
    before: Look | None = None
    for look in _looks(pipeline, place, 2 if once else None, _FIRST_S if once else EVERY_S):
        if before is not None:
            typer.echo(json.dumps(as_dict(pipeline.name, place, look, rates(before, look))))
        before = look


def _live(pipeline: Pipeline, place: JobFile, console: Console) -> None:
    looks: deque[Look] = deque(maxlen=_KEPT)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for look in _looks(pipeline, place, None, EVERY_S):
            looks.append(look)
            live.update(page(pipeline.name, place, list(looks)), refresh=True)


def _place(pipeline: Pipeline, file: Path) -> JobFile:
    found = recall(pipeline)
    if found is None:
        raise Unavailable(_without_a_job(pipeline, file))
    return found


def _without_a_job(pipeline: Pipeline, file: Path) -> str:
    pid = runs_as(pipeline)
    if pid is None:
        last = last_event(home(pipeline))
        history = f"the last of it was {last}" if last else "it never ran in this folder"
        return f"{pipeline.name} isn't running: {history}. {shlex.join(['freshet', 'run', str(file)])} starts it"
    return f"{pipeline.name} is starting or ending{f', as pid {pid}' if pid else ''}: it has no job to look at now"


def _looks(pipeline: Pipeline, place: JobFile, count: int | None, every_s: float) -> Iterator[Look]:
    """So many looks at the job, or as many as are taken. Raises Unavailable where it is gone."""
    with httpx.Client(timeout=_TIMEOUT_S) as http:
        taken = 0
        while count is None or taken < count:
            if taken:
                time.sleep(every_s)
            yield look_at(http, pipeline, place)
            taken += 1


def look_at(http: httpx.Client, pipeline: Pipeline, place: JobFile) -> Look:
    """A look at the job that was remembered. Raises Unavailable where it isn't there any more."""
    try:
        return Look(time.monotonic(), _with_waiting(pipeline, seen(http, place)))
    except UNSEEN:
        log = home(pipeline) / "log"
        pid = runs_as(pipeline)
        if pid is not None:
            state = (
                f"runs{f' as pid {pid}' if pid else ''}, but its job, at {place.rest}, doesn't answer now; see {log}"
            )
        else:
            state = f"isn't running: its last job, at {place.rest}, is gone; see {log}"
        raise Unavailable(f"{pipeline.name} {state}") from None


def _with_waiting(pipeline: Pipeline, report: Report) -> Report:
    """As Kafka knows what waits, where the job doesn't: Flink counts it from the first event on that it reads."""
    if report.away or report.pending is not None or report.state != "RUNNING" or pipeline.source.kafka is None:
        return report
    # imported late: hardly any look needs it
    from connectors.kafka.feed import uncommitted

    return replace(report, pending=uncommitted(pipeline))
