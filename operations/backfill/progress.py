"""How far a backfill is: kept in a file, shown on a bar, and held to a pace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from core.config.pipeline import Pipeline
from core.errors import ConfigError, FreshetError
from operations.job_file import home
from operations.plain import shown

INTERRUPTED = 130
"""The exit code after Ctrl-C."""


class Stand(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a backfill is, as its file has it.

    after  the key of the last object whose notification was taken, of `objects`
    key    the key of the last row whose event was taken, of `rows`: values of `columns`, as PostgreSQL writes them
    done   the whole place is sent, and others of the same command aren't
    """

    after: str = ""
    objects: int = 0
    columns: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    rows: int = 0
    done: bool = False

    @property
    def sent(self) -> int:
        """How many objects or rows are sent."""
        return self.objects or self.rows


@dataclass(frozen=True, slots=True)
class Options:
    """How to backfill: begin anew whatever is known of an unfinished one; at most `rate` objects or rows a second."""

    restart: bool = False
    rate: int | None = None


@dataclass(frozen=True, slots=True)
class Notes:
    """Where the stand of a place's unfinished backfill is kept, beside those of the pipeline's other places."""

    path: Path
    place: str

    def read(self) -> Stand:
        """The stand. Raises ConfigError where the file is not of this command's."""
        return self._all().get(self.place, Stand())

    def write(self, stand: Stand | None) -> None:
        """Keep the stand, or forget it where it is None. Raises ConfigError as `read`."""
        places = {place: kept for place, kept in self._all().items() if place != self.place}
        if stand is not None:
            places[self.place] = stand
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # a name of its own first: what is read is never half written
        new = self.path.with_suffix(".new")
        new.write_bytes(msgspec.json.format(msgspec.json.encode(places)))
        new.replace(self.path)

    def _all(self) -> dict[str, Stand]:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=dict[str, Stand])
        except FileNotFoundError:
            return {}
        except msgspec.DecodeError as error:
            raise ConfigError([f"{self.path} is not what a backfill wrote ({error}): delete it"]) from None


def notes_of(pipeline: Pipeline, place: str) -> Notes:
    """Those of a place, in the folder from which the command is started."""
    return Notes(home(pipeline) / "backfill.json", place)


class Pace:
    """Lets pass so many a second at most, on average; what was missed isn't made up for."""

    def __init__(
        self,
        rate: int | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._rate, self._clock, self._sleep = rate, clock, sleep
        self._due = clock()

    def at_most(self, most: int) -> int:
        """How many to send at once: `most`, or what a second takes."""
        return most if self._rate is None else min(most, self._rate)

    def keep(self, sent: int) -> None:
        """Wait as long as these take."""
        if self._rate is None:
            return
        self._due = max(self._due, self._clock() - 1) + sent / self._rate
        if (left := self._due - self._clock()) > 0:
            self._sleep(left)


@dataclass(frozen=True, slots=True)
class Course:
    """One place's backfill under way. `unit` is what is sent, `target` where to, as in "topic pages"."""

    console: Console
    notes: Notes
    unit: str
    target: str
    bar: Progress
    task: TaskID

    def follow(self, stands: Iterator[Stand], begin: Stand) -> bool:
        """Keep each stand and show it, to the last one; whether it came to that, and not to Ctrl-C.

        What then is done is kept as done. Raises what `stands` does, once it has said how far it was.
        """
        started, now = time.monotonic(), begin
        try:
            for now in stands:
                self.notes.write(now)
                self.bar.update(self.task, completed=now.sent)
        except KeyboardInterrupt:
            self._stopped(now)
            return False
        except FreshetError:
            self._stopped(now)
            raise
        self.notes.write(msgspec.structs.replace(now, done=True))
        speed = (now.sent - begin.sent) / max(time.monotonic() - started, 1e-3)
        self._say(f"{now.sent:,} {self.unit} of {self.notes.place} sent to {self.target}, {speed:,.0f} {self.unit}/s")
        return True

    def _stopped(self, now: Stand) -> None:
        place = f" of {self.notes.place}" if now.columns else ""
        self._say(f"stopped at {now.sent:,} {self.unit}{place}; the same command goes on from there")

    def _say(self, what: str) -> None:
        self.console.print(shown(what), soft_wrap=True)


def begun(notes: Notes, restart: bool, unit: str, console: Console) -> Stand:
    """Where to begin: at the first, or behind the last that an unfinished backfill sent, which is said."""
    stand = Stand() if restart else notes.read()
    if stand.done:
        message = f"all {stand.sent:,} {unit} of {notes.place} were sent before; --restart begins anew"
        console.print(shown(message), soft_wrap=True)
    elif stand.sent:
        after = ", ".join(f"{name} {value}" for name, value in zip(stand.columns, stand.key, strict=False))
        message = f"going on after {after or repr(stand.after)}, with {stand.sent:,} {unit} sent before"
        console.print(shown(message), soft_wrap=True)
    return stand


class _Rate(ProgressColumn):
    """Objects or rows a second, of late."""

    def render(self, task: Task) -> Text:
        """The text."""
        return Text("" if task.speed is None else f"{task.speed:,.0f} {task.description}/s")


class Left(ProgressColumn):
    """How long it takes yet, where it is known how many there are; `unknown` is said where it isn't."""

    def __init__(self, unknown: str, about: str = "") -> None:
        super().__init__()
        self._unknown, self._about = unknown, about

    def render(self, task: Task) -> Text:
        """The text."""
        if task.total is None:
            return Text(self._unknown)
        left = task.time_remaining
        return Text("" if left is None else f"{timedelta(seconds=int(left))} left of {self._about}{task.total:,.0f}")


@contextmanager
def bar(console: Console, unit: str, before: int, left: Left) -> Iterator[tuple[Progress, TaskID]]:
    """A bar on the terminal, with how many, how fast and how long yet."""
    count = TextColumn("{task.completed:,} {task.description}")
    columns = (BarColumn(), count, _Rate(), TimeElapsedColumn(), left)
    with Progress(*columns, console=console, transient=True) as shown:
        yield shown, shown.add_task(unit, total=None, completed=before)
