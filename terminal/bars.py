"""What turns and grows while something lasts, and leaves no trace; without a terminal lines say it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from operations.reporting import Step
from terminal import lasting
from terminal.lines import printer
from terminal.plain import plain, shown


@contextmanager
def counted() -> Iterator[Step]:
    """A bar on the error output, with how many of how many; lines where that is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with bar(columns, Console(stderr=True)) as step:
        yield step


@contextmanager
def stepped() -> Iterator[Step]:
    """As `counted`, for steps that differ: it turns while nobody knows how many there are."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with bar(columns, console) as step:
        yield (lambda what, done, total: step(what, done, max(total, done))) if console.is_terminal else step


@contextmanager
def bar(columns: Sequence[ProgressColumn], console: Console) -> Iterator[Step]:
    """A bar of these columns where the console is a terminal, else lines on the error output."""
    if not console.is_terminal:
        with lasting.in_lines(printer(Console(stderr=True)), lasting.AFTER_S) as step:
            yield step
        return
    with Progress(*columns, console=console, transient=True) as progress:
        yield steps(progress)


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Shows for as long as it takes that a model is loaded; a line of it, and now and then one, without a terminal."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(f"Loading {shown(name)}"):
            yield
        return
    with lasting.in_lines(printer(console), lasting.AFTER_S) as step:
        step(f"loading the model {name}", 0, 0)
        yield


def steps(progress: Progress) -> Step:
    """What shows steps as the one task of a progress, whose speed counts from the first of them on."""
    tasks: list[TaskID] = []

    def step(what: str, done: int, total: int) -> None:
        if not tasks:
            tasks.append(progress.add_task(plain(what), total=total or None, completed=done))
        progress.update(tasks[0], description=plain(what), completed=done, total=total or None)

    return step
