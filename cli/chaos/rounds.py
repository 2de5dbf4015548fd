"""One round: writers and faults side by side, then everything is up again, and the stores are compared."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from cli.chaos.compare import Found, dead_letters, settle
from cli.chaos.faults import Striker, mend
from cli.chaos.feed import WRITING_S, Work
from cli.chaos.job import Job
from cli.chaos.strikes import Strike, strikes
from cli.chaos.world import World
from cli.chaos.writers import in_threads
from connectors.kafka_letters import Letter
from core.errors import FreshetError

PATIENCE_S = 120.0

_LONGEST_S = 30.0


@dataclass(frozen=True, slots=True)
class Round:
    """What a round was, and how it ended.

    changes  rows changed by commits that were answered
    letters  the dead letters that came in it
    notes    what isn't a difference and should be known
    """

    number: int
    seconds: float
    changes: int
    strikes: tuple[Strike, ...]
    found: Found
    letters: tuple[Letter, ...]
    notes: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether every store equals the source, all that was told is applied, and nothing became a dead letter."""
        return not self.found.differences and not self.found.waited_for and not self.letters


def play(world: World, job: Job, seed: int, number: int, stores: Sequence[str]) -> Round:
    """Play the round `number` of a seed.

    Raises FreshetError where a server doesn't come up again.
    """
    began = time.monotonic()
    choices = Random(f"{seed}/{number}")
    work = world.feed.work(choices)
    struck = strikes(choices, WRITING_S, stores, world.feed.faults)
    notes: list[str] = []
    before = len(dead_letters(world))
    striker = Striker(world, job, Random(choices.getrandbits(64)), notes)
    done: list[int] = []
    threads = in_threads(
        [partial(_write, work, began + _LONGEST_S, done), *(partial(_at, began, striker, each) for each in struck)]
    )
    for thread in threads:
        thread.join()
    if not done:
        raise FreshetError(f"the writers of round {number} failed, see above")
    mend(world)
    world.feed.mend()

    def supervise() -> None:
        if ended := job.ensure():
            notes.append(ended)

    supervise()
    found = settle(world, PATIENCE_S, supervise)
    letters = dead_letters(world)[before:]
    return Round(number, time.monotonic() - began, done[0], tuple(struck), found, tuple(letters), tuple(notes))


def _write(work: Work, until: float, done: list[int]) -> None:
    done.append(work(until))


def _at(began: float, striker: Striker, strike: Strike) -> None:
    time.sleep(max(0.0, began + strike.at_s - time.monotonic()))
    striker.strike(strike)
