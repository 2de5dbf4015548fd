"""`freshet dead-letters`: what could not be used, listed, shown, and sent round again."""

from __future__ import annotations

import heapq
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from connectors.dead_letters import letters
from connectors.kafka.letters.reading import Letter
from core.errors import ConfigError, brief
from operations.pipeline_file import load
from terminal.plain import json_bytes, plain, shown_bytes

app = typer.Typer(
    name="dead-letters", help="Events that could not be used: list, show or replay them.", no_args_is_help=True
)

_NEWEST = 50
_LONGEST = 100
_WHOLE = "replay sends the whole event, where its topic still has it"
_MOST_REASONS = 1000
_TABLE_NEEDS = 120  # columns of a terminal
_SPAN = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")
_PLACE = re.compile(r"(\d{1,9}):(\d{1,18})")


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
    str | None, typer.Option(help="Only those of this stage: decode, plan, parse, link, embed or write.")
]
_Since = Annotated[
    datetime | None, typer.Option(parser=moment, metavar="TIME", help="Only those from then on: ISO time, 2h, 1d.")
]
_Until = Annotated[
    datetime | None, typer.Option(parser=moment, metavar="TIME", help="Only those until then: ISO time, 2h, 1d.")
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters a command is about; what is None is not asked for."""

    reason: str | None = None
    document: str | None = None
    stage: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __contains__(self, letter: Letter) -> bool:
        details = letter.details
        return (
            (self.reason is None or _has(letter, self.reason))
            and (self.document is None or details.get("document") == self.document)
            and (self.stage is None or details.get("stage") == self.stage)
            and (self.since is None or written(letter) >= self.since)
            and (self.until is None or written(letter) <= self.until)
        )


def _has(letter: Letter, reason: str) -> bool:
    return reason == letter.details.get("error.class") or reason.lower() in letter.details.get("reason", "").lower()


def written(letter: Letter) -> datetime:
    """When the event was given up: as the letter says, else when the broker took it."""
    try:
        said = datetime.fromisoformat(letter.details.get("time", ""))
        return said if said.tzinfo else said.replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(max(0, letter.time_ms) / 1000, UTC)


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
        matching = (letter for letter in _own(there.read(), loaded.name, others) if letter in wanted)
        if not as_json:
            _print_list(matching, limit or _NEWEST, Console())
            _tell_others(others, Console())
        elif limit is None:
            for letter in matching:
                typer.echo(json.dumps(_as_json(letter)))
        else:
            for _, _, line in _newest(((*_age(letter), json.dumps(_as_json(letter))) for letter in matching), limit):
                typer.echo(line)


@app.command()
def show(
    pipeline: PipelineFile,
    place: Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="The letter, as `list` names it.")],
) -> None:
    """One dead letter with all it holds."""
    found = _PLACE.fullmatch(place)
    if found is None:
        raise ConfigError([f"{place!r} names no dead letter: write partition:offset, as in 0:17"])
    with letters(load(pipeline)) as there:
        letter = there.at(int(found[1]), int(found[2]))
    if letter is None:
        raise ConfigError([f"there is no dead letter {place}: `freshet dead-letters list` names those that there are"])
    _print_letter(letter, Console())


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
    # imported late: the pipeline's modules take a moment that `--help` needn't
    from cli.replay_letters import resend

    wanted = Wanted(reason, document, stage, since, until)
    raise typer.Exit(resend(load(pipeline), wanted.__contains__, limit, again, yes, Console()))


def _own(there: Iterable[Letter], name: str, others: Counter[str]) -> Iterator[Letter]:
    """The letters of the pipeline of this name, and those that name none; of others it is counted whose they are."""
    for letter in there:
        if letter.pipeline in (name, ""):
            yield letter
        elif letter.pipeline in others or len(others) < _MOST_REASONS:
            others[letter.pipeline] += 1


def _tell_others(others: Counter[str], console: Console) -> None:
    if others:
        names = ", ".join(brief(plain(name), _LONGEST) for name, _ in others.most_common(5))
        more = ", …" if len(others) > 5 else ""
        console.print(Text(f"not shown: {others.total():,} of other pipelines in the same topic ({names}{more})"))


def _age(letter: Letter) -> tuple[datetime, tuple[int, int]]:
    return written(letter), letter.place


def _newest(rows: Iterable[tuple[datetime, tuple[int, int], Any]], limit: int) -> list[Any]:
    return sorted(heapq.nlargest(limit, rows, key=lambda row: row[:2]), key=lambda row: row[:2])


def _print_list(matching: Iterable[Letter], limit: int, console: Console) -> None:
    reasons: Counter[tuple[str, str, str]] = Counter()

    def rows() -> Iterable[tuple[datetime, tuple[int, int], list[str]]]:
        for letter in matching:
            kind = _kind(letter)
            known = kind in reasons or len(reasons) < _MOST_REASONS
            reasons[kind if known else ("…", "…", "other reasons")] += 1
            yield (*_age(letter), _cells(letter))

    newest = _newest(rows(), limit)
    if not newest:
        console.print("no dead letters")
        return
    _show([cells for _, _, cells in newest], console)
    total = reasons.total()
    shown = f", the newest {len(newest)} of them above" if total > len(newest) else ""
    console.print(f"\n{total:,} {'letter' if total == 1 else 'letters'}{shown}")
    counts = Table("letters", "stage", "error", "reason", box=None)
    for kind, count in reasons.most_common(20):
        counts.add_row(*map(Text, (f"{count:,}", *kind)))
    console.print(counts)


def _show(letters: Sequence[Sequence[str]], console: Console) -> None:
    """A table; where that would break every word, a line a letter and its reason below."""
    if console.width >= _TABLE_NEEDS:
        table = Table("letter", "time", "stage", "error", "document", "reason", "from", "attempts", box=None)
        for cells in letters:
            table.add_row(*map(Text, cells))
        console.print(table)
        return
    for letter, time, stage, error, document, reason, source, attempts in letters:
        console.print(Text(f"{letter}  {time}  {stage}: {error}  {document}".rstrip(), "bold"), soft_wrap=True)
        again = "" if attempts == "1" else f", {attempts} attempts"
        console.print(Padding(Text(f"{reason} (from {source}{again})"), (0, 0, 0, 4)))


def _kind(letter: Letter) -> tuple[str, str, str]:
    """Stage, class and reason without the values seen, so that letters of one cause count together."""
    reason = _VALUES.sub("…", letter.details.get("reason", "?"))
    return _cell(letter, "stage"), _cell(letter, "error.class"), brief(plain(reason), _LONGEST)


def _cells(letter: Letter) -> list[str]:
    source = letter.source
    return [
        place_text(letter),
        f"{written(letter):%Y-%m-%d %H:%M:%S}",
        _cell(letter, "stage"),
        _cell(letter, "error.class"),
        _cell(letter, "document", ""),
        _cell(letter, "reason") + (f" ({_cut(letter)})" if letter.is_cut else ""),
        "?" if source is None else plain("/".join(map(str, source))),
        str(letter.attempts),
    ]


def place_text(letter: Letter) -> str:
    """The letter's name: partition:offset."""
    return "{}:{}".format(*letter.place)


def _cut(letter: Letter) -> str:
    """What of the event isn't in its letter, for the topic takes no more."""
    parts = [
        f"{len(part or b''):,} of the {name}'s {plain(letter.details[f'{name}.size'])} bytes"
        for name, part in (("key", letter.key), ("value", letter.value))
        if f"{name}.size" in letter.details
    ]
    left = letter.details.get("headers.left")
    return f"cut: {', '.join([*parts, *([] if left is None else [f'{plain(left)} headers'])])}"


def _cell(letter: Letter, name: str, otherwise: str = "?") -> str:
    return brief(plain(letter.details.get(name, otherwise)), _LONGEST)


def _as_json(letter: Letter) -> dict[str, Any]:
    return {
        "letter": place_text(letter),
        "cut": letter.is_cut,
        **letter.details,
        "key": json_bytes(letter.key),
        "value": json_bytes(letter.value),
        "headers": [[name, json_bytes(raw)] for name, raw in letter.headers],
    }


def _print_letter(letter: Letter, console: Console) -> None:
    lines = [("letter", place_text(letter)), *((name, plain(text)) for name, text in sorted(letter.details.items()))]
    lines += [(f"header {plain(name)}", shown_bytes(raw)) for name, raw in letter.headers]
    lines += [("cut", f"{_cut(letter)}; {_WHOLE}")] if letter.is_cut else []
    lines += [("key", shown_bytes(letter.key)), ("value", shown_bytes(letter.value))]
    for name, text in lines:
        console.print(Text.assemble((f"{plain(name)}: ", "bold"), text), soft_wrap=True)
