"""One round: writers and faults side by side, then everything is up again, and the stores are compared."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from cli.chaos.compare import Found, dead_letters, settle
from cli.chaos.faults import Strike, Striker, mend, resume, strikes
from cli.chaos.job import Job
from cli.chaos.world import World
from cli.chaos.writers import Writer, in_threads, plans
from connectors.kafka_letters import Letter

WRITING_S = 4.0
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
    planned = plans(choices, choices.choice((3, 4)), WRITING_S)
    struck = strikes(choices, WRITING_S, stores)
    notes: list[str] = []
    before = len(dead_letters(world))
    striker = Striker(world, job, Random(choices.getrandbits(64)), notes)
    writers = [Writer(world.dsn, plan, began + _LONGEST_S) for plan in planned]
    threads = in_threads(
        [*(writer.run for writer in writers), *(partial(_at, began, striker, each) for each in struck)]
    )
    for thread in threads:
        thread.join()
    mend(world)
    resume(world)
    if ended := job.ensure():
        notes.append(ended)
    found = settle(world, PATIENCE_S)
    if not job.runs():
        notes.append("the job ended while it was waited for")
    letters = dead_letters(world)[before:]
    changes = sum(writer.changes for writer in writers)
    return Round(number, time.monotonic() - began, changes, tuple(struck), found, tuple(letters), tuple(notes))


def _at(began: float, striker: Striker, strike: Strike) -> None:
    time.sleep(max(0.0, began + strike.at_s - time.monotonic()))
    striker.strike(strike)
