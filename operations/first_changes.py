"""Stops a run from the beginning early, where most of what it reads becomes dead letters.

A column that is misspelt does that to every row: better said after the first thousand than found in the topic later.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from connectors.opening.dead_letters import letters
from core.config.pipeline import Pipeline
from core.errors import FreshetError
from core.letters import Letter
from core.stores.owning import RUN

ENOUGH = 1000
_LETTERS = "_dead_letters"
_UNREAD = ("read_dead_letters", "decode_dead_letters")
_ENDS = ("applied_", "deliveries_")
_OTHERS = "skipped_other_table"
_LOOKED_AT = 5000


@dataclass(slots=True)
class FirstChanges:
    """What becomes of a run's first changes. `reason` is asked for the most frequent reason once there is one to tell.

    Where it goes on from an earlier state, `begins` is false, and nothing is looked at. `command` starts such a run.
    """

    begins: bool
    reason: Callable[[], str]
    command: str = RUN
    _over: bool = False
    _last: Mapping[str, int] = field(default_factory=dict)
    _warned: bool = False

    def refusal(self, counts: Mapping[str, int]) -> str:
        """Why the run must stop, by its counters; "" where it may go on. Asked no more once so many ended well."""
        letters_, seen = _counted(counts)
        if not self.begins or self._over:
            return ""
        if seen < ENOUGH or 2 * letters_ <= seen:
            # not by what was read: a change's end is known much later than the change, on a busy machine
            self._over = 2 * _ended_well(counts) >= ENOUGH
            return ""
        self._over = True
        return (
            f"stopped: {letters_:,} of its first {seen:,} changes became dead letters, {self.reason()}\n"
            f"Correct the pipeline file, and begin anew: {self.command} --rebuild"
        )

    def warning(self, counts: Mapping[str, int]) -> str:
        """A warning, given once, where too few changes to decide came, and none since the last look; else ""."""
        letters_, seen = _counted(counts)
        settled, self._last = dict(counts) == dict(self._last), dict(counts)
        others = counts.get(_OTHERS, 0)
        if not self.begins or self._over or self._warned or not (settled or others >= ENOUGH):
            return ""
        if not seen and others:
            self._warned = True
            return (
                f"all {others:,} events so far are of tables that the pipeline file doesn't name: see `freshet check`"
            )
        if not settled or seen >= ENOUGH or 2 * letters_ <= seen:
            return ""
        self._warned = True
        return f"{letters_:,} of the first {seen:,} changes became dead letters, {self.reason()}"


def _counted(counts: Mapping[str, int]) -> tuple[int, int]:
    """Dead letters, and changes with what couldn't be read as one."""
    dead = {name: count for name, count in counts.items() if name.endswith(_LETTERS)}
    letters_ = sum(dead.values())
    # an operator sends its counters when it is asked, so those of a later one may be ahead
    return letters_, max(letters_, counts.get("changes", 0) + sum(dead.get(name, 0) for name in _UNREAD))


def _ended_well(counts: Mapping[str, int]) -> int:
    """Changes that a store took: as many as the store with the most of them says."""
    return max((count for name, count in counts.items() if name.startswith(_ENDS)), default=0)


def most_frequent(pipeline: Pipeline, since_ms: int) -> str:
    """The most frequent reason of the pipeline's dead letters since a time, in half a sentence."""
    try:
        with letters(pipeline) as found:
            recent = [each for each in islice(found.read(), _LOOKED_AT) if each.time_ms >= since_ms]
    except FreshetError as error:
        return f"whose reasons can't be read ({error})"
    return _most(each for each in recent if each.details.get("pipeline") == pipeline.name)


def _most(found: Iterable[Letter]) -> str:
    # rows' own values make texts differ that say the same
    counted: Counter[str] = Counter()
    example: dict[str, str] = {}
    for letter in found:
        reason = letter.details.get("reason", "")
        alike = re.sub(r"'[^']*'|\d+", "…", reason)
        counted[alike] += 1
        example.setdefault(alike, reason)
    if not counted:
        return "whose reasons aren't in their topic yet"
    ((alike, count),) = counted.most_common(1)
    return f"most often as here (in {count:,} letters): {example[alike]}"
