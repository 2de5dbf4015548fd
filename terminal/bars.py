"""What turns and grows while something lasts, and leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from operations.reporting import Step
from terminal.plain import plain, shown


@contextmanager
def counted() -> Iterator[Step]:
    """A bar on the error output, with how many of how many."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield steps(progress)


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
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        step = steps(progress)
        yield lambda what, done, total: step(what, done, max(total, done))


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Shows on a terminal, for as long as it takes, that a model is loaded; anything else gets no line of it."""
    with Console(stderr=True).status(f"Loading {shown(name)}"):
        yield


def steps(progress: Progress) -> Step:
    """What shows steps as the one task of a progress, whose speed counts from the first of them on."""
    tasks: list[TaskID] = []

    def step(what: str, done: int, total: int) -> None:
        if not tasks:
            tasks.append(progress.add_task(plain(what), total=total or None, completed=done))
        progress.update(tasks[0], description=plain(what), completed=done, total=total or None)

    return step
