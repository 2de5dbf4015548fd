"""`freshet check`: each step as it is tried, or all of them as JSON."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console

from core.config.pipeline import Pipeline
from core.errors import ConfigError
from core.stores.owning import RUN
from operations import check as operation
from operations.check import Finding
from operations.pipeline_file import load
from terminal.bars import loading
from terminal.plain import shown


@dataclass(frozen=True, slots=True)
class Report:
    """What `--json` shows. `problems` are the file's own, without which nothing was tried; `notes` are no failures."""

    pipeline: str | None
    ok: bool
    problems: Sequence[str] = ()
    steps: Sequence[Finding] = ()
    notes: Sequence[str] = field(default=())


def check(
    pipeline: Pipeline, console: Console, prepare: bool = False, as_json: bool = False, command: str = RUN
) -> int:
    """Have each part tried, show what was seen of it, and return the command's exit code: 1 where any failed.

    Writes nothing, but where `prepare` makes the stores' tables and the topic of dead letters. `command` is what runs
    the pipeline.
    """
    found: list[Finding] = []
    for finding in operation.check(pipeline, prepare, command, loading):
        found.append(finding)
        if not as_json:
            _say(finding, console)
    ok = all(each.ok for each in found)
    # a step that failed may have said the same: once is enough
    notes = operation.notes(pipeline) if ok else []
    for line in notes if not as_json else ():
        console.print(f"[yellow]{shown(line)}[/]", soft_wrap=True)
    if as_json:
        show(Report(pipeline.name, ok, (), found, notes), console)
    return 0 if ok else 1


def check_file(file: Path, console: Console, prepare: bool, as_json: bool) -> int:
    """As `check`, of a file that may be wrong: then it is 2, and `--json` tells the file's problems."""
    try:
        pipeline = load(file)
    except ConfigError as error:
        if not as_json:
            raise
        show(Report(None, False, error.problems), console)
        return 2
    return check(pipeline, console, prepare, as_json, shlex.join(["freshet", "run", str(file)]))


def show(report: Report, console: Console) -> None:
    """The report as JSON, for programs."""
    console.file.write(json.dumps(asdict(report), ensure_ascii=False, indent=2) + "\n")


def _say(finding: Finding, console: Console) -> None:
    sign = "[green]✓[/]" if finding.ok else "[red]✗[/]"
    message = re.sub(r"\n(?! )", "\n  ", finding.message)
    console.print(f"{sign} {finding.step}: {shown(message)}", soft_wrap=True)


def check_msf(pipeline: Pipeline, console: Console) -> int:
    """Show what of a pipeline Managed Service for Apache Flink would refuse, with 1 as exit code where there is any."""
    problems = operation.refused_by_service(pipeline)
    for each in problems:
        console.print(f"[red]✗[/] {each}", soft_wrap=True)
    if not problems:
        console.print("[green]✓[/] the service takes all of it")
    return 1 if problems else 0
