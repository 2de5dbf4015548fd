"""How the demo looks: sections, a progress bar, claims. Off a terminal the same, as plain lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from textwrap import indent
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.syntax import Syntax
from rich.table import Table

from core.errors import FreshetError
from demo.stage import Evidence
from terminal.plain import shown

Scene = TypeVar("Scene")


def section(console: Console, title: str) -> None:
    """A heading."""
    console.print()
    console.rule(f"[bold]{shown(title)}[/]", align="left", style="dim")


def pipeline_file(console: Console, file: Path) -> None:
    """The pipeline file as it is on disk, with its path."""
    console.print(f"  [dim]# {shown(str(file))}[/]")
    text = indent(file.read_text(encoding="utf-8").rstrip(), "  ")
    console.print(
        Syntax("", "yaml", theme="ansi_dark", background_color="default").highlight(text), end="", soft_wrap=True
    )


def embedding(console: Console) -> Progress:
    """The progress bar of the snapshot; tasks have a field `speed`, a text."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} documents{task.fields[speed]}"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)


def claim(console: Console, title: str, check: Callable[[Scene], Evidence], scene: Scene, doing: str = "") -> Evidence:
    """A claim under its heading, checked; one whose check fails doesn't hold, and says why.

    doing  what is shown while it is checked; "" where the check itself prints
    """
    section(console, title)
    try:
        with console.status(doing) if doing else nullcontext():
            found = check(scene)
    except FreshetError as error:
        found = Evidence((), str(error), holds=False)
    _evidence(console, found)
    return found


def claims(
    console: Console, checks: Sequence[tuple[str, Callable[[Scene], Evidence]]], scene: Scene, doing: str = ""
) -> list[tuple[str, Evidence]]:
    """Claims by their titles, checked one after the other; see `claim`."""
    return [
        (title, claim(console, f"{number}. {title}", check, scene, doing))
        for number, (title, check) in enumerate(checks, start=1)
    ]


def _evidence(console: Console, found: Evidence) -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", justify="right", min_width=8)
    grid.add_column(overflow="fold")
    for label, text in found.steps:
        grid.add_row(label, shown(text))
    grid.add_row(_mark(found.holds), f"[bold]{shown(found.verdict)}[/]")
    console.print(grid)


def held(claims: Sequence[tuple[str, Evidence]]) -> bool:
    """Whether every claim held."""
    return all(found.holds for _, found in claims)


def ended(console: Console, claims: Sequence[tuple[str, Evidence]], timings: Sequence[tuple[str, float]]) -> None:
    """Whether every claim held, each with its mark and figure, then how long things took."""
    section(console, "Every claim held" if held(claims) else "Not every claim held")
    table = Table("", "claim", "seen", box=None, header_style="dim", pad_edge=False)
    for title, found in claims:
        table.add_row(_mark(found.holds), shown(title), shown(found.verdict))
    console.print(table)
    console.print("[dim]" + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in timings) + "[/]")


def _mark(holds: bool) -> str:
    return "[green]✓[/]" if holds else "[red]✗[/]"
