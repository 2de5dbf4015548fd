"""`freshet bundle`: the zip that Managed Service for Apache Flink takes, and a rehearsal of it here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.jars import cache, fetch
from cli.run import JARS
from core.config import Pipeline
from core.config_file import load
from core.errors import ConfigError
from core.msf import LARGEST_ZIP, refused
from deploy.msf.bundle import RUN_OPTIONS, Bundle, build
from deploy.msf.wheels import PYTHON, vendored

MORE_JARS = Path(__file__).parent.parent / "deploy" / "msf" / "jars.lock"
_MIB = 1024 * 1024
_UNKNOWN = "unknown"
_console = Console()
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
) -> None:
    """Pack a pipeline's job into the zip that Managed Service for Apache Flink takes."""
    if output is None and not rehearse:
        raise ConfigError(["give -o ZIP, --rehearse, or both"])
    if rehearse:
        from cli.rehearsal import rehearse as run_it

        raise typer.Exit(run_it(pipeline, output, _console))
    built = made(described(pipeline), pipeline, _console)
    if output is not None:
        write(built, output, _console)


def described(file: Path) -> Pipeline:
    """The pipeline of a file, read for what it is: variables that aren't set here, and secrets, may be anything."""
    return load(file, _Anything(os.environ), secret=lambda _name, _key: _UNKNOWN)


class _Anything(dict[str, str]):
    """An environment in which every variable is set."""

    def __contains__(self, name: object) -> bool:
        return True

    def get(self, name: str, default: str | None = None) -> str:  # type: ignore[override]
        return super().get(name, _UNKNOWN)


def made(pipeline: Pipeline, file: Path, console: Console, python: str = PYTHON) -> Bundle:
    """The pipeline's bundle, its sizes told. Raises FreshetError where it can't be made."""
    for option, instead in refused(pipeline.flink_options).items():
        console.print(f"[yellow]flink.{option} is left out on the service[/]: {instead}")
    built = build(pipeline, file, [*fetch(JARS), *fetch(MORE_JARS)], vendored(cache().parent / "packages", python))
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("part")
    table.add_column("size", justify="right")
    for part, size in built.parts.items():
        table.add_row(part, f"{size / _MIB:.1f} MiB")
    table.add_row("the zip", f"{len(built.content) / _MIB:.1f} MiB of {LARGEST_ZIP // _MIB}")
    console.print(table)
    return built


def write(built: Bundle, output: Path, console: Console) -> None:
    """The zip as a file, in one step, and what the service is to be told of it."""
    temporary = output.with_name(f".{output.name}.new")
    temporary.write_bytes(built.content)
    temporary.replace(output)
    options = ", ".join(f"{name}: {value}" for name, value in RUN_OPTIONS.items())
    console.print(f"[green]{output}[/] is the application's code, with kinesis.analytics.flink.run.options {options}")
