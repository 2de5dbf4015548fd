"""A pipeline's bundle for Managed Service for Apache Flink: made, with its sizes shown, and written."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from core.config.msf import LARGEST_ZIP, refused
from core.config.pipeline import Pipeline
from deploy.msf.bundle import RUN_OPTIONS, Bundle, build
from deploy.msf.wheels import PYTHON, vendored
from stack.jars import OF_JOBS, cache, fetch

MORE_JARS = Path(__file__).parents[1] / "deploy" / "msf" / "jars.lock"
_MIB = 1024 * 1024


def made(pipeline: Pipeline, file: Path, console: Console, python: str = PYTHON) -> Bundle:
    """The pipeline's bundle, its sizes shown. Raises FreshetError where it can't be made."""
    for option, instead in refused(pipeline.flink_options).items():
        console.print(f"[yellow]flink.{option} is left out on the service[/]: {instead}")
    built = build(pipeline, file, [*fetch(OF_JOBS), *fetch(MORE_JARS)], vendored(cache().parent / "packages", python))
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("part")
    table.add_column("size", justify="right")
    for part, size in built.parts.items():
        table.add_row(part, f"{size / _MIB:.1f} MiB")
    table.add_row("the zip", f"{len(built.content) / _MIB:.1f} MiB of {LARGEST_ZIP // _MIB}")
    console.print(table)
    return built


def write(built: Bundle, output: Path, console: Console) -> None:
    """The zip as a file, in one step, and the option to set on the service for it."""
    temporary = output.with_name(f".{output.name}.new")
    temporary.write_bytes(built.content)
    temporary.replace(output)
    options = ", ".join(f"{name}: {value}" for name, value in RUN_OPTIONS.items())
    console.print(f"[green]{output}[/] is the application's code, with kinesis.analytics.flink.run.options {options}")
