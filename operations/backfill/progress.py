"""How far a backfill is: kept in a file, shown as it goes, and held to a pace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from core.config.pipeline import Pipeline
from core.errors import ConfigError, FreshetError
from operations.job_file import home
from operations.reporting import Line, Say, Step

INTERRUPTED = 130
"""The exit code after Ctrl-C."""


class Unit(StrEnum):
    """What is sent: a bucket's objects, which are counted meanwhile, or a table's rows; how many, by an estimate."""

    OBJECTS = "objects"
    ROWS = "rows"


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
    """A limit of so many a second, on average; time that was lost isn't made up for."""

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
        """Wait as long as so many take at this pace."""
        if self._rate is None:
            return
        self._due = max(self._due, self._clock() - 1) + sent / self._rate
        if (left := self._due - self._clock()) > 0:
            self._sleep(left)


@dataclass(slots=True)
class Gauge:
    """Shows how many units are sent (`done`) of all (`total`, 0 where that isn't known yet)."""

    step: Step
    unit: Unit
    done: int
    total: int = 0

    def __post_init__(self) -> None:
        self._show()

    def sent(self, done: int) -> None:
        """So many are sent."""
        self.done = done
        self._show()

    def expect(self, total: int) -> None:
        """So many there are, which another thread may find out."""
        self.total = total
        self._show()

    def _show(self) -> None:
        self.step(self.unit, self.done, self.total)


@dataclass(frozen=True, slots=True)
class Course:
    """One place's backfill under way. `target` is where things are sent to, as in "topic pages"."""

    say: Say
    notes: Notes
    target: str
    gauge: Gauge

    def follow(self, stands: Iterator[Stand], begin: Stand) -> bool:
        """Keep and show each stand; whether the last one was reached, and not Ctrl-C pressed before.

        What then is done is kept as done. Raises what `stands` does, once it has said how far it was.
        """
        started, now = time.monotonic(), begin
        try:
            for now in stands:
                self.notes.write(now)
                self.gauge.sent(now.sent)
        except KeyboardInterrupt:
            self._stopped(now)
            return False
        except FreshetError:
            self._stopped(now)
            raise
        self.notes.write(msgspec.structs.replace(now, done=True))
        speed = (now.sent - begin.sent) / max(time.monotonic() - started, 1e-3)
        unit = self.gauge.unit
        self.say(Line(f"{now.sent:,} {unit} of {self.notes.place} sent to {self.target}, {speed:,.0f} {unit}/s"))
        return True

    def _stopped(self, now: Stand) -> None:
        place = f" of {self.notes.place}" if now.columns else ""
        self.say(Line(f"stopped at {now.sent:,} {self.gauge.unit}{place}; the same command goes on from there"))


def begun(notes: Notes, restart: bool, unit: Unit, say: Say) -> Stand:
    """Where to begin: at the first, or behind the last that an unfinished backfill sent, which is said."""
    stand = Stand() if restart else notes.read()
    if stand.done:
        say(Line(f"all {stand.sent:,} {unit} of {notes.place} were sent before; --restart begins anew"))
    elif stand.sent:
        after = ", ".join(f"{name} {value}" for name, value in zip(stand.columns, stand.key, strict=False))
        say(Line(f"going on after {after or repr(stand.after)}, with {stand.sent:,} {unit} sent before"))
    return stand
