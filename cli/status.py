"""`freshet status`: looks at a pipeline's job as it runs."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console

from core.config.pipeline import Pipeline
from core.errors import Unavailable
from operations.job_file import PIPELINES, JobFile, home
from operations.pipeline_file import load
from operations.status import listing as status_list
from operations.status.listing import standing, standings
from operations.status.looks import Look, as_dict, rates
from operations.status.watching import EVERY_S, FIRST_S, TIMEOUT_S, looks, place_of
from terminal.plain import shown
from terminal.status import live, one_line, page, table

app = typer.Typer(add_completion=False)


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
        place = place_of(pipeline, shlex.join(["freshet", "run", str(file)]))
        if exit_code:
            raise typer.Exit(_probe(pipeline, place))
        if as_json:
            _print(pipeline, place, once)
        elif once or not console.is_terminal:
            console.print(page(pipeline.name, place, list(looks(pipeline, place, 2, FIRST_S))))
        else:
            live(pipeline.name, place, looks(pipeline, place, None, EVERY_S), console)
    except Unavailable as error:
        if as_json:
            _print_absent(pipeline)
            raise typer.Exit(1) from None
        console.print(f"[yellow]{shown(str(error))}[/]", soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _all(console: Console, as_json: bool, exit_code: bool) -> int:
    with httpx.Client(timeout=TIMEOUT_S) as http:
        found = standings(http)
    if not found:
        Console(stderr=as_json).print(
            f"[yellow]no pipeline has run in this folder[/]: there is no {PIPELINES}", soft_wrap=True
        )
        return 1
    if as_json:
        for each in found:
            typer.echo(json.dumps(status_list.as_dict(each)))
    else:
        console.print(table(found))
    return 1 if exit_code and not all(each.runs for each in found) else 0


def _probe(pipeline: Pipeline, place: JobFile) -> int:
    (look,) = looks(pipeline, place, 1, 0.0)
    line, runs = one_line(pipeline.name, look.report)
    typer.echo(line)
    return 0 if runs else 3


def _print_absent(pipeline: Pipeline) -> None:
    with httpx.Client(timeout=TIMEOUT_S) as http:
        typer.echo(json.dumps(status_list.as_dict(standing(http, home(pipeline)))))


def _print(pipeline: Pipeline, place: JobFile, once: bool) -> None:
    before: Look | None = None
    for look in looks(pipeline, place, 2 if once else None, FIRST_S if once else EVERY_S):
        if before is not None:
            typer.echo(json.dumps(as_dict(pipeline.name, place, look, rates(before, look))))
        before = look
