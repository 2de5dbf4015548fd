"""`freshet dead-letters`: what could not be used, listed, shown, and sent round again."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from connectors.opening.dead_letters import letters
from core.errors import ConfigError
from operations.dead_letters import Wanted, own
from operations.dead_letters import replay as replaying
from operations.pipeline_file import load
from terminal import letters as terminal

app = typer.Typer(
    name="dead-letters", help="Events that could not be used: list, show or replay them.", no_args_is_help=True
)

_SPAN = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str) -> datetime:
    """The time that an ISO 8601 text names (UTC where it says no zone), or so long ago as 30m, 2h or 1d say.

    Raises typer.BadParameter where it is neither.
    """
    span = _SPAN.fullmatch(text.strip())
    try:
        if span:
            return datetime.now(UTC) - timedelta(**{_UNITS[span[2]]: int(span[1])})
        named = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no time: write 2026-01-31T12:00, 30m, 2h or 1d") from None
    return named if named.tzinfo else named.replace(tzinfo=UTC)


PipelineFile = Annotated[Path, typer.Argument(metavar="PIPELINE.YAML", help="The pipeline file.")]
_Reason = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Only those whose reason has this text, or whose error class it is.")
]
_Document = Annotated[str | None, typer.Option(metavar="ID", help="Only those of this document.")]
_Stage = Annotated[
    str | None, typer.Option(help="Only those of this stage: decode, plan, parse, link, rate, embed or write.")
]
_Since = Annotated[
    datetime | None, typer.Option(parser=moment, metavar="TIME", help="Only those from then on: ISO time, 2h, 1d.")
]
_Until = Annotated[
    datetime | None, typer.Option(parser=moment, metavar="TIME", help="Only those until then: ISO time, 2h, 1d.")
]


@app.command("list")
def list_letters(
    pipeline: PipelineFile,
    reason: _Reason = None,
    document: _Document = None,
    stage: _Stage = None,
    since: _Since = None,
    until: _Until = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the newest so many; where nothing is said a table has 50.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, a line a letter, with all it holds.")] = False,
) -> None:
    """The dead letters, oldest first, and how many there are of each reason."""
    wanted = Wanted(reason, document, stage, since, until)
    loaded, others = load(pipeline), Counter[str]()
    with letters(loaded) as there:
        matching = (letter for letter in own(there.read(), loaded.name, others) if letter in wanted)
        if not as_json:
            terminal.show_list(matching, limit or terminal.NEWEST, Console())
            terminal.show_others(others, Console())
            return
        lines = map(terminal.as_line, matching) if limit is None else terminal.newest_lines(matching, limit)
        for line in lines:
            typer.echo(line)


@app.command()
def show(
    pipeline: PipelineFile,
    place: Annotated[str, typer.Argument(metavar="LETTER", help="Which one, as `list` names it: 0:17.")],
) -> None:
    """One dead letter with all it holds."""
    with letters(load(pipeline)) as there:
        letter = there.at(place)
    if letter is None:
        raise ConfigError([f"there is no dead letter {place}: `freshet dead-letters list` names those that there are"])
    terminal.show_letter(letter, Console())


@app.command()
def replay(
    pipeline: PipelineFile,
    reason: _Reason = None,
    document: _Document = None,
    stage: _Stage = None,
    since: _Since = None,
    until: _Until = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that were replayed from this folder.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask before.")] = False,
) -> None:
    """Send events round again, as they came and to where they came from."""
    wanted, console = Wanted(reason, document, stage, since, until), Console()
    with replaying(load(pipeline), wanted.__contains__, limit, again) as found:
        terminal.show_replay(found, console)
        if found.counts and not yes and not typer.confirm("Send?"):
            raise typer.Exit(1)
        if found.counts:
            then = "the job takes them up while it runs, and writes a new letter where one fails again"
            console.print(f"sent {found.send():,}; {then}")
