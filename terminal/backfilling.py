"""`freshet backfill`: its lines, and a bar with how many, how fast and how long yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from core.config.pipeline import Pipeline
from operations.backfill import loading
from operations.backfill.progress import Options, Unit
from operations.reporting import Step
from terminal.bars import bar
from terminal.lines import printer


def backfill(pipeline: Pipeline, places: Sequence[str], options: Options, console: Console) -> int:
    """Backfill and show it; the exit code, and what is raised, are those of `operations.backfill.loading`."""
    return loading.backfill(pipeline, places, options, printer(console), partial(_bar, console))


@contextmanager
def _bar(console: Console) -> Iterator[Step]:
    count = TextColumn("{task.completed:,} {task.description}")
    columns = (BarColumn(), count, _Rate(), TimeElapsedColumn(), Left())
    with bar(columns, console) as step:
        yield step


class _Rate(ProgressColumn):
    """Objects or rows a second, of late."""

    def render(self, task: Task) -> Text:
        """The text."""
        return Text("" if task.speed is None else f"{task.speed:,.0f} {task.description}/s")


class Left(ProgressColumn):
    """How long it takes yet, where it is known how many there are: of rows by an estimate, of objects once counted."""

    def render(self, task: Task) -> Text:
        """The text."""
        if task.total is None:
            return Text("counting …" if task.description == Unit.OBJECTS else "")
        left, about = task.time_remaining, "about " if task.description == Unit.ROWS else ""
        return Text("" if left is None else f"{timedelta(seconds=int(left))} left of {about}{task.total:,.0f}")
