"""The command line: each command parses its arguments here and does its work in a module of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.stack_command import stack
from core.config import load

app = typer.Typer(no_args_is_help=True, pretty_exceptions_show_locals=False, help="Vector stores as fresh as their databases.")
app.add_typer(stack, name="stack")
console = Console()

PipelineFile = Annotated[Path, typer.Argument(metavar="PIPELINE.YAML", help="The pipeline file.")]


@app.command()
def run(
    pipeline: PipelineFile,
    without_state: Annotated[
        bool, typer.Option("--without-state", help="Read from the start, as if there were no checkpoint or savepoint.")
    ] = False,
) -> None:
    """Run the pipeline's job until it ends, or until Ctrl-C stops it with a savepoint."""
    from cli import run as running

    raise typer.Exit(running.run(load(pipeline), console, without_state))
