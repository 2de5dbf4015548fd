"""What an operation shows while it works, by callables of whoever starts it: it knows no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import StrEnum

Step = Callable[[str, int, int], object]
"""Shows what is done now, and of how many so many are done; 0 where nobody knows how many there are."""

Bar = Callable[[], AbstractContextManager[Step]]
"""Opens what steps are shown on, until the block ends."""


Loading = Callable[[str], AbstractContextManager[object]]
"""Shows that a model of this name is loaded, until the block ends: it may take long."""


class Tone(StrEnum):
    """How a line is meant."""

    NEUTRAL = "neutral"
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Line:
    """A line for a person: `head` is shown in the tone's colour, `rest` follows it."""

    head: str
    rest: str = ""
    tone: Tone = Tone.NEUTRAL


Say = Callable[[Line], object]
"""Shows a line at once."""


def unheard(_: Line) -> None:
    """Says nothing."""


@contextmanager
def unseen() -> Iterator[Step]:
    """Shows nothing."""
    yield lambda _what, _done, _total: None
