"""How long a round waits for its job: as long as something moves, and by the speed that was seen of this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

STILL_S = 120.0
"""How long nothing may move, where nothing slower was seen."""

_SLOWER = 4
_MOST = 5
_LOOK_S = 5.0


@dataclass(slots=True)
class Patience:
    """Ends `still_s` after the last sign that the job gets on, and after `most_s` whatever is seen.

    clock  seconds that only rise
    """

    still_s: float
    most_s: float
    clock: Callable[[], float] = time.monotonic
    _lowest: dict[str, float] = field(default_factory=dict)
    _began: float = field(init=False)
    _moved: float = field(init=False)
    _not_before: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self._moved = self._not_before = self.clock()

    def see(self, what: str, left: float) -> None:
        """How much of something is left: only less than ever before is a sign that the job gets on."""
        if what not in self._lowest:
            self._lowest[what] = left
        elif left < self._lowest[what]:
            self._lowest[what] = left
            self._moved = self.clock()

    def at_least(self, seconds: float) -> None:
        """Don't end for so long from now."""
        self._not_before = max(self._not_before, self.clock() + seconds)

    def is_over(self) -> bool:
        """Whether to wait no longer."""
        now = self.clock()
        return now >= self._not_before and (now >= self._moved + self.still_s or now >= self._began + self.most_s)

    def is_late(self) -> bool:
        """Whether it is over although the job still got on: what is seen then is late, and not wrong."""
        return self.is_over() and self.clock() < self._moved + self.still_s and self._moved > self._began


def awake(clock: Callable[[], float] = time.monotonic, most_s: float = _LOOK_S) -> Callable[[], float]:
    """A clock of which no step between two looks counts for more than `most_s` seconds, however long it took.

    Looks come a few times a second. Where one takes long, the machine stands still, and so does the job that is waited
    for: that it doesn't get on meanwhile says nothing.
    """
    last = clock()
    counted = 0.0

    def seconds() -> float:
        nonlocal last, counted
        now = clock()
        counted += min(now - last, most_s)
        last = now
        return counted

    return seconds


def patience(settled_s: Sequence[float]) -> Patience:
    """By how long comparisons have taken so far until all was equal, in seconds; the first is the job's own start."""
    still_s = max(STILL_S, _SLOWER * max(settled_s, default=0.0))
    return Patience(still_s, _MOST * still_s, awake())
