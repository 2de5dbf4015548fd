"""Whether what a function takes grows faster than its input, kept apart from the noise of a busy machine.

Counted is the processor time of this thread alone. A run that is short for its size settles it. Else the input is made
four times as long: what is linear takes four times as long then, what is quadratic sixteen times. Only what takes over
ten times as long, as the best of several runs, in each of several attempts, is called grown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from time import thread_time

SMALL = 4_000
"""Characters at which a quadratic run, at a nanosecond a step, takes twice `_SHORT_S` at least."""

_SHORT_S = 0.004
_ENDLESS_S = 0.1
_FACTOR, _GROWN = 4, 10
_RUNS, _ATTEMPTS = 3, 3

UNITS = (
    " ", "\n", "\t", "\x0b", "\u00a0", "#", "# ", " #", "#\n", "=", "- ", "*", "`", "\"", "'", "(", "[", "]", "{", "<",
    "<p>", "&", ";", ":", ",", ".", ". ", "/", "\\", "|", "@", "%", "a", "Aa", "a ", "a.", "a\n", " \n", "\n \n", "0",
    "1.", "0:", "-1", "é", "\u0301", "\u0323\u0301", "漢。", "👩\u200d", "🇩🇪", "\u200b", "\u200d", "\ufe0f",
    "\u1100\u1161", "ß", "\ufdfa",
)  # fmt: skip

Build = Callable[[int], str]
"""A text of about so many characters."""


def texts(units: Sequence[str], prefixes: Sequence[str], suffixes: Sequence[str]) -> Iterator[tuple[str, Build]]:
    """Each unit over and over, behind each prefix and before each suffix, with a name to show."""
    for unit in dict.fromkeys(units):
        for prefix in dict.fromkeys(prefixes):
            for suffix in dict.fromkeys(suffixes):
                yield f"{prefix!r} + {unit!r} * n + {suffix!r}", repeated(prefix, unit, suffix)


def repeated(prefix: str, unit: str, suffix: str) -> Build:
    return lambda size: prefix + unit * (size // len(unit)) + suffix


def first_grown(run: Callable[[str], object], tried: Iterable[tuple[str, Build]]) -> str | None:
    """The first text that takes more than linear time, and what was seen; None where there is none."""
    for name, build in tried:
        if said := grown(run, build):
            return f"{name}: {said}"
    return None


def grown(run: Callable[[str], object], build: Build, size: int = SMALL) -> str:
    """What was seen of a run that takes more than linear time; "" for one that doesn't."""
    said = ""
    for _ in range(_ATTEMPTS):
        said = _grown(run, build, size)
        if not said:
            break
    return said


def _grown(run: Callable[[str], object], build: Build, size: int) -> str:
    # what is cubic or worse shows itself before it takes hours
    for few in (size // 16, size // 4):
        if (took := seconds(run, build(few))) > _ENDLESS_S:
            return f"{took:.2f} s for {few} characters"
    if seconds(run, build(size)) < _SHORT_S:
        return ""
    small = min(seconds(run, build(size)) for _ in range(_RUNS))
    if small > _ENDLESS_S * 20:
        return f"{small:.2f} s for {size} characters"
    for _ in range(_RUNS):
        if (large := seconds(run, build(size * _FACTOR))) <= _GROWN * small:
            return ""
    return f"{small:.4f} s for {size} characters, {large:.4f} s for {_FACTOR * size}"


def seconds(run: Callable[[str], object], text: str) -> float:
    begun = thread_time()
    run(text)
    return thread_time() - begun
