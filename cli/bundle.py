"""`freshet bundle`: the zip that Managed Service for Apache Flink takes, and a rehearsal of it here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from core.config.file import load
from core.config.pipeline import Pipeline
from core.errors import ConfigError
from deploy.msf.bundle import Bundle
from operations.bundle import made, write, write_plugin
from terminal.bundle import sizes
from terminal.lines import printer

_UNKNOWN = "unknown"
_console = Console()
_say = printer(_console, wrapped=True)
app = typer.Typer(add_completion=False)


@app.command()
def bundle(
    pipeline: Annotated[Path, typer.Argument(metavar="PIPELINE.YAML", help="The pipeline file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", dir_okay=False, metavar="ZIP", help="Where the zip goes.")
    ] = None,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Run the bundle on a Flink cluster of its own here, until Ctrl-C.")
    ] = False,
    providers: Annotated[
        Path | None,
        typer.Option(
            metavar="ZIP",
            help="AWS's msk-config-providers: make MSK Connect's plugin of it and Debezium.",
        ),
    ] = None,
    with_model: Annotated[
        bool, typer.Option("--with-model", help="Carry the model of the file, to compute it on the service's CPUs.")
    ] = False,
) -> None:
    """Pack a pipeline's job into the zip that Managed Service for Apache Flink takes."""
    if output is None and not rehearse:
        raise ConfigError(["give -o ZIP, --rehearse, or both"])
    if providers is not None and output is None:
        raise ConfigError(["--providers needs -o ZIP: the plugin goes beside it"])
    if providers is not None and output is not None:
        write_plugin(described(pipeline), providers, output.parent, _say)
    if rehearse:
        from operations.rehearsal.rehearse import rehearse as run_it

        raise typer.Exit(run_it(pipeline, output, _say, _show, with_model))
    built = made(described(pipeline), pipeline, _say, with_model=with_model)
    _show(built)
    if output is not None:
        write(built, output, _say)


def _show(built: Bundle) -> None:
    _console.print(sizes(built))


def described(file: Path) -> Pipeline:
    """The pipeline of a file, read for what it is: variables that aren't set here, and secrets, may be anything."""
    return load(file, _Anything(os.environ), secret=lambda _name, _key: _UNKNOWN)


class _Anything(dict[str, str]):
    """An environment in which every variable is set."""

    def __contains__(self, name: object) -> bool:
        return True

    def get(self, name: str, default: str | None = None) -> str:  # type: ignore[override]
        return super().get(name, _UNKNOWN)
