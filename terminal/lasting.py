"""What lasts, in plain lines: for who reads a log, or whose output is no terminal on which something could turn."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from operations.reporting import Line, Say, Step

AFTER_S = 2.0
"""How long something lasts before there is a line of it: what is done by then needs none."""

AGAIN_S = 15.0
"""How long after a line of what still lasts there is another one."""

_LOOKS_A_TIME = 10
_AMOUNTS = re.compile(r"\d[\d,]*")


@dataclass(slots=True)
class _Now:
    """What is done, how far it is, since when, and when that was last said; times by a clock that only rises."""

    what: str = ""
    done: int = 0
    total: int = 0
    begun: float = 0.0
    said: float | None = None

    def step(self, what: str, done: int, total: int, at: float) -> None:
        # waiting for 9 events is what waiting for 10 was
        if _AMOUNTS.sub("", what) != _AMOUNTS.sub("", self.what):
            self.begun, self.said = at, None
        self.what, self.done, self.total = what, done, total

    def line(self, at: float, after_s: float, again_s: float) -> str:
        """What is to be said now; "" for nothing."""
        since, patience_s = (self.begun, after_s) if self.said is None else (self.said, again_s)
        if not self.what or at - since < patience_s:
            return ""
        still, self.said = self.said is not None, at
        far = f": {self.done:,}" + (f" of {self.total:,}" if self.total else "") if self.done else ""
        return f"still {self.what}{far}, after {at - self.begun:.0f} s" if still else f"{self.what}{far} …"


@contextmanager
def in_lines(
    say: Say, after_s: float, again_s: float = AGAIN_S, clock: Callable[[], float] = time.monotonic
) -> Iterator[Step]:
    """What shows steps as lines: each that lasts, and now and then how far it is."""
    now, ended = _Now(), threading.Event()

    def look() -> None:
        while not ended.wait(after_s / _LOOKS_A_TIME):
            if line := now.line(clock(), after_s, again_s):
                say(Line(line))

    threading.Thread(target=look, name="lasting", daemon=True).start()
    try:
        yield lambda what, done, total: now.step(what, done, total, clock())
    finally:
        ended.set()
