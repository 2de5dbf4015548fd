"""How an operator that waits for much shares its time: what it takes in, what it emits, when it looks again."""

from __future__ import annotations

SOONEST_MS, LATEST_MS = 10, 1_000
"""How soon it is looked again whether something is done, and how late."""

_FREELY = 256
_LONGEST_HOLD_S = 0.25
_SPELL_S = 0.05


def hold_s(waiting: int) -> float:
    """How many seconds to hold one more notification up where so many objects wait.

    What waits is in the job's state, and what a checkpoint waits for is what lies before this operator. So it slows
    down little by little: what lies there grows less meanwhile, and nothing ever waits for long.
    """
    return 0.0 if waiting <= _FREELY else min(_LONGEST_HOLD_S, 0.001 * (waiting / _FREELY) ** 2)


def again_ms(age_ms: float) -> int:
    """In how many ms to ask again whether a look of this age is done: soon for a new one."""
    return int(min(LATEST_MS, max(SOONEST_MS, age_ms / 4)))


class Turns:
    """Half of the time is for emitting, half for what comes in: else a checkpoint would wait for all that is emitted.

    Emitting rests where it took more than that for a while; seconds are of the caller's clock.
    """

    def __init__(self) -> None:
        self.rests_until_s = 0.0
        self._began_s = 0.0
        self._spell_s = 0.0

    def spent(self, began_s: float, now_s: float) -> None:
        """Changes were emitted from `began_s` to `now_s`."""
        if self._spell_s == 0.0:
            self._began_s = began_s
        self._spell_s += now_s - began_s
        if self._spell_s >= _SPELL_S:
            self.rests_until_s = max(now_s, self._began_s + 2 * self._spell_s)
            self._spell_s = 0.0
