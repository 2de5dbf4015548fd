"""One round: writers and faults side by side, then everything is up again, and the stores are compared."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from random import Random

from chaos.compare import Found, dead_letters, settle
from chaos.faults import Striker, mend
from chaos.feed import WRITING_S, Work
from chaos.job import Job
from chaos.patience import patience
from chaos.strikes import AFTER, Fault, Strike, strikes
from chaos.world import World
from chaos.writers import together
from core.errors import FreshetError
from core.letters import Letter

_LONGEST_S = 30.0


class Verdict(StrEnum):
    """How a round ended. A job that was still at work when time was up is late: nobody knows whether it is wrong."""

    EQUAL = "equal"
    LATE = "LATE"
    DIFFERS = "DIFFERS"


@dataclass(frozen=True, slots=True)
class Round:
    """What a round was, and how it ended.

    changes  rows changed by commits that were answered
    letters  the dead letters that came in it
    notes    what isn't a difference and should be known
    wrong    what the job did otherwise than it must
    """

    number: int
    seconds: float
    changes: int
    strikes: tuple[Strike, ...]
    found: Found
    letters: tuple[Letter, ...]
    notes: tuple[str, ...]
    wrong: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether every store equals the source, all is applied, nothing a dead letter, and the job did as it must."""
        return not (self.found.differences or self.found.waited_for or self.letters or self.wrong)

    @property
    def verdict(self) -> Verdict:
        """What is known of it."""
        if self.holds:
            return Verdict.EQUAL
        return Verdict.LATE if self.found.late and not self.letters and not self.wrong else Verdict.DIFFERS


def play(
    world: World, job: Job, seed: int, number: int, faults: Mapping[Fault, int], settled_s: Sequence[float]
) -> Round:
    """Play the round `number` of a seed. `settled_s` is how long earlier ones took until all was equal.

    Raises FreshetError where a server doesn't come up again, and what the writers raised.
    """
    began = time.monotonic()
    choices = Random(f"{seed}/{number}")
    work = world.feed.work(choices)
    struck = strikes(choices, WRITING_S, faults)
    notes: list[str] = []
    wrong: list[str] = []
    before = len(dead_letters(world))
    striker = Striker(world, job, Random(choices.getrandbits(64)), notes, wrong)
    done: list[int] = []
    together(
        [
            partial(_write, work, began + _LONGEST_S, done),
            *(partial(_at, began, striker, each) for each in struck if each.fault not in AFTER),
        ]
    )
    mend(world)
    world.feed.mend()

    def supervise() -> None:
        if ended := job.ensure():
            notes.append(ended)

    with with_notes(notes):
        supervise()
        found = settle(world, patience(settled_s), supervise, job.read)
        for each in struck:
            if each.fault in AFTER and not found.differences and not found.waited_for:
                striker.strike(each)
                found = settle(world, patience(settled_s), supervise, job.read)
    letters = dead_letters(world)[before:]
    took_s = time.monotonic() - began
    return Round(number, took_s, done[0], tuple(struck), found, tuple(letters), tuple(notes), tuple(wrong))


@contextmanager
def with_notes(notes: Sequence[str]) -> Iterator[None]:
    """Whatever ends the run is said with what didn't go as it should before: it may be why. Raises FreshetError."""
    try:
        yield
    except FreshetError as error:
        if not notes:
            raise
        raise FreshetError(f"{error}. Before that: {'; '.join(notes)}") from error


def _write(work: Work, until: float, done: list[int]) -> None:
    done.append(work(until))


def _at(began: float, striker: Striker, strike: Strike) -> None:
    time.sleep(max(0.0, began + strike.at_s - time.monotonic()))
    striker.strike(strike)
